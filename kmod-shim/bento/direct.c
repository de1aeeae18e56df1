// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Direct writes: of whole blocks, each of which gets its address at once.
 *
 * Writes inside a file go on side by side, with the inode locked shared, and
 * asynchronous ones don't wait for the device. One that makes the file longer
 * has the inode to itself, and waits.
 *
 * Of a block there is one address in hand at most. So a direct write claims
 * its range, and later direct writes of it wait; and once it has addresses,
 * writeback of those blocks (others may have made them dirty) waits until it
 * is over. That is with their folios locked, so nothing that a write with
 * addresses needs may wait for a folio: no reclaim, no page fault, and neither
 * mmap_lock nor invalidate_lock, which are held while waiting for one. So
 * memory is pinned before its range is claimed.
 */
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uio.h>
#include <linux/wait_bit.h>

#include "bento.h"

/*
 * Mappings that are reserved at once for a direct write. The address that it
 * gets may be for less, and the rest is reserved again: this bounds how often.
 */
#define BENTO_DIRECT_MAPPINGS	32

/*
 * Of a file, what is under way before asynchronous writes wait after all. The
 * worker that completes one may wait for a folio, whose writeback waits for
 * another one to be completed: there must be workers left for that (256).
 */
#define BENTO_DIRECT_MAX	64

/* A direct write that is not over. */
struct bento_direct {
	struct list_head list;
	struct bento_range claimed;
	/* How far it has addresses, from the start of what it claims. */
	u64 placed_end;
	/* All zeros if it writes the kernel's own memory. */
	struct bento_pinned memory;
};

static bool bento_has_address(const struct bento_direct *d)
{
	return d->placed_end > d->claimed.start;
}

/* --- who waits for whom --- */

/* Whether an earlier one claims blocks of this one. */
static bool bento_must_wait(const struct bento_inode *bi,
			    const struct bento_direct *self)
{
	const struct bento_direct *d;

	list_for_each_entry(d, &bi->directs, list) {
		if (d == self)
			break;
		if (d->claimed.start < self->claimed.end &&
		    d->claimed.end > self->claimed.start)
			return true;
	}
	return false;
}

static bool bento_is_placed(const struct bento_inode *bi,
			    struct bento_range range)
{
	const struct bento_direct *d;

	list_for_each_entry(d, &bi->directs, list)
		if (bento_has_address(d) && d->claimed.start < range.end &&
		    d->placed_end > range.start)
			return true;
	return false;
}

/* Lets go of map_lock until another direct write is over. */
static void bento_wait_for_direct(struct bento_inode *bi)
{
	u32 ended = bi->directs_ended;

	mutex_unlock(&bi->map_lock);
	wait_var_event(&bi->directs_ended,
		       READ_ONCE(bi->directs_ended) != ended);
	mutex_lock(&bi->map_lock);
}

/* Takes map_lock to place a range that no direct write has an address for. */
void bento_lock_behind_direct(struct bento_inode *bi, struct bento_range range)
{
	mutex_lock(&bi->map_lock);
	while (bento_is_placed(bi, range))
		bento_wait_for_direct(bi);
}

/* Where the next range begins that a direct write has addresses for. */
u64 bento_next_direct(const struct bento_inode *bi, u64 at)
{
	const struct bento_direct *d;
	u64 next = U64_MAX;

	lockdep_assert_held(&bi->map_lock);
	list_for_each_entry(d, &bi->directs, list)
		if (bento_has_address(d) && d->claimed.start >= at)
			next = min(next, d->claimed.start);
	return next;
}

static void bento_begin_direct(struct bento_inode *bi, struct bento_direct *d,
			       struct bento_range range)
{
	d->claimed = range;
	d->placed_end = range.start;
	mutex_lock(&bi->map_lock);
	list_add_tail(&d->list, &bi->directs);
	while (bento_must_wait(bi, d))
		bento_wait_for_direct(bi);
	mutex_unlock(&bi->map_lock);
}

static void bento_end_direct(struct bento_inode *bi, struct bento_direct *d)
{
	mutex_lock(&bi->map_lock);
	list_del(&d->list);
	WRITE_ONCE(bi->directs_ended, bi->directs_ended + 1);
	mutex_unlock(&bi->map_lock);
	/* Who begins to wait now sees the number. */
	smp_mb();
	wake_up_var(&bi->directs_ended);
	bento_unpin(&d->memory);
	kfree(d);
}

/* The one that writes from here: others that claim the same wait behind it. */
static struct bento_direct *bento_find_direct(struct bento_inode *bi, u64 start)
{
	struct bento_direct *d, *found = NULL;

	mutex_lock(&bi->map_lock);
	list_for_each_entry(d, &bi->directs, list) {
		if (d->claimed.start != start)
			continue;
		found = d;
		break;
	}
	mutex_unlock(&bi->map_lock);
	return found;
}

/* --- addresses --- */

/*
 * Reserves for a direct write, over several mappings that lie there now: it
 * replaces whole blocks. Cuts the range to what is reserved. What is set aside
 * already gets its address apart from the rest, so it ends where that begins
 * or ends.
 */
static int bento_reserve_direct(struct inode *inode, struct bento_range *range)
{
	u64 at = range->start, end;
	struct bento_mapping m;
	bool was_set_aside = false, is_set_aside;
	int count, err = 0;

	for (count = 0; count < BENTO_DIRECT_MAPPINGS && at < range->end;
	     count++) {
		err = bento_icall(inode, reserve, at, range->end - at, &m);
		if (err)
			break;
		end = min(range->end, m.offset_bytes + m.len_bytes);
		if (m.offset_bytes > at || end <= at) {
			err = -EUCLEAN;
			break;
		}
		is_set_aside = m.kind == BENTO_MAP_UNWRITTEN;
		if (at > range->start && is_set_aside != was_set_aside) {
			bento_icall(inode, unreserve, at, end - at);
			break;
		}
		was_set_aside = is_set_aside;
		at = end;
	}
	if (at == range->start)
		return err;
	range->end = at;
	return 0;
}

/* Addresses for the start of a range. -ENOTBLK: the page cache is in the way. */
static int bento_place_direct_locked(struct inode *inode,
				     struct bento_range range,
				     struct bento_mapping *m)
{
	u64 placed;
	int err;

	if (filemap_range_needs_writeback(inode->i_mapping, range.start,
					  range.end - 1))
		return -ENOTBLK;
	bento_cancel_placed(inode, range.start, range.end);
	err = bento_reserve_direct(inode, &range);
	if (err)
		return err;
	err = bento_new_place(inode, range.start, range.end - range.start, m);
	placed = err ? range.start : m->offset_bytes + m->len_bytes;
	if (placed < range.end)
		bento_icall(inode, unreserve, placed, range.end - placed);
	return err;
}

static int bento_place_direct(struct inode *inode, struct bento_direct *d,
			      struct bento_range range, struct bento_mapping *m)
{
	struct bento_inode *bi = bento_i(inode);
	int err;

	mutex_lock(&bi->map_lock);
	err = bento_place_direct_locked(inode, range, m);
	if (!err)
		d->placed_end = m->offset_bytes + m->len_bytes;
	mutex_unlock(&bi->map_lock);
	bento_mappings_changed(inode);
	return err;
}

static int bento_direct_begin(struct inode *inode, loff_t offset, loff_t length,
			      unsigned int flags, struct iomap *iomap,
			      struct iomap *srcmap)
{
	const struct iomap_iter *iter = container_of(iomap, struct iomap_iter,
						     iomap);
	struct rw_semaphore *invalidate = &inode->i_mapping->invalidate_lock;
	struct bento_direct *d = iter->private;
	struct bento_range range = {
		offset, round_up(offset + length, BENTO_BLOCK_BYTES),
	};
	struct bento_mapping m;
	int err;

	/* Writing the kernel's memory failed within a block: it has its address. */
	if (offset & (BENTO_BLOCK_BYTES - 1))
		return -EIO;
	/*
	 * No page becomes dirty between looking for such and placing. A page
	 * fault holds this lock while it waits for a folio, which may be one
	 * that waits for the first blocks of this write.
	 */
	if (!bento_has_address(d))
		down_write(invalidate);
	else if (!down_write_trylock(invalidate))
		return -ENOTBLK;
	err = bento_place_direct(inode, d, range, &m);
	up_write(invalidate);
	if (err)
		return err;
	/* Shared: the completion has work to do. */
	iomap->flags = IOMAP_F_SHARED | IOMAP_F_DIRTY;
	return bento_fill_iomap(inode, iomap, &m, range);
}

/* Blocks that have an address and no I/O at all lose it again. */
static int bento_direct_end(struct inode *inode, loff_t offset, loff_t length,
			    ssize_t written, unsigned int flags,
			    struct iomap *iomap)
{
	loff_t end = min_t(loff_t, offset + length,
			   iomap->offset + iomap->length);
	loff_t done = round_up(offset + max_t(ssize_t, written, 0),
			       BENTO_BLOCK_BYTES);

	if (done < end)
		bento_written(inode, done, end - done, 0, NULL, -EIO);
	return 0;
}

static const struct iomap_ops bento_direct_iomap_ops = {
	.iomap_begin	= bento_direct_begin,
	.iomap_end	= bento_direct_end,
};

static int bento_direct_done(struct kiocb *iocb, ssize_t size, int error,
			     unsigned int flags)
{
	struct inode *inode = file_inode(iocb->ki_filp);
	loff_t end = iocb->ki_pos + size;
	struct bento_direct *d;
	int err = 0;

	/* Unknown checksums: the application may change its memory any time. */
	if (size > 0)
		err = bento_written(inode, iocb->ki_pos, size, error ? 0 : end,
				    NULL, error);
	if (size > 0 && !error && !err && end > i_size_read(inode))
		i_size_write(inode, end);
	d = bento_find_direct(bento_i(inode), iocb->ki_pos);
	if (!WARN_ON_ONCE(!d))
		bento_end_direct(bento_i(inode), d);
	return error ?: err;
}

static const struct iomap_dio_ops bento_direct_write_ops = {
	.end_io		= bento_direct_done,
};

/* --- a write --- */

/* Whether this is a write of whole blocks. */
bool bento_is_direct(const struct kiocb *iocb, const struct iov_iter *from)
{
	u64 edges = iocb->ki_pos | iov_iter_count(from);

	return (iocb->ki_flags & IOCB_DIRECT) &&
	       !(edges & (BENTO_BLOCK_BYTES - 1));
}

/* Writes what it claims, and ends it or leaves that to the completion. */
static ssize_t bento_write_claimed(struct kiocb *iocb, struct iov_iter *blocks,
				   struct bento_direct *d, unsigned int flags,
				   size_t done)
{
	unsigned int nofs = memalloc_nofs_save();
	struct iomap_dio *dio = __iomap_dio_rw(iocb, blocks,
					       &bento_direct_iomap_ops,
					       &bento_direct_write_ops, flags,
					       d, done);
	ssize_t ret;

	if (IS_ERR_OR_NULL(dio)) {
		ret = PTR_ERR_OR_ZERO(dio);
		if (ret != -EIOCBQUEUED)
			bento_end_direct(bento_i(file_inode(iocb->ki_filp)), d);
	} else {
		ret = iomap_dio_complete(dio);
	}
	memalloc_nofs_restore(nofs);
	return ret;
}

/* Makes an iterator over a program's memory one over what is pinned of it. */
static int bento_take_memory(struct inode *inode, struct bento_pinned *memory,
			     struct iov_iter *blocks)
{
	struct block_device *bdev = inode->i_sb->s_bdev;
	int err;

	if (!user_backed_iter(blocks))
		return 0;
	if (!bdev_iter_is_aligned(bdev, blocks))
		return -EINVAL;
	err = bento_pin(memory, blocks);
	if (err)
		return err;
	/* iomap takes no sectors that are cut apart by the ends of pages. */
	if (bdev_iter_is_aligned(bdev, blocks))
		return 0;
	bento_unpin(memory);
	return -ENOTBLK;
}

/*
 * Writes the blocks whose memory can be pinned at once, behind `done` bytes.
 * Returns all that is written then, unless it is queued.
 */
static ssize_t bento_write_part(struct kiocb *iocb, struct iov_iter *from,
				unsigned int flags, size_t done)
{
	struct bento_direct *d = kzalloc(sizeof(*d), GFP_KERNEL);
	struct inode *inode = file_inode(iocb->ki_filp);
	struct iov_iter blocks = *from;
	loff_t start = iocb->ki_pos;
	size_t len;
	ssize_t ret;
	int err;

	if (!d)
		return -ENOMEM;
	err = bento_take_memory(inode, &d->memory, &blocks);
	if (err) {
		kfree(d);
		return err;
	}
	len = iov_iter_count(&blocks);
	if (len < iov_iter_count(from))
		flags |= IOMAP_DIO_FORCE_WAIT;
	bento_begin_direct(bento_i(inode), d,
			   (struct bento_range){ start, start + len });
	ret = bento_write_claimed(iocb, &blocks, d, flags, done);
	/* What is queued may be complete by now, and iocb gone. */
	if (ret == -EIOCBQUEUED)
		return ret;
	/* Written, but not durable as it should be: not done. */
	if (ret < 0)
		iocb->ki_pos = start;
	iov_iter_advance(from, iocb->ki_pos - start);
	return ret;
}

/* What is left in `from` then is the page cache's. */
static ssize_t bento_write_blocks(struct kiocb *iocb, struct iov_iter *from,
				  unsigned int flags)
{
	ssize_t ret, done = 0;

	while (iov_iter_count(from)) {
		ret = bento_write_part(iocb, from, flags, done);
		if (ret == -EIOCBQUEUED)
			return ret;
		/* It has data there, or the memory can't be pinned or sent. */
		if (ret == -ENOTBLK || ret == -EFAULT)
			break;
		if (ret < 0)
			return done ?: ret;
		if (ret <= done)
			break;
		done = ret;
	}
	return done;
}

/* With the inode locked: what is written is complete when this returns. */
ssize_t bento_direct_write(struct kiocb *iocb, struct iov_iter *from)
{
	return bento_write_blocks(iocb, from, IOMAP_DIO_FORCE_WAIT);
}

/* Whether the size stays, and all else that only one may change at a time. */
static bool bento_is_inside(const struct kiocb *iocb,
			    const struct iov_iter *from)
{
	const struct inode *inode = file_inode(iocb->ki_filp);

	return !(iocb->ki_flags & IOCB_APPEND) && IS_NOSEC(inode) &&
	       iocb->ki_pos + iov_iter_count(from) <= i_size_read(inode);
}

/*
 * Writes beside others, if the write is one for that. What is left in `from`
 * is not written; -EIOCBQUEUED if all of it will be.
 */
ssize_t bento_direct_write_inside(struct kiocb *iocb, struct iov_iter *from)
{
	struct inode *inode = file_inode(iocb->ki_filp);
	unsigned int flags = 0;
	ssize_t ret = 0;

	if (!bento_is_direct(iocb, from) || !bento_is_inside(iocb, from))
		return 0;
	/*
	 * Who waits for its first write before it completes its second itself
	 * must not complete the first itself.
	 */
	iocb->ki_flags &= ~IOCB_DIO_CALLER_COMP;
	if (atomic_read(&inode->i_dio_count) >= BENTO_DIRECT_MAX)
		flags |= IOMAP_DIO_FORCE_WAIT;
	inode_lock_shared(inode);
	/* The size is sure from here on. */
	if (bento_is_inside(iocb, from))
		ret = generic_write_checks(iocb, from);
	/* A limit on file sizes may have cut it within a block. */
	if (ret > 0)
		ret = !bento_is_direct(iocb, from) ? 0 :
		      kiocb_modified(iocb) ?:
		      bento_write_blocks(iocb, from, flags);
	inode_unlock_shared(inode);
	return ret;
}
