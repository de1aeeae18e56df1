// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Addresses in hand: blocks that place has given an address and whose I/O has
 * not started.
 *
 * Writeback comes folio by folio, but an address is best had for a long run of
 * dirty blocks at once. What writeback has not come to yet is kept in a list
 * of the inode. Such a block is dirty in memory and needs no reservation: when
 * its folio is written, its address is taken from the list.
 *
 * map_lock makes looking at the list and asking the file system one step. It
 * nests inside folio locks; what completes writeback never takes it. A block
 * whose I/O is in flight is never placed again: its folio is under writeback,
 * or a direct write covers it (direct.c).
 */
#include <linux/highmem.h>
#include <linux/pagemap.h>
#include <linux/slab.h>

#include "bento.h"
#include "trace.h"

/* How many blocks are placed beyond what writeback asks for. */
#define BENTO_AHEAD_BLOCKS	1024

struct bento_placed {
	struct list_head list;
	u64 start;
	u64 end;
	u64 address;
};

/* The first that ends behind a position. */
static struct bento_placed *bento_find_placed(struct bento_inode *bi, u64 at)
{
	struct bento_placed *p, *found = NULL;

	list_for_each_entry(p, &bi->placed, list)
		if (p->end > at && (!found || p->start < found->start))
			found = p;
	return found;
}

static void bento_add_placed(struct bento_inode *bi, u64 start, u64 end,
			     u64 address)
{
	struct bento_placed *p;

	if (start >= end)
		return;
	p = kmalloc(sizeof(*p), GFP_NOFS | __GFP_NOFAIL);
	*p = (struct bento_placed){ .start = start, .end = end,
				    .address = address };
	list_add(&p->list, &bi->placed);
}

/* Takes the start of what is placed in a range out of the list. */
static bool bento_take_placed(struct bento_inode *bi, u64 start, u64 end,
			      struct bento_mapping *m)
{
	struct bento_placed *p = bento_find_placed(bi, start);

	if (!p || p->start >= end)
		return false;
	start = max(start, p->start);
	end = min(end, p->end);
	*m = (struct bento_mapping){
		.offset_bytes = start,
		.len_bytes = end - start,
		.address_bytes = p->address + (start - p->start),
		.kind = BENTO_MAP_MAPPED,
	};
	list_del(&p->list);
	bento_add_placed(bi, p->start, start, p->address);
	bento_add_placed(bi, end, p->end, p->address + (end - p->start));
	kfree(p);
	return true;
}

/*
 * Gives up what is placed in a range whose data will not be written. Called
 * with map_lock.
 */
void bento_cancel_placed(struct inode *inode, u64 start, u64 end)
{
	struct bento_mapping m;

	lockdep_assert_held(&bento_i(inode)->map_lock);
	while (bento_take_placed(bento_i(inode), start, end, &m))
		bento_written(inode, m.offset_bytes, m.len_bytes, 0, NULL,
			      -ECANCELED);
}

/* Gives up addresses and reservations alike. */
void bento_unreserve(struct inode *inode, u64 start, u64 end)
{
	struct bento_inode *bi = bento_i(inode);

	mutex_lock(&bi->map_lock);
	bento_cancel_placed(inode, start, end);
	bento_icall(inode, unreserve, start, end - start);
	mutex_unlock(&bi->map_lock);
	bento_mappings_changed(inode);
}

/*
 * Makes sure that the first blocks of a range can be written: by a new
 * reservation, or by an address in hand. Cuts the range to what that covers.
 */
int bento_reserve(struct inode *inode, struct bento_range *range,
		  struct bento_mapping *m)
{
	struct bento_inode *bi = bento_i(inode);
	struct bento_placed *p;
	int err;

	mutex_lock(&bi->map_lock);
	p = bento_find_placed(bi, range->start);
	if (p && p->start <= range->start) {
		range->end = min(range->end, p->end);
		err = bento_icall(inode, map, range->start,
				  range->end - range->start, false, m);
	} else {
		if (p)
			range->end = min(range->end, p->start);
		err = bento_icall(inode, reserve, range->start,
				  range->end - range->start, m);
	}
	mutex_unlock(&bi->map_lock);
	WRITE_ONCE(bi->sectors_stale, true);
	return err;
}

/* An address from the file system. */
int bento_new_place(struct inode *inode, u64 start, u64 len,
		    struct bento_mapping *m)
{
	int err = bento_icall(inode, place, start, len, m);

	if (!err)
		trace_bento_place(inode, m);
	return err;
}

/*
 * The end of the run of dirty folios behind a position. Folio by folio, since
 * looking at each page of a large one would take longer than placing it.
 */
static u64 bento_dirty_until(struct inode *inode, u64 from)
{
	XA_STATE(xas, &inode->i_mapping->i_pages, 0);
	u64 end = min_t(u64, round_up(i_size_read(inode), BENTO_BLOCK_BYTES),
			from + BENTO_AHEAD_BLOCKS * BENTO_BLOCK_BYTES);
	pgoff_t index = from >> PAGE_SHIFT;
	void *folio;

	rcu_read_lock();
	while ((u64)index << PAGE_SHIFT < end) {
		xas_set(&xas, index);
		folio = xas_load(&xas);
		if (!folio || xas_retry(&xas, folio) ||
		    !xas_get_mark(&xas, PAGECACHE_TAG_DIRTY) ||
		    xas_get_mark(&xas, PAGECACHE_TAG_WRITEBACK))
			break;
		index = round_up(index + 1, 1UL << xas_get_order(&xas));
	}
	rcu_read_unlock();
	return max(from, min(end, (u64)index << PAGE_SHIFT));
}

/* --- writeback --- */

/* Whether all blocks of a folio's part, on its way out, are zeros. */
static bool bento_is_zero(struct inode *inode, struct bento_range range)
{
	struct folio *folio = filemap_get_folio(inode->i_mapping,
						range.start >> PAGE_SHIFT);
	bool is_zero = !IS_ERR(folio);
	u64 at;

	if (!is_zero)
		return false;
	for (at = range.start; at < range.end && is_zero;
	     at += BENTO_BLOCK_BYTES) {
		void *data = kmap_local_folio(folio, offset_in_folio(folio, at));

		is_zero = !memchr_inv(data, 0, BENTO_BLOCK_BYTES);
		kunmap_local(data);
	}
	folio_put(folio);
	return is_zero;
}

/*
 * A dirty block without a reservation: either it became dirty together with
 * the rest of a large folio when it was behind the end of the file, and then
 * it is all zeros and stays a hole; or a driver wrote to a pinned page after
 * writeback had cleaned it, and then it takes its chances for space now.
 */
static int bento_place_unreserved(struct inode *inode,
				  struct bento_range range,
				  struct bento_mapping *m)
{
	u64 len = range.end - range.start;
	int err = bento_icall(inode, map, range.start, len, false, m);

	if (err)
		return err;
	if (m->kind == BENTO_MAP_HOLE || m->kind == BENTO_MAP_UNWRITTEN) {
		range.end = min(range.end, m->offset_bytes + m->len_bytes);
		if (bento_is_zero(inode, range))
			return 0;
		len = range.end - range.start;
	}
	err = bento_icall(inode, reserve, range.start, len, m);
	return err ?: bento_new_place(inode, range.start, len, m);
}

/* A new address for a range, and for what is dirty behind it. */
static int bento_place_ahead(struct inode *inode, struct bento_range range,
			     struct bento_mapping *m)
{
	struct bento_inode *bi = bento_i(inode);
	struct bento_placed *next = bento_find_placed(bi, range.start);
	u64 until = bento_dirty_until(inode, range.end);
	u64 end;
	int err;

	if (next)
		until = min(until, next->start);
	until = min(until, bento_next_direct(bi, range.end));
	err = bento_new_place(inode, range.start, until - range.start, m);
	if (err == -EINVAL || err == -EAGAIN)
		return bento_place_unreserved(inode, range, m);
	if (err)
		return err;
	end = m->offset_bytes + m->len_bytes;
	if (m->kind != BENTO_MAP_MAPPED || m->offset_bytes != range.start ||
	    end <= range.start || end > until)
		return -EUCLEAN;
	bento_add_placed(bi, range.end, end,
			 m->address_bytes + (range.end - range.start));
	m->len_bytes = min(end, range.end) - range.start;
	return 0;
}

/* An address for the first blocks of a dirty range whose folio is locked. */
int bento_place(struct inode *inode, struct bento_range range,
		struct bento_mapping *m)
{
	struct bento_inode *bi = bento_i(inode);
	struct bento_placed *placed;
	int err = 0;

	bento_lock_behind_direct(bi, range);
	placed = bento_find_placed(bi, range.start);
	if (placed && placed->start <= range.start)
		bento_take_placed(bi, range.start, range.end, m);
	else
		err = bento_place_ahead(inode, range, m);
	mutex_unlock(&bi->map_lock);
	bento_mappings_changed(inode);
	return err;
}
