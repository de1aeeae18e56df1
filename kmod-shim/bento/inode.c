// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The life of an inode. A VFS inode and a pin in the file system are one to
 * one: the pin comes with load, create or tmpfile and goes with eviction.
 *
 * Of a regular file the VFS has the truth about size and times, and the file
 * system what is (or will be) on the device; of everything else the file
 * system has the truth and the VFS a copy.
 */
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/writeback.h>

#include "bento.h"

static struct kmem_cache *bento_inode_cache;

static void bento_init_once(void *memory)
{
	struct bento_inode *bi = memory;

	inode_init_once(&bi->vfs);
}

int __init bento_inode_cache_init(void)
{
	bento_inode_cache = kmem_cache_create("bento_inode",
			sizeof(struct bento_inode), 0,
			SLAB_RECLAIM_ACCOUNT | SLAB_ACCOUNT, bento_init_once);
	return bento_inode_cache ? 0 : -ENOMEM;
}

void bento_inode_cache_exit(void)
{
	/* Inodes are freed after a grace period. */
	rcu_barrier();
	kmem_cache_destroy(bento_inode_cache);
}

struct inode *bento_alloc_inode(struct super_block *sb)
{
	struct bento_inode *bi;

	bi = alloc_inode_sb(sb, bento_inode_cache, GFP_KERNEL);
	if (!bi)
		return NULL;
	atomic_set(&bi->map_seq, 0);
	mutex_init(&bi->map_lock);
	INIT_LIST_HEAD(&bi->placed);
	INIT_LIST_HEAD(&bi->directs);
	bi->directs_ended = 0;
	bi->run = (struct bento_range){};
	bi->writes_buffered = false;
	bi->pinned = false;
	bi->sectors_stale = false;
	bi->emptied = false;
	bi->stored_size = 0;
	bi->told = (struct bento_lock){};
	bi->io_helper = NULL;
	bi->ios_begun = bi->ios_ended = 0;
	spin_lock_init(&bi->io_lock);
	INIT_LIST_HEAD(&bi->io_done);
	INIT_WORK(&bi->io_work, bento_io_work);
	return &bi->vfs;
}

void bento_free_inode(struct inode *inode)
{
	if (S_ISLNK(inode->i_mode))
		kfree(inode->i_link);
	kmem_cache_free(bento_inode_cache, bento_i(inode));
}

void bento_evict_inode(struct inode *inode)
{
	struct bento_inode *bi = bento_i(inode);
	bool frees = bi->pinned && !inode->i_nlink;

	truncate_inode_pages_final(&inode->i_data);
	if (!list_empty(&bi->placed))
		bento_unreserve(inode, 0,
				round_down(S64_MAX, BENTO_BLOCK_BYTES));
	if (frees)
		sb_start_intwrite(inode->i_sb);
	clear_inode(inode);
	if (bi->pinned)
		bento_icall(inode, forget);
	if (frees)
		sb_end_intwrite(inode->i_sb);
}

/* --- attributes --- */

struct bento_time bento_time(struct timespec64 ts)
{
	return (struct bento_time){ ts.tv_sec, ts.tv_nsec };
}

static struct timespec64 bento_timespec(struct bento_time time)
{
	return (struct timespec64){ time.seconds, time.nanoseconds };
}

static void bento_note_stored(struct inode *inode,
			      const struct bento_attr *attr)
{
	struct bento_inode *bi = bento_i(inode);

	bi->stored_size = attr->size_bytes;
	bi->stored_atime = bento_timespec(attr->atime);
	bi->stored_mtime = bento_timespec(attr->mtime);
	bi->stored_ctime = bento_timespec(attr->ctime);
	bi->btime = bento_timespec(attr->btime);
}

static void bento_set_operations(struct inode *inode)
{
	bool device = inode->i_sb->s_type->fs_flags & FS_REQUIRES_DEV;

	switch (inode->i_mode & S_IFMT) {
	case S_IFREG:
		inode->i_op = &bento_file_inode_ops;
		if (device) {
			inode->i_fop = &bento_file_ops;
			inode->i_mapping->a_ops = &bento_address_space_ops;
			/* Data is checksummed on its way to the device. */
			mapping_set_stable_writes(inode->i_mapping);
			mapping_set_large_folios(inode->i_mapping);
		} else {
			inode->i_fop = &bento_memory_file_ops;
			inode->i_mapping->a_ops = &ram_aops;
			mapping_set_unevictable(inode->i_mapping);
		}
		break;
	case S_IFDIR:
		inode->i_op = &bento_dir_inode_ops;
		inode->i_fop = &bento_dir_ops;
		break;
	case S_IFLNK:
		inode->i_op = &bento_symlink_inode_ops;
		break;
	default:
		inode->i_op = &bento_special_inode_ops;
		init_special_inode(inode, inode->i_mode, inode->i_rdev);
	}
}

/* Everything about an inode that nobody sees yet. */
void bento_fill_inode(struct inode *inode, const struct bento_attr *attr)
{
	inode->i_ino = attr->ino;
	inode->i_generation = attr->generation;
	inode->i_mode = attr->mode;
	i_uid_write(inode, attr->uid);
	i_gid_write(inode, attr->gid);
	set_nlink(inode, attr->nlink);
	inode->i_rdev = new_decode_dev(attr->rdev);
	i_size_write(inode, attr->size_bytes);
	inode->i_blocks = attr->sectors;
	inode_set_atime_to_ts(inode, bento_timespec(attr->atime));
	inode_set_mtime_to_ts(inode, bento_timespec(attr->mtime));
	inode_set_ctime_to_ts(inode, bento_timespec(attr->ctime));
	bento_note_stored(inode, attr);
	bento_i(inode)->pinned = true;
	bento_set_operations(inode);
}

/*
 * After the file system changed an inode that is in use. Called with the
 * inode locked, or with its directory locked when a name came or went.
 */
void bento_apply_attr(struct inode *inode, const struct bento_attr *attr)
{
	set_nlink(inode, attr->nlink);
	inode_set_ctime_to_ts(inode, bento_timespec(attr->ctime));
	bento_i(inode)->stored_ctime = bento_timespec(attr->ctime);
	inode->i_blocks = attr->sectors;
	if (S_ISREG(inode->i_mode))
		return;
	inode_set_mtime_to_ts(inode, bento_timespec(attr->mtime));
	bento_i(inode)->stored_mtime = bento_timespec(attr->mtime);
	i_size_write(inode, attr->size_bytes);
}

/* --- finding --- */

static int bento_inode_test(struct inode *inode, void *ino)
{
	return inode->i_ino == *(u64 *)ino;
}

static int bento_inode_set(struct inode *inode, void *ino)
{
	inode->i_ino = *(u64 *)ino;
	return 0;
}

struct inode *bento_iget(struct super_block *sb, u64 ino)
{
	struct bento_attr attr;
	struct inode *inode;
	int err;

	inode = iget5_locked(sb, ino, bento_inode_test, bento_inode_set, &ino);
	if (!inode)
		return ERR_PTR(-ENOMEM);
	if (!(inode->i_state & I_NEW))
		return inode;
	err = bento_icall(inode, load, &attr);
	if (err) {
		iget_failed(inode);
		return ERR_PTR(err);
	}
	bento_fill_inode(inode, &attr);
	unlock_new_inode(inode);
	return inode;
}

/* An inode that is in memory. */
struct inode *bento_ilookup(struct super_block *sb, u64 ino)
{
	return ilookup5(sb, ino, bento_inode_test, &ino);
}

/*
 * Gives a new inode, which the file system has just made and pinned, its
 * identity. It stays locked as new.
 */
int bento_adopt_inode(struct inode *inode, const struct bento_attr *attr)
{
	u64 ino = attr->ino;
	int err;

	bento_fill_inode(inode, attr);
	err = insert_inode_locked4(inode, ino, bento_inode_test, &ino);
	if (err) {
		pr_err("bento: %s on %s: new inode %llu is in use already\n",
		       bento_m(inode->i_sb)->ops->name, inode->i_sb->s_id, ino);
		return -EUCLEAN;
	}
	return 0;
}

/* --- lazily updated times --- */

static int bento_store_times(struct inode *inode)
{
	struct bento_inode *bi = bento_i(inode);
	struct timespec64 atime = inode_get_atime(inode);
	struct timespec64 mtime = inode_get_mtime(inode);
	struct timespec64 ctime = inode_get_ctime(inode);
	struct bento_setattr set = {
		.atime = bento_time(atime),
		.mtime = bento_time(mtime),
		.ctime = bento_time(ctime),
	};
	struct bento_attr attr;
	int err;

	if (!timespec64_equal(&atime, &bi->stored_atime))
		set.valid |= BENTO_SET_ATIME;
	if (!timespec64_equal(&mtime, &bi->stored_mtime))
		set.valid |= BENTO_SET_MTIME;
	if (!timespec64_equal(&ctime, &bi->stored_ctime))
		set.valid |= BENTO_SET_CTIME;
	if (!set.valid)
		return 0;
	/* ctime must not become the present because the others are set. */
	set.valid |= BENTO_SET_CTIME;
	err = bento_icall(inode, setattr, &set, &attr);
	if (!err)
		bento_note_stored(inode, &attr);
	return err;
}

int bento_write_inode(struct inode *inode, struct writeback_control *wbc)
{
	struct bento_inode *bi = bento_i(inode);
	int err;

	bento_lock_write(&bi->told);
	err = bento_store_times(inode);
	bento_unlock_write(&bi->told);
	return err;
}
