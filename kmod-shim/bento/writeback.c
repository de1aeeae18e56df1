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

/* One call of written covers at most this: it becomes one log record. */
#define BENTO_WRITTEN_BLOCKS	1024

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
	if (list_empty(&bi->io_done))
		queue_work(bento_m(inode->i_sb)->io_wq, &bi->io_work);
	list_add_tail(&ioend->io_list, &bi->io_done);
	spin_unlock_irqrestore(&bi->io_lock, flags);
}

static int bento_prepare_ioend(struct iomap_ioend *ioend, int status)
{
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

int bento_written(struct inode *inode, loff_t offset, u64 len, u64 size,
		  const u32 *checksums, int result)
{
	struct bento_inode *bi = bento_i(inode);
	struct timespec64 mtime = inode_get_mtime(inode);
	struct timespec64 ctime = inode_get_ctime(inode);
	struct bento_written w = {
		.offset_bytes = offset,
		.len_bytes = len,
		.size_bytes = size,
		.checksums = checksums,
		.checksum_count = checksums ? len >> BENTO_BLOCK_SHIFT : 0,
		.mtime = bento_time(mtime),
		/* The file system sets ctime to it too. */
		.has_mtime = !result && timespec64_equal(&mtime, &ctime),
		.result = result,
	};
	int err = bento_icall(inode, written, &w);

	trace_bento_written(inode, &w, err);
	bento_mappings_changed(inode);
	if (err || result)
		return err;
	if (w.has_mtime)
		bi->stored_mtime = bi->stored_ctime = mtime;
	if (size > bi->stored_size)
		bi->stored_size = size;
	return 0;
}

static int bento_ioend_written(struct iomap_ioend *ioend)
{
	const struct bento_io_done *done = ioend->io_bio.bi_private;
	int result = blk_status_to_errno(ioend->io_bio.bi_status);
	u64 at, step = BENTO_WRITTEN_BLOCKS * BENTO_BLOCK_BYTES;
	int err = result;

	for (at = 0; at < done->len_bytes; at += step) {
		u64 offset = ioend->io_offset + at;
		u64 len = min(step, done->len_bytes - at);
		u64 size = min(offset + len, done->size_bytes);
		int e = bento_written(ioend->io_inode, offset, len, size,
				done->checksums + (at >> BENTO_BLOCK_SHIFT),
				result);

		err = err ?: e;
	}
	return err;
}

/*
 * The inode may go as soon as the last folio has left the writeback state:
 * nothing but the local list is touched after that.
 */
void bento_io_work(struct work_struct *work)
{
	struct bento_inode *bi = container_of(work, struct bento_inode, io_work);
	struct iomap_ioend *ioend;
	LIST_HEAD(done);

	spin_lock_irq(&bi->io_lock);
	list_replace_init(&bi->io_done, &done);
	spin_unlock_irq(&bi->io_lock);

	iomap_sort_ioends(&done);
	while ((ioend = list_first_entry_or_null(&done, struct iomap_ioend,
						 io_list))) {
		int err = bento_ioend_written(ioend);

		list_del_init(&ioend->io_list);
		kvfree(ioend->io_bio.bi_private);
		iomap_finish_ioends(ioend, err);
		cond_resched();
	}
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
