// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Writeback: dirty blocks get an address (place), go out with a checksum each,
 * and become the file's contents (written) before their folios leave the
 * writeback state. Whoever waits for writeback thus waits for the mapping.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/mpage.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/writeback.h>

#include "bento.h"
#include "trace.h"

/* One call of written covers at most this: what one transaction maps. */
#define BENTO_WRITTEN_BYTES	((u64)1024 * BENTO_BLOCK_BYTES)

/* What an ioend carries to its completion, in bio->bi_private. */
struct bento_io_done {
	u64 len_bytes;
	u64 size_bytes;
	u32 checksums[];
};

/* --- on the way out --- */

static int bento_map_blocks(struct iomap_writepage_ctx *wpc,
			    struct inode *inode, loff_t offset,
			    unsigned int len)
{
	struct bento_range range = { offset, offset + len };
	struct bento_mapping m;
	int err = bento_place(inode, range, &m);

	if (err)
		return err;
	err = bento_fill_iomap(inode, &wpc->iomap, &m, range);
	if (wpc->iomap.type == IOMAP_UNWRITTEN)
		wpc->iomap.type = IOMAP_HOLE;
	wpc->iomap.flags = IOMAP_F_SHARED;
	return err;
}

static void bento_io_end(struct bio *bio)
{
	struct iomap_ioend *ioend = iomap_ioend_from_bio(bio);
	struct inode *inode = ioend->io_inode;
	struct bento_inode *bi = bento_i(inode);
	unsigned long flags;

	spin_lock_irqsave(&bi->io_lock, flags);
	if (bi->io_helper)
		wake_up_process(bi->io_helper);
	else if (list_empty(&bi->io_done))
		queue_work(bento_m(inode->i_sb)->io_wq, &bi->io_work);
	list_add_tail(&ioend->io_list, &bi->io_done);
	bi->ios_ended++;
	spin_unlock_irqrestore(&bi->io_lock, flags);
}

static int bento_prepare_ioend(struct iomap_ioend *ioend, int status)
{
	struct bento_inode *bi = bento_i(ioend->io_inode);
	struct bio *bio = &ioend->io_bio;
	u64 len = bio->bi_iter.bi_size;
	struct bento_io_done *done;
	unsigned int nofs = memalloc_nofs_save();

	done = kvmalloc(struct_size(done, checksums, len >> BENTO_BLOCK_SHIFT),
			GFP_NOFS | __GFP_NOFAIL);
	memalloc_nofs_restore(nofs);
	done->len_bytes = len;
	done->size_bytes = ioend->io_offset + ioend->io_size;
	if (!status)
		bento_crc32c_bio(bio, done->checksums);
	bio->bi_private = done;
	bio->bi_end_io = bento_io_end;
	spin_lock_irq(&bi->io_lock);
	bi->ios_begun++;
	spin_unlock_irq(&bi->io_lock);
	return status;
}

/* Blocks that could not be given an address will not be written. */
static void bento_discard_folio(struct folio *folio, loff_t pos)
{
	bento_unreserve(folio->mapping->host, pos,
			folio_pos(folio) + folio_size(folio));
}

static const struct iomap_writeback_ops bento_writeback_ops = {
	.map_blocks	= bento_map_blocks,
	.prepare_ioend	= bento_prepare_ioend,
	.discard_folio	= bento_discard_folio,
};

static int bento_writepages(struct address_space *mapping,
			    struct writeback_control *wbc)
{
	struct iomap_writepage_ctx wpc = {};
	struct blk_plug plug;
	int err;

	trace_bento_writepages(mapping->host, wbc);
	/*
	 * What is apart in the file is next to each other on the disk, if the
	 * file system likes: the block layer joins it.
	 */
	blk_start_plug(&plug);
	err = iomap_writepages(mapping, wbc, &wpc, &bento_writeback_ops);
	blk_finish_plug(&plug);
	return err;
}

/* --- on the way back --- */

/* With the times that the file system is told of, if `any` data was written. */
static int bento_tell_stored(struct inode *inode,
			     const struct bento_written *parts, size_t count,
			     bool any, u64 size)
{
	struct bento_inode *bi = bento_i(inode);
	struct timespec64 mtime = inode_get_mtime(inode);
	struct timespec64 ctime = inode_get_ctime(inode);
	struct bento_time time = bento_time(mtime);
	/* The file system sets ctime to it too. */
	bool has_mtime = any && timespec64_equal(&mtime, &ctime);
	int err;

	err = bento_icall(inode, written, parts, count,
			  has_mtime ? &time : NULL);
	if (err)
		return err;
	if (has_mtime)
		bi->stored_mtime = bi->stored_ctime = mtime;
	if (size > bi->stored_size)
		bi->stored_size = size;
	return 0;
}

/* Tells the file system; an error is that of doing so, not of the I/O. */
static int bento_tell_written(struct inode *inode,
			      const struct bento_written *parts, size_t count)
{
	struct bento_inode *bi = bento_i(inode);
	bool any = false;
	u64 size = 0;
	size_t i;
	int err;

	for (i = 0; i < count; i++) {
		if (parts[i].result)
			continue;
		any = true;
		size = max(size, parts[i].size_bytes);
	}
	bento_lock_write(&bi->told);
	err = bento_tell_stored(inode, parts, count, any, size);
	bento_unlock_write(&bi->told);
	for (i = 0; i < count; i++)
		trace_bento_written(inode, &parts[i], err);
	bento_mappings_changed(inode);
	return err;
}

int bento_written(struct inode *inode, loff_t offset, u64 len, u64 size,
		  const u32 *checksums, int result)
{
	struct bento_written part = {
		.offset_bytes = offset,
		.len_bytes = len,
		.size_bytes = size,
		.checksums = checksums,
		.checksum_count = checksums ? len >> BENTO_BLOCK_SHIFT : 0,
		.result = result,
	};

	return bento_tell_written(inode, &part, 1) ?: result;
}

static int bento_ioend_result(const struct iomap_ioend *ioend)
{
	return blk_status_to_errno(ioend->io_bio.bi_status);
}

/* A part of what an ioend wrote. */
static struct bento_written bento_ioend_part(const struct iomap_ioend *ioend,
					     u64 at, u64 len)
{
	const struct bento_io_done *done = ioend->io_bio.bi_private;
	u64 offset = ioend->io_offset + at;

	return (struct bento_written){
		.offset_bytes = offset,
		.len_bytes = len,
		.size_bytes = min(offset + len, done->size_bytes),
		.checksums = done->checksums + (at >> BENTO_BLOCK_SHIFT),
		.checksum_count = len >> BENTO_BLOCK_SHIFT,
		.result = bento_ioend_result(ioend),
	};
}

/* One that needs more than a call. */
static int bento_large_written(const struct iomap_ioend *ioend)
{
	const struct bento_io_done *done = ioend->io_bio.bi_private;
	struct bento_written part;
	int err = 0, e;
	u64 at;

	for (at = 0; at < done->len_bytes; at += part.len_bytes) {
		part = bento_ioend_part(ioend, at,
					min(BENTO_WRITTEN_BYTES,
					    done->len_bytes - at));
		e = bento_tell_written(ioend->io_inode, &part, 1);
		err = err ?: e;
	}
	return err;
}

/* Tells of the first ioends of a list in one call, and moves them to another. */
static int bento_batch_written(struct list_head *ended, struct list_head *told)
{
	struct bento_written parts[BENTO_WRITTEN_PARTS_MAX];
	struct iomap_ioend *ioend, *next;
	struct inode *inode = NULL;
	u64 left = BENTO_WRITTEN_BYTES;
	size_t count = 0;

	list_for_each_entry_safe(ioend, next, ended, io_list) {
		const struct bento_io_done *done = ioend->io_bio.bi_private;

		if (count == ARRAY_SIZE(parts) || done->len_bytes > left)
			break;
		inode = ioend->io_inode;
		left -= done->len_bytes;
		parts[count++] = bento_ioend_part(ioend, 0, done->len_bytes);
		list_move_tail(&ioend->io_list, told);
	}
	if (count)
		return bento_tell_written(inode, parts, count);
	list_move_tail(ended->next, told);
	return bento_large_written(list_first_entry(told, struct iomap_ioend,
						    io_list));
}

/*
 * The inode may go as soon as the last folio has left the writeback state:
 * nothing but the local lists is touched after that.
 */
static void bento_take_ios(struct bento_inode *bi)
{
	struct iomap_ioend *ioend, *next;
	LIST_HEAD(ended);

	spin_lock_irq(&bi->io_lock);
	list_replace_init(&bi->io_done, &ended);
	spin_unlock_irq(&bi->io_lock);

	iomap_sort_ioends(&ended);
	while (!list_empty(&ended)) {
		LIST_HEAD(told);
		int err = bento_batch_written(&ended, &told);

		list_for_each_entry_safe(ioend, next, &told, io_list) {
			int result = bento_ioend_result(ioend);

			list_del_init(&ioend->io_list);
			kvfree(ioend->io_bio.bi_private);
			iomap_finish_ioends(ioend, result ?: err);
		}
		cond_resched();
	}
}

void bento_io_work(struct work_struct *work)
{
	bento_take_ios(container_of(work, struct bento_inode, io_work));
}

/*
 * Whoever waits for a file's I/O does what the worker would do when it ends, so
 * that nobody has to be woken in between. It does so for as many as had begun
 * before: those that begin later don't keep it. What has ended already is left
 * to the worker: it is queued, and must find the inode there.
 */
void bento_help_io(struct inode *inode)
{
	struct bento_inode *bi = bento_i(inode);
	bool is_last;
	u32 begun;

	spin_lock_irq(&bi->io_lock);
	begun = bi->ios_begun;
	if (bi->io_helper || !list_empty(&bi->io_done) ||
	    bi->ios_ended == begun) {
		spin_unlock_irq(&bi->io_lock);
		return;
	}
	bi->io_helper = current;
	for (is_last = false; !is_last;) {
		bool is_idle = list_empty(&bi->io_done);

		/* What has ended and is not in the list was taken before. */
		is_last = (s32)(bi->ios_ended - begun) >= 0;
		if (is_idle && !is_last)
			set_current_state(TASK_UNINTERRUPTIBLE);
		spin_unlock_irq(&bi->io_lock);
		if (!is_idle)
			bento_take_ios(bi);
		else if (!is_last)
			io_schedule();
		spin_lock_irq(&bi->io_lock);
	}
	bi->io_helper = NULL;
	if (!list_empty(&bi->io_done))
		queue_work(bento_m(inode->i_sb)->io_wq, &bi->io_work);
	spin_unlock_irq(&bi->io_lock);
}

/* --- reading --- */

static int bento_read_folio(struct file *file, struct folio *folio)
{
	return iomap_read_folio(folio, &bento_read_iomap_ops);
}

static void bento_readahead(struct readahead_control *rac)
{
	iomap_readahead(rac, &bento_read_iomap_ops);
}

const struct address_space_operations bento_address_space_ops = {
	.read_folio		= bento_read_folio,
	.readahead		= bento_readahead,
	.writepages		= bento_writepages,
	.dirty_folio		= iomap_dirty_folio,
	.release_folio		= iomap_release_folio,
	.invalidate_folio	= iomap_invalidate_folio,
	.migrate_folio		= filemap_migrate_folio,
	.is_partially_uptodate	= iomap_is_partially_uptodate,
	.error_remove_folio	= generic_error_remove_folio,
};
