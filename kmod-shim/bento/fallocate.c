// SPDX-License-Identifier: GPL-2.0 OR MIT
/* fallocate, and the ioctls. */
#include <linux/blkdev.h>
#include <linux/falloc.h>
#include <linux/pagemap.h>
#include <linux/uaccess.h>

#include "bento.h"

static int bento_call_fallocate(struct inode *inode, u32 mode, loff_t start,
				loff_t end)
{
	struct bento_attr attr;
	int err;

	if (start >= end)
		return 0;
	mutex_lock(&bento_i(inode)->map_lock);
	if (mode != BENTO_FALLOC_ALLOCATE)
		bento_cancel_placed(inode, start, end);
	/* The size is changed apart, to the byte. */
	err = bento_icall(inode, fallocate, mode, true, start, end - start,
			  &attr);
	mutex_unlock(&bento_i(inode)->map_lock);
	bento_mappings_changed(inode);
	return err;
}

static int bento_allocate(struct inode *inode, loff_t start, loff_t end)
{
	return bento_call_fallocate(inode, BENTO_FALLOC_ALLOCATE,
				    round_down(start, BENTO_BLOCK_BYTES),
				    round_up(end, BENTO_BLOCK_BYTES));
}

/*
 * Whole blocks are the file system's; what they held in memory goes after
 * everything dirty has been written, so that no reservation stays behind.
 * Parts of blocks are zeroed in memory.
 */
static int bento_clear(struct inode *inode, u32 mode, loff_t start, loff_t end)
{
	loff_t first = round_up(start, BENTO_BLOCK_BYTES);
	loff_t last = round_down(end, BENTO_BLOCK_BYTES);
	loff_t size = i_size_read(inode);
	int err;

	err = filemap_write_and_wait_range(inode->i_mapping, start, end - 1);
	if (err)
		return err;
	if (first < last) {
		truncate_pagecache_range(inode, first, last - 1);
		err = bento_call_fallocate(inode, mode, first, last);
		if (err)
			return err;
		err = bento_zero_range(inode, start, min(first, size));
		if (err)
			return err;
		return bento_zero_range(inode, last, min(end, size));
	}
	return bento_zero_range(inode, start, min(end, size));
}

static int bento_change_space(struct inode *inode, int mode, loff_t start,
			      loff_t end)
{
	loff_t new_size = 0;
	int err;

	if (!(mode & FALLOC_FL_KEEP_SIZE) && end > i_size_read(inode)) {
		err = inode_newsize_ok(inode, end);
		if (err)
			return err;
		new_size = end;
	}
	if (mode & FALLOC_FL_PUNCH_HOLE)
		return bento_clear(inode, BENTO_FALLOC_PUNCH, start, end);
	if (mode & FALLOC_FL_ZERO_RANGE) {
		err = bento_clear(inode, BENTO_FALLOC_ZERO, start, end);
		if (err)
			return err;
	}
	err = bento_allocate(inode, start, end);
	if (!err && new_size)
		err = bento_set_size(inode, new_size);
	return err;
}

long bento_fallocate(struct file *file, int mode, loff_t offset, loff_t len)
{
	struct inode *inode = file_inode(file);
	int err;

	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE |
		     FALLOC_FL_ZERO_RANGE))
		return -EOPNOTSUPP;
	if (!S_ISREG(inode->i_mode))
		return -EINVAL;
	inode_lock(inode);
	inode_dio_wait(inode);
	filemap_invalidate_lock(inode->i_mapping);
	err = file_modified(file);
	if (!err)
		err = bento_change_space(inode, mode, offset, offset + len);
	filemap_invalidate_unlock(inode->i_mapping);
	inode_unlock(inode);
	if (!err && ((file->f_flags & O_DSYNC) || IS_SYNC(inode)))
		err = vfs_fsync_range(file, offset, offset + len - 1,
				      !(file->f_flags & __O_SYNC));
	return err;
}

/* --- ioctls --- */

/* As ext4 and XFS number them. */
#define BENTO_IOC_SHUTDOWN		_IOR('X', 125, __u32)
#define BENTO_SHUTDOWN_FLUSH		0
#define BENTO_SHUTDOWN_LOGFLUSH		1
#define BENTO_SHUTDOWN_NOLOGFLUSH	2

static int bento_shutdown(struct super_block *sb, u32 how)
{
	struct bento_mount *mount = bento_m(sb);
	int err = 0;

	switch (how) {
	case BENTO_SHUTDOWN_FLUSH:
		if (sb->s_bdev)
			err = bdev_freeze(sb->s_bdev);
		if (err)
			return err;
		err = bento_call(mount, shutdown);
		if (sb->s_bdev)
			bdev_thaw(sb->s_bdev);
		return err;
	case BENTO_SHUTDOWN_LOGFLUSH:
		err = bento_call(mount, sync, true);
		if (err)
			return err;
		fallthrough;
	case BENTO_SHUTDOWN_NOLOGFLUSH:
		return bento_call(mount, shutdown);
	default:
		return -EINVAL;
	}
}

/* As much of the device at a time as doesn't keep a freeze waiting. */
#define BENTO_TRIM_BYTES		(1ull << 30)

static int bento_trim(struct super_block *sb, struct fstrim_range *range)
{
	struct bento_mount *mount = bento_m(sb);
	u64 size = bdev_nr_bytes(sb->s_bdev);
	u64 at = min(range->start, size);
	u64 end = at + min(range->len, size - at);
	u64 min_bytes = max_t(u64, range->minlen,
			      bdev_discard_granularity(sb->s_bdev));
	int err = 0;

	range->len = 0;
	for (; at < end && !err; at += BENTO_TRIM_BYTES) {
		u64 trimmed = 0;

		if (fatal_signal_pending(current))
			return -EINTR;
		sb_start_write(sb);
		err = bento_call(mount, trim, at,
				 min(end, at + BENTO_TRIM_BYTES), min_bytes,
				 &trimmed);
		sb_end_write(sb);
		range->len += trimmed;
		cond_resched();
	}
	return err;
}

static int bento_ioctl_trim(struct super_block *sb,
			    struct fstrim_range __user *arg)
{
	struct fstrim_range range;
	int err;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (!sb->s_bdev || !bdev_max_discard_sectors(sb->s_bdev))
		return -EOPNOTSUPP;
	if (copy_from_user(&range, arg, sizeof(range)))
		return -EFAULT;
	err = bento_trim(sb, &range);
	if (err)
		return err;
	return copy_to_user(arg, &range, sizeof(range)) ? -EFAULT : 0;
}

long bento_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	u32 how;

	switch (cmd) {
	case BENTO_IOC_SHUTDOWN:
		if (!capable(CAP_SYS_ADMIN))
			return -EPERM;
		if (get_user(how, (u32 __user *)arg))
			return -EFAULT;
		return bento_shutdown(file_inode(file)->i_sb, how);
	case FITRIM:
		return bento_ioctl_trim(file_inode(file)->i_sb,
					(void __user *)arg);
	default:
		return -ENOTTY;
	}
}
