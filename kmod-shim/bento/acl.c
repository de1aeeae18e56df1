// SPDX-License-Identifier: GPL-2.0 OR MIT
/* POSIX access control lists, kept as extended attributes. */
#include <linux/fs.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <linux/slab.h>

#include "bento.h"

static const char *bento_acl_name(int type)
{
	return type == ACL_TYPE_DEFAULT ? XATTR_NAME_POSIX_ACL_DEFAULT
					: XATTR_NAME_POSIX_ACL_ACCESS;
}

struct posix_acl *bento_get_acl(struct inode *inode, int type, bool rcu)
{
	const char *name = bento_acl_name(type);
	struct posix_acl *acl;
	void *value;
	int size;

	if (rcu)
		return ERR_PTR(-ECHILD);
	size = bento_getxattr(inode, name, NULL, 0);
	if (size == -ENODATA || size == -EOPNOTSUPP || !size)
		return NULL;
	if (size < 0)
		return ERR_PTR(size);
	value = kvmalloc(size, GFP_KERNEL);
	if (!value)
		return ERR_PTR(-ENOMEM);
	size = bento_getxattr(inode, name, value, size);
	acl = size < 0 ? ERR_PTR(size)
		       : posix_acl_from_xattr(&init_user_ns, value, size);
	kvfree(value);
	return acl;
}

static int bento_store_acl(struct inode *inode, int type, struct posix_acl *acl)
{
	const char *name = bento_acl_name(type);
	size_t size;
	void *value;
	int err;

	if (!acl) {
		err = bento_setxattr(inode, name, NULL, 0, 0);
		return err == -ENODATA ? 0 : err;
	}
	size = posix_acl_xattr_size(acl->a_count);
	value = kmalloc(size, GFP_KERNEL);
	if (!value)
		return -ENOMEM;
	err = posix_acl_to_xattr(&init_user_ns, acl, value, size);
	if (err >= 0)
		err = bento_setxattr(inode, name, value, size, 0);
	kfree(value);
	return err;
}

int bento_set_acl(struct mnt_idmap *idmap, struct dentry *dentry,
		  struct posix_acl *acl, int type)
{
	struct inode *inode = d_inode(dentry);
	umode_t mode = inode->i_mode;
	int err;

	if (type == ACL_TYPE_DEFAULT && !S_ISDIR(inode->i_mode))
		return acl ? -EACCES : 0;
	if (type == ACL_TYPE_ACCESS && acl) {
		/* An access list that says no more than the mode is none. */
		err = posix_acl_update_mode(idmap, inode, &mode, &acl);
		if (err)
			return err;
	}
	err = bento_store_acl(inode, type, acl);
	if (!err && mode != inode->i_mode)
		err = bento_set_mode(inode, mode);
	if (!err)
		set_cached_acl(inode, type, acl);
	return err;
}
