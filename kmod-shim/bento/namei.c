// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Operations on names in directories. */

#include <linux/pagemap.h>

#include "bento.h"

/*
 * Without a device the page cache holds the only copy of the data: inodes with
 * a name must stay in memory, and do as long as their dentries do.
 */
static void bento_name_made(struct dentry *dentry)
{
	if (!dentry->d_sb->s_bdev)
		dget(dentry);
}

static void bento_name_gone(struct dentry *dentry)
{
	if (!dentry->d_sb->s_bdev)
		dput(dentry);
}

/* With dirsync, or sync, a change of names is durable when the call returns. */
static int bento_names_changed(struct inode *dir)
{
	return IS_DIRSYNC(dir) ? bento_icall(dir, fsync, false) : 0;
}

static struct dentry *bento_lookup(struct inode *dir, struct dentry *dentry,
				   unsigned int flags)
{
	struct inode *inode = NULL;
	u64 ino;
	int err;

	if (dentry->d_name.len > NAME_MAX)
		return ERR_PTR(-ENAMETOOLONG);
	err = bento_icall(dir, lookup, bento_qstr(&dentry->d_name), &ino);
	if (!err)
		inode = bento_iget(dir->i_sb, ino);
	else if (err != -ENOENT)
		return ERR_PTR(err);
	return d_splice_alias(inode, dentry);
}

static int bento_make(struct mnt_idmap *idmap, struct inode *dir,
		      struct dentry *dentry, umode_t mode, dev_t rdev,
		      const char *target)
{
	struct inode *inode = bento_create(idmap, dir, &dentry->d_name, mode,
					   rdev, target, false);

	if (IS_ERR(inode))
		return PTR_ERR(inode);
	d_instantiate_new(dentry, inode);
	bento_name_made(dentry);
	return bento_names_changed(dir);
}

static int bento_vfs_create(struct mnt_idmap *idmap, struct inode *dir,
			    struct dentry *dentry, umode_t mode, bool excl)
{
	return bento_make(idmap, dir, dentry, mode, 0, NULL);
}

static int bento_mkdir(struct mnt_idmap *idmap, struct inode *dir,
		       struct dentry *dentry, umode_t mode)
{
	return bento_make(idmap, dir, dentry, mode | S_IFDIR, 0, NULL);
}

static int bento_mknod(struct mnt_idmap *idmap, struct inode *dir,
		       struct dentry *dentry, umode_t mode, dev_t rdev)
{
	return bento_make(idmap, dir, dentry, mode, rdev, NULL);
}

static int bento_symlink(struct mnt_idmap *idmap, struct inode *dir,
			 struct dentry *dentry, const char *target)
{
	return bento_make(idmap, dir, dentry, S_IFLNK | 0777, 0, target);
}

static int bento_tmpfile(struct mnt_idmap *idmap, struct inode *dir,
			 struct file *file, umode_t mode)
{
	struct inode *inode = bento_create(idmap, dir,
					   &file->f_path.dentry->d_name, mode,
					   0, NULL, true);

	if (IS_ERR(inode))
		return finish_open_simple(file, PTR_ERR(inode));
	/* d_tmpfile counts the link down that the inode doesn't have. */
	set_nlink(inode, 1);
	d_tmpfile(file, inode);
	unlock_new_inode(inode);
	return finish_open_simple(file, 0);
}

static int bento_link(struct dentry *old, struct inode *dir, struct dentry *new)
{
	struct inode *inode = d_inode(old);
	struct bento_changed changed;
	int err = bento_icall(inode, link, dir->i_ino, bento_qstr(&new->d_name),
			      &changed);

	if (err)
		return err;
	bento_apply_attr(inode, &changed.inode);
	bento_apply_attr(dir, &changed.dir);
	ihold(inode);
	d_instantiate(new, inode);
	bento_name_made(new);
	return bento_names_changed(dir);
}

static int bento_removed(int err, struct inode *dir, struct dentry *dentry,
			 const struct bento_changed *changed)
{
	if (err)
		return err;
	bento_apply_attr(d_inode(dentry), &changed->inode);
	bento_apply_attr(dir, &changed->dir);
	bento_name_gone(dentry);
	return bento_names_changed(dir);
}

static int bento_unlink(struct inode *dir, struct dentry *dentry)
{
	struct bento_changed changed;
	int err = bento_icall(dir, unlink, bento_qstr(&dentry->d_name),
			      &changed);

	return bento_removed(err, dir, dentry, &changed);
}

static int bento_rmdir(struct inode *dir, struct dentry *dentry)
{
	struct bento_changed changed;
	int err = bento_icall(dir, rmdir, bento_qstr(&dentry->d_name),
			      &changed);

	return bento_removed(err, dir, dentry, &changed);
}

/*
 * Who replaces a file by renaming another counts on the old contents or the
 * new ones after a power cut, fsync or not: those that take a name go out
 * before they have it.
 */
static int bento_write_before_rename(struct inode *inode)
{
	if (!S_ISREG(inode->i_mode) || !inode->i_sb->s_bdev)
		return 0;
	return filemap_write_and_wait(inode->i_mapping);
}

static int bento_rename(struct mnt_idmap *idmap,
			struct inode *from_dir, struct dentry *from,
			struct inode *to_dir, struct dentry *to,
			unsigned int flags)
{
	struct bento_renamed renamed;
	u32 how = BENTO_RENAME_REPLACE;
	int err;

	if (flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	if (flags & RENAME_NOREPLACE)
		how = BENTO_RENAME_NOREPLACE;
	if (flags & RENAME_EXCHANGE)
		how = BENTO_RENAME_EXCHANGE;
	if (d_really_is_positive(to)) {
		err = bento_write_before_rename(d_inode(from));
		if (!err && how == BENTO_RENAME_EXCHANGE)
			err = bento_write_before_rename(d_inode(to));
		if (err)
			return err;
	}
	err = bento_icall(from_dir, rename, bento_qstr(&from->d_name),
			  to_dir->i_ino, bento_qstr(&to->d_name), how,
			  &renamed);
	if (err)
		return err;
	bento_apply_attr(from_dir, &renamed.from_dir);
	bento_apply_attr(to_dir, &renamed.to_dir);
	bento_apply_attr(d_inode(from), &renamed.inode);
	if (renamed.has_target && d_really_is_positive(to)) {
		bento_apply_attr(d_inode(to), &renamed.target);
		if (how != BENTO_RENAME_EXCHANGE)
			bento_name_gone(to);
	}
	err = bento_names_changed(from_dir);
	return err ?: bento_names_changed(to_dir);
}

const struct inode_operations bento_dir_inode_ops = {
	.lookup		= bento_lookup,
	.create		= bento_vfs_create,
	.mkdir		= bento_mkdir,
	.mknod		= bento_mknod,
	.symlink	= bento_symlink,
	.tmpfile	= bento_tmpfile,
	.link		= bento_link,
	.unlink		= bento_unlink,
	.rmdir		= bento_rmdir,
	.rename		= bento_rename,
	.getattr	= bento_getattr,
	.setattr	= bento_setattr,
	.listxattr	= bento_listxattr,
	.get_inode_acl	= bento_get_acl,
	.set_acl	= bento_set_acl,
};

const struct inode_operations bento_special_inode_ops = {
	.getattr	= bento_getattr,
	.setattr	= bento_setattr,
	.listxattr	= bento_listxattr,
	.get_inode_acl	= bento_get_acl,
	.set_acl	= bento_set_acl,
};
