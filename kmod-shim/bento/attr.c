// SPDX-License-Identifier: GPL-2.0 OR MIT
/* stat, chmod, chown, utimes and truncate. */
#include <linux/blkdev.h>
#include <linux/pagemap.h>
#include <linux/fs.h>
#include <linux/posix_acl.h>

#include "bento.h"

int bento_getattr(struct mnt_idmap *idmap, const struct path *path,
		  struct kstat *stat, u32 request_mask, unsigned int flags)
{
	struct inode *inode = d_inode(path->dentry);
	struct bento_inode *bi = bento_i(inode);
	struct block_device *bdev = inode->i_sb->s_bdev;

	if (READ_ONCE(bi->sectors_stale) && (request_mask & STATX_BLOCKS)) {
		struct bento_attr attr;
		int err;

		/* Cleared first: a change in between makes it stale again. */
		WRITE_ONCE(bi->sectors_stale, false);
		err = bento_icall(inode, getattr, &attr);
		if (err)
			return err;
		inode->i_blocks = attr.sectors;
	}
	generic_fillattr(idmap, request_mask, inode, stat);
	stat->result_mask |= STATX_BTIME;
	stat->btime = bi->btime;
	if ((request_mask & STATX_DIOALIGN) && S_ISREG(inode->i_mode) && bdev) {
		stat->result_mask |= STATX_DIOALIGN;
		stat->dio_offset_align = bdev_logical_block_size(bdev);
		/* Of other memory that the device takes, writes make copies (direct.c). */
		stat->dio_mem_align = max(bdev_dma_alignment(bdev) + 1,
					  stat->dio_offset_align);
	}
	return 0;
}

/*
 * A page fault while a truncation waits sets newer times than those that are
 * stored at its end; they may have been told and stored before.
 */
static bool bento_times_differ(struct inode *inode)
{
	struct bento_inode *bi = bento_i(inode);
	struct timespec64 mtime = inode_get_mtime(inode);
	struct timespec64 ctime = inode_get_ctime(inode);

	return !timespec64_equal(&mtime, &bi->stored_mtime) ||
	       !timespec64_equal(&ctime, &bi->stored_ctime);
}

static int bento_store_attr(struct inode *inode, struct bento_setattr *set)
{
	struct bento_inode *bi = bento_i(inode);
	struct bento_attr attr;
	int err;

	bento_lock_write(&bi->told);
	err = bento_icall(inode, setattr, set, &attr);
	if (err)
		goto unlock;
	bi->stored_size = attr.size_bytes;
	if (set->valid & BENTO_SET_ATIME)
		bi->stored_atime = (struct timespec64){ attr.atime.seconds,
							attr.atime.nanoseconds };
	if (set->valid & BENTO_SET_MTIME)
		bi->stored_mtime = (struct timespec64){ attr.mtime.seconds,
							attr.mtime.nanoseconds };
	bi->stored_ctime = (struct timespec64){ attr.ctime.seconds,
						attr.ctime.nanoseconds };
	inode->i_blocks = attr.sectors;
unlock:
	bento_unlock_write(&bi->told);
	if (!err && bento_times_differ(inode))
		mark_inode_dirty_sync(inode);
	return err;
}

/* The mode alone, for access control lists. */
int bento_set_mode(struct inode *inode, umode_t mode)
{
	struct bento_setattr set = {
		.valid = BENTO_SET_MODE | BENTO_SET_CTIME,
		.mode = mode & S_IALLUGO,
		.ctime = bento_time(inode_set_ctime_current(inode)),
	};
	int err = bento_store_attr(inode, &set);

	if (!err)
		inode->i_mode = mode;
	return err;
}

/*
 * Sizes. The rest of the last block reads as zeros: in memory by the page
 * cache, on the device because a block goes out with zeros behind the end.
 */
static int bento_grow(struct inode *inode, loff_t size)
{
	int err = bento_zero_tail(inode, i_size_read(inode));

	if (err)
		return err;
	truncate_setsize(inode, size);
	return 0;
}

static int bento_shrink(struct inode *inode, loff_t size)
{
	struct bento_inode *bi = bento_i(inode);
	int err = bento_zero_tail(inode, size);

	if (err)
		return err;
	/*
	 * What lies between the size on the device and the new one must be
	 * there before the device learns of a size that covers it.
	 */
	if (bi->stored_size < size || (size & (BENTO_BLOCK_BYTES - 1))) {
		err = filemap_write_and_wait_range(inode->i_mapping,
				min_t(loff_t, bi->stored_size, round_down(size,
							BENTO_BLOCK_BYTES)),
				size - 1);
		if (err)
			return err;
	}
	truncate_setsize(inode, size);
	return 0;
}

static int bento_change_size(struct inode *inode, struct bento_setattr *set)
{
	loff_t size = set->size_bytes;
	bool device = inode->i_sb->s_bdev;
	bool empties = !size && i_size_read(inode);
	int err = 0;

	inode_dio_wait(inode);
	filemap_invalidate_lock(inode->i_mapping);
	if (!device)
		truncate_setsize(inode, size);
	else if (size > i_size_read(inode))
		err = bento_grow(inode, size);
	else
		err = bento_shrink(inode, size);
	if (!err) {
		/* Nothing is placed between giving up and the new size. */
		mutex_lock(&bento_i(inode)->map_lock);
		bento_cancel_placed(inode, round_up(size, BENTO_BLOCK_BYTES),
				    U64_MAX);
		err = bento_store_attr(inode, set);
		mutex_unlock(&bento_i(inode)->map_lock);
		bento_mappings_changed(inode);
	}
	if (!err && empties)
		WRITE_ONCE(bento_i(inode)->emptied, true);
	filemap_invalidate_unlock(inode->i_mapping);
	return err;
}

/* The size alone, for fallocate, which holds the inode and its mapping. */
int bento_set_size(struct inode *inode, loff_t size)
{
	struct timespec64 now = inode_set_ctime_current(inode);
	struct bento_setattr set = {
		.valid = BENTO_SET_SIZE | BENTO_SET_MTIME | BENTO_SET_CTIME,
		.size_bytes = size,
		.mtime = bento_time(now),
		.ctime = bento_time(now),
	};
	int err;

	inode_set_mtime_to_ts(inode, now);
	err = bento_grow(inode, size);
	return err ?: bento_store_attr(inode, &set);
}

/* What the VFS asks for, after it has been applied to the inode. */
static void bento_setattr_from(struct bento_setattr *set,
			       const struct inode *inode,
			       const struct iattr *iattr)
{
	unsigned int valid = iattr->ia_valid;

	set->valid = BENTO_SET_CTIME;
	set->ctime = bento_time(inode_get_ctime(inode));
	if (valid & ATTR_MODE) {
		set->valid |= BENTO_SET_MODE;
		set->mode = inode->i_mode & S_IALLUGO;
	}
	if (valid & ATTR_UID) {
		set->valid |= BENTO_SET_UID;
		set->uid = i_uid_read(inode);
	}
	if (valid & ATTR_GID) {
		set->valid |= BENTO_SET_GID;
		set->gid = i_gid_read(inode);
	}
	if (valid & ATTR_ATIME) {
		set->valid |= BENTO_SET_ATIME;
		set->atime = bento_time(inode_get_atime(inode));
	}
	if (valid & ATTR_MTIME) {
		set->valid |= BENTO_SET_MTIME;
		set->mtime = bento_time(inode_get_mtime(inode));
	}
}

/* Back to what the file system has, after it refused a change. */
static void bento_refresh_attr(struct inode *inode)
{
	struct bento_attr attr;

	if (bento_icall(inode, getattr, &attr))
		return;
	inode->i_mode = attr.mode;
	i_uid_write(inode, attr.uid);
	i_gid_write(inode, attr.gid);
	bento_apply_attr(inode, &attr);
}

int bento_setattr(struct mnt_idmap *idmap, struct dentry *dentry,
		  struct iattr *iattr)
{
	struct inode *inode = d_inode(dentry);
	struct bento_setattr set = {};
	int err = setattr_prepare(idmap, dentry, iattr);

	if (err)
		return err;
	/* Times of a truncation change together with the size. */
	if ((iattr->ia_valid & ATTR_SIZE) && S_ISREG(inode->i_mode) &&
	    iattr->ia_size != i_size_read(inode) &&
	    !(iattr->ia_valid & ATTR_MTIME)) {
		iattr->ia_valid |= ATTR_MTIME | ATTR_CTIME;
		iattr->ia_mtime = iattr->ia_ctime = current_time(inode);
	}
	setattr_copy(idmap, inode, iattr);
	bento_setattr_from(&set, inode, iattr);
	if (iattr->ia_valid & ATTR_SIZE) {
		set.valid |= BENTO_SET_SIZE;
		set.size_bytes = iattr->ia_size;
		err = bento_change_size(inode, &set);
	} else {
		err = bento_store_attr(inode, &set);
	}
	if (err)
		bento_refresh_attr(inode);
	if (!err && (iattr->ia_valid & ATTR_MODE))
		err = posix_acl_chmod(idmap, dentry, inode->i_mode);
	if (!err && IS_SYNC(inode))
		err = bento_icall(inode, fsync, false);
	return err;
}
