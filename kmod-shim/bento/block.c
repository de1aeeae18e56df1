// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Block I/O for file systems: many requests per call, all in flight at once. */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/completion.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "bento.h"

/* A call's requests that are not done yet, and the first error. */
struct bento_io_wait {
	atomic_t pending;
	int error;
	struct completion done;
};

static void bento_io_put(struct bento_io_wait *wait, int error)
{
	if (error)
		cmpxchg(&wait->error, 0, error);
	if (atomic_dec_and_test(&wait->pending))
		complete(&wait->done);
}

static void bento_bio_end(struct bio *bio)
{
	struct bento_io_wait *wait = bio->bi_private;
	int error = blk_status_to_errno(bio->bi_status);

	bio_put(bio);
	bento_io_put(wait, error);
}

static struct page *bento_buffer_page(const void *at)
{
	return is_vmalloc_addr(at) ? vmalloc_to_page(at) : virt_to_page(at);
}

static struct bio *bento_new_bio(struct bento_mount *mount, blk_opf_t opf,
				 u64 offset, size_t len,
				 struct bento_io_wait *wait)
{
	unsigned short vecs = min_t(size_t, BIO_MAX_VECS,
				    DIV_ROUND_UP(len, PAGE_SIZE) + 1);
	struct bio *bio = bio_alloc(mount->sb->s_bdev, vecs, opf, GFP_NOFS);

	bio->bi_iter.bi_sector = offset >> SECTOR_SHIFT;
	bio->bi_private = wait;
	bio->bi_end_io = bento_bio_end;
	atomic_inc(&wait->pending);
	return bio;
}

static void bento_submit(struct bento_mount *mount, blk_opf_t opf, u64 offset,
			 u8 *buffer, size_t len, struct bento_io_wait *wait)
{
	struct bio *bio = NULL;

	while (len) {
		size_t in_page = offset_in_page(buffer);
		size_t n = min(len, PAGE_SIZE - in_page);

		if (!bio)
			bio = bento_new_bio(mount, opf, offset, len, wait);
		if (bio_add_page(bio, bento_buffer_page(buffer), n,
				 in_page) != n) {
			submit_bio(bio);
			bio = NULL;
			continue;
		}
		buffer += n;
		offset += n;
		len -= n;
	}
	if (bio)
		submit_bio(bio);
}

static int bento_check_request(struct bento_mount *mount,
			       const struct bento_io *io)
{
	struct block_device *bdev = mount->sb->s_bdev;
	u64 mask = bdev_logical_block_size(bdev) - 1;

	if (!io->len_bytes || ((io->offset_bytes | io->len_bytes) & mask))
		return -EINVAL;
	if (io->offset_bytes > bdev_nr_bytes(bdev) ||
	    io->len_bytes > bdev_nr_bytes(bdev) - io->offset_bytes)
		return -EIO;
	return 0;
}

/* A buffer that is not aligned for the device goes by a copy, on its own. */
static int bento_bounced_io(struct bento_mount *mount, blk_opf_t opf,
			    const struct bento_io *io)
{
	struct bento_io_wait wait = { .pending = ATOMIC_INIT(1) };
	u8 *copy = kvmalloc(io->len_bytes, GFP_NOFS);
	bool write = op_is_write(opf);

	if (!copy)
		return -ENOMEM;
	init_completion(&wait.done);
	if (write)
		memcpy(copy, io->buffer, io->len_bytes);
	bento_submit(mount, opf, io->offset_bytes, copy, io->len_bytes, &wait);
	bento_io_put(&wait, 0);
	wait_for_completion_io(&wait.done);
	if (!write && !wait.error)
		memcpy(io->buffer, copy, io->len_bytes);
	kvfree(copy);
	return wait.error;
}

static bool bento_needs_bounce(struct bento_mount *mount,
			       const struct bento_io *io)
{
	return (unsigned long)io->buffer &
	       max_t(unsigned int, bdev_dma_alignment(mount->sb->s_bdev),
		     SECTOR_SIZE - 1);
}

static blk_opf_t bento_opf(u32 operation)
{
	switch (operation) {
	case BENTO_IO_READ:
		return REQ_OP_READ | REQ_META | REQ_SYNC;
	case BENTO_IO_WRITE:
		return REQ_OP_WRITE | REQ_META | REQ_SYNC;
	default:
		return REQ_OP_WRITE | REQ_META | REQ_SYNC | REQ_FUA;
	}
}

int32_t bento_device_io(struct bento_mount *mount, uint32_t operation,
			const struct bento_io *requests, size_t count)
{
	struct bento_io_wait wait = { .pending = ATOMIC_INIT(1) };
	blk_opf_t opf = bento_opf(operation);
	struct blk_plug plug;
	int err = 0;
	size_t i;

	if (!mount->sb->s_bdev)
		return -ENODEV;
	init_completion(&wait.done);
	blk_start_plug(&plug);
	for (i = 0; i < count && !err; i++) {
		err = bento_check_request(mount, &requests[i]);
		if (err)
			break;
		if (bento_needs_bounce(mount, &requests[i]))
			err = bento_bounced_io(mount, opf, &requests[i]);
		else
			bento_submit(mount, opf, requests[i].offset_bytes,
				     requests[i].buffer, requests[i].len_bytes,
				     &wait);
	}
	blk_finish_plug(&plug);
	bento_io_put(&wait, err);
	wait_for_completion_io(&wait.done);
	return wait.error;
}
EXPORT_SYMBOL_GPL(bento_device_io);

int32_t bento_device_flush(struct bento_mount *mount)
{
	if (!mount->sb->s_bdev)
		return -ENODEV;
	return blkdev_issue_flush(mount->sb->s_bdev);
}
EXPORT_SYMBOL_GPL(bento_device_flush);

int32_t bento_device_discard(struct bento_mount *mount, uint64_t offset_bytes,
			     uint64_t len_bytes)
{
	struct block_device *bdev = mount->sb->s_bdev;
	int err;

	if (!bdev)
		return -ENODEV;
	if (!bdev_max_discard_sectors(bdev))
		return 0;
	err = blkdev_issue_discard(bdev, offset_bytes >> SECTOR_SHIFT,
				   len_bytes >> SECTOR_SHIFT, GFP_NOFS);
	return err == -EOPNOTSUPP ? 0 : err;
}
EXPORT_SYMBOL_GPL(bento_device_discard);

int32_t bento_device_geometry(struct bento_mount *mount,
			      struct bento_geometry *geometry)
{
	struct block_device *bdev = mount->sb->s_bdev;

	if (!bdev)
		return -ENODEV;
	geometry->size_bytes = bdev_nr_bytes(bdev);
	geometry->sector_bytes = bdev_logical_block_size(bdev);
	geometry->read_only = bdev_read_only(bdev);
	geometry->can_discard = bdev_max_discard_sectors(bdev);
	return 0;
}
EXPORT_SYMBOL_GPL(bento_device_geometry);
