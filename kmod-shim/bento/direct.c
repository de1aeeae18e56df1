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
 * addresses needs may wait for a folio: no page fault, no reclaim, and not
 * invalidate_lock, which is held while waiting for one. (mmap_lock is, too,
 * and pinning memory may take it: docs/STATUS.md, known gaps.)
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

static struct bento_direct *bento_begin_direct(struct bento_inode *bi,
					       struct bento_range range)
{
	struct bento_direct *d = kmalloc(sizeof(*d), GFP_KERNEL);

	if (!d)
		return NULL;
	d->claimed = range;
	d->placed_end = range.start;
	mutex_lock(&bi->map_lock);
	list_add_tail(&d->list, &bi->directs);
	while (bento_must_wait(bi, d))
		bento_wait_for_direct(bi);
	mutex_unlock(&bi->map_lock);
	return d;
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

	/* Memory has ended within a block, which has its address already. */
	if (offset & (BENTO_BLOCK_BYTES - 1))
		return -EFAULT;
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
	loff_t whole_end = round_down(end, BENTO_BLOCK_BYTES);
	struct bento_direct *d;
	int err = 0;

	/* Unknown checksums: the application may change its memory any time. */
	if (whole_end > iocb->ki_pos)
		err = bento_written(inode, iocb->ki_pos,
				    whole_end - iocb->ki_pos,
				    error ? 0 : whole_end, NULL, error);
	/* What is behind the part that was written is nobody's data. */
	if (end > whole_end)
		bento_written(inode, whole_end, BENTO_BLOCK_BYTES, 0, NULL,
			      -EFAULT);
	if (size > 0 && !error && !err && whole_end > i_size_read(inode))
		i_size_write(inode, whole_end);
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

/* Writes blocks from memory that is present. */
static ssize_t bento_write_present(struct kiocb *iocb, struct iov_iter *from,
				   unsigned int flags, size_t done)
{
	struct bento_inode *bi = bento_i(file_inode(iocb->ki_filp));
	struct bento_direct *d = bento_begin_direct(bi, (struct bento_range){
		iocb->ki_pos, iocb->ki_pos + iov_iter_count(from) });
	unsigned int nofs;
	struct iomap_dio *dio;
	ssize_t ret, part;

	if (!d)
		return -ENOMEM;
	nofs = memalloc_nofs_save();
	from->nofault = true;
	dio = __iomap_dio_rw(iocb, from, &bento_direct_iomap_ops,
			     &bento_direct_write_ops,
			     flags | IOMAP_DIO_PARTIAL, d, done);
	from->nofault = false;
	if (IS_ERR_OR_NULL(dio)) {
		ret = PTR_ERR_OR_ZERO(dio);
		if (ret != -EIOCBQUEUED)
			bento_end_direct(bi, d);
	} else {
		ret = iomap_dio_complete(dio);
	}
	memalloc_nofs_restore(nofs);
	if (ret <= 0)
		return ret == -ENOTBLK ? 0 : ret;
	/* The part of a block where memory ended was not kept. */
	part = iocb->ki_pos & (BENTO_BLOCK_BYTES - 1);
	iocb->ki_pos -= part;
	iov_iter_revert(from, part);
	return ret - part;
}

/* As far as memory can be read in time; the rest is left to the page cache. */
static ssize_t bento_write_blocks(struct kiocb *iocb, struct iov_iter *from,
				  unsigned int flags)
{
	size_t left, before = 0;
	ssize_t ret, done = 0;

	for (;;) {
		ret = bento_write_present(iocb, from, flags, done);
		if (ret > 0)
			done = ret;
		else if (ret == -EIOCBQUEUED)
			return ret;
		else if (ret != -EFAULT)
			return done ?: ret;
		left = iov_iter_count(from);
		if (!left || left == before)
			return done;
		before = left;
		fault_in_iov_iter_readable(from, left);
	}
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
