// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Where file data lies: the file system's mappings as iomaps.
 *
 * All writes are out of place. A buffered write reserves space and sees the
 * old contents as the source of a copy (as for a shared extent); an address
 * comes with writeback. A direct write gets its address at once. map_seq
 * tells whether a mapping that was looked up without the folio lock still
 * holds once the lock is there: writeback in between may have used up a
 * reservation, or moved the block that is the source.
 */
#include <linux/pagemap.h>

#include "bento.h"
#include "trace.h"

/* The largest folio that is made for more than one write. */
#define BENTO_RUN_FOLIO_BYTES	(64 * 1024)

static bool bento_iomap_valid(struct inode *inode, const struct iomap *iomap)
{
	return iomap->validity_cookie ==
	       (u32)atomic_read(&bento_i(inode)->map_seq);
}

/*
 * Small writes one behind the other share folios, which are made an eighth as
 * large as the run is long, so that no more memory than that is for nothing.
 * Writeback waits for a whole folio: fsync ends a run, lest who appends to a
 * file wait for another's fsync of it. A direct write finds a dirty folio in
 * its way that reaches over its blocks: beside such none is made larger.
 */
static struct folio *bento_get_folio(struct iomap_iter *iter, loff_t pos,
				     unsigned int len)
{
	const struct bento_inode *bi = bento_i(iter->inode);
	u64 start = READ_ONCE(bi->run.start);

	if (!(iter->flags & IOMAP_ZERO) && start < pos &&
	    list_empty_careful(&bi->directs))
		len = max_t(u64, len, min_t(u64, (pos - start) / 8,
					    BENTO_RUN_FOLIO_BYTES));
	return iomap_get_folio(iter, pos, len);
}

static const struct iomap_folio_ops bento_folio_ops = {
	.get_folio	= bento_get_folio,
	.iomap_valid	= bento_iomap_valid,
};

/* The blocks that a range of bytes touches. */
static struct bento_range bento_blocks(loff_t offset, u64 length)
{
	return (struct bento_range){
		round_down(offset, BENTO_BLOCK_BYTES),
		round_up(offset + length, BENTO_BLOCK_BYTES),
	};
}

/* Takes a mapping over, cut to a range that it overlaps. */
int bento_fill_iomap(struct inode *inode, struct iomap *iomap,
		     const struct bento_mapping *m, struct bento_range range)
{
	u64 start = max(m->offset_bytes, range.start);
	u64 end = min(m->offset_bytes + m->len_bytes, range.end);

	if (m->offset_bytes > range.start || end <= start)
		return -EUCLEAN;
	iomap->offset = start;
	iomap->length = end - start;
	iomap->bdev = inode->i_sb->s_bdev;
	iomap->addr = IOMAP_NULL_ADDR;
	switch (m->kind) {
	case BENTO_MAP_HOLE:
		iomap->type = IOMAP_HOLE;
		return 0;
	case BENTO_MAP_DELAYED:
		iomap->type = IOMAP_DELALLOC;
		return 0;
	case BENTO_MAP_MAPPED:
		iomap->type = IOMAP_MAPPED;
		break;
	case BENTO_MAP_UNWRITTEN:
		iomap->type = IOMAP_UNWRITTEN;
		break;
	default:
		return -EUCLEAN;
	}
	iomap->addr = m->address_bytes + (start - m->offset_bytes);
	return 0;
}

static int bento_lookup_iomap(struct inode *inode, loff_t offset, u64 length,
			      bool with_delayed, struct iomap *iomap)
{
	struct bento_range range = bento_blocks(offset, length);
	struct bento_mapping m;
	int err = bento_icall(inode, map, range.start, range.end - range.start,
			      with_delayed, &m);

	if (err)
		return err;
	trace_bento_map(inode, &m);
	return bento_fill_iomap(inode, iomap, &m, range);
}

static int bento_read_begin(struct inode *inode, loff_t offset, loff_t length,
			    unsigned int flags, struct iomap *iomap,
			    struct iomap *srcmap)
{
	return bento_lookup_iomap(inode, offset, length, false, iomap);
}

const struct iomap_ops bento_read_iomap_ops = {
	.iomap_begin	= bento_read_begin,
};

static int bento_report_begin(struct inode *inode, loff_t offset, loff_t length,
			      unsigned int flags, struct iomap *iomap,
			      struct iomap *srcmap)
{
	return bento_lookup_iomap(inode, offset, length, true, iomap);
}

const struct iomap_ops bento_report_iomap_ops = {
	.iomap_begin	= bento_report_begin,
};

/* --- buffered writes --- */

/*
 * The target is a reservation. The source is what is on the device; where that
 * is nothing, the target itself says that there is nothing to read.
 */
static int bento_reserve_iomap(struct inode *inode, loff_t offset, u64 length,
			       struct iomap *iomap, struct iomap *srcmap)
{
	struct bento_range range = bento_blocks(offset, length);
	u32 seq = atomic_read(&bento_i(inode)->map_seq);
	struct bento_mapping m;
	int err = bento_reserve(inode, &range, &m);

	if (err)
		return err;
	err = bento_fill_iomap(inode, iomap, &m, range);
	if (err)
		return err;
	if (iomap->type == IOMAP_MAPPED)
		*srcmap = *iomap;
	iomap->type = IOMAP_DELALLOC;
	iomap->addr = IOMAP_NULL_ADDR;
	iomap->flags = IOMAP_F_SHARED;
	iomap->folio_ops = &bento_folio_ops;
	iomap->validity_cookie = seq;
	return 0;
}

static int bento_write_begin(struct inode *inode, loff_t offset, loff_t length,
			     unsigned int flags, struct iomap *iomap,
			     struct iomap *srcmap)
{
	/* Zeroing makes no blocks where zeros are read already. */
	if (flags & IOMAP_ZERO) {
		int err = bento_lookup_iomap(inode, offset, length, true, iomap);

		if (err || iomap->type == IOMAP_HOLE ||
		    iomap->type == IOMAP_UNWRITTEN)
			return err;
		length = min_t(u64, length,
			       iomap->offset + iomap->length - offset);
	}
	return bento_reserve_iomap(inode, offset, length, iomap, srcmap);
}

const struct iomap_ops bento_write_iomap_ops = {
	.iomap_begin	= bento_write_begin,
};

/* A range starts within a block only where that is dirty and ends the file. */
static void bento_punch_reservation(struct inode *inode, loff_t offset,
				    loff_t length, struct iomap *iomap)
{
	u64 start = round_up(offset, BENTO_BLOCK_BYTES);
	u64 end = round_up(offset + length, BENTO_BLOCK_BYTES);

	if (start < end)
		bento_unreserve(inode, start, end);
}

/*
 * Gives back what a write reserved and did not use: the reservations under
 * folios that are not dirty. A whole write does this once, at its end, so that
 * remapping in its middle doesn't give up what it is about to use.
 */
void bento_release_reservations(struct inode *inode, loff_t start, loff_t end)
{
	struct bento_range range = bento_blocks(start, end - start);

	filemap_invalidate_lock(inode->i_mapping);
	iomap_write_delalloc_release(inode, range.start, range.end, 0, NULL,
				     bento_punch_reservation);
	filemap_invalidate_unlock(inode->i_mapping);
}

int bento_zero_range(struct inode *inode, loff_t start, loff_t end)
{
	if (start >= end)
		return 0;
	return iomap_zero_range(inode, start, end - start, NULL,
				&bento_write_iomap_ops);
}

/* The rest of the block that a file of this size ends in. */
int bento_zero_tail(struct inode *inode, loff_t size)
{
	return bento_zero_range(inode, size, round_up(size, BENTO_BLOCK_BYTES));
}
