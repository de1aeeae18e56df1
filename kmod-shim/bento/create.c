// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Making an inode. Owner, mode, access control lists and security labels are
 * worked out first, so that the file system makes the inode with all of them
 * in one transaction.
 */
#include <linux/fs.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <linux/security.h>
#include <linux/slab.h>

#include "bento.h"

/* Two access control lists, and a label for each stacked security module. */
#define BENTO_MAX_BIRTH_XATTRS	10

struct bento_birth {
	struct bento_xattr xattrs[BENTO_MAX_BIRTH_XATTRS];
	size_t count;
};

static void bento_free_birth(struct bento_birth *birth)
{
	while (birth->count--) {
		kfree(birth->xattrs[birth->count].name.data);
		kfree(birth->xattrs[birth->count].value.data);
	}
}

/* Takes over the value. */
static int bento_birth_add(struct bento_birth *birth, const char *prefix,
			   const char *suffix, void *value, size_t size)
{
	char *name = kasprintf(GFP_KERNEL, "%s%s", prefix, suffix);
	struct bento_xattr *xattr = &birth->xattrs[birth->count];

	if (!name || !value || birth->count == BENTO_MAX_BIRTH_XATTRS) {
		kfree(name);
		kfree(value);
		return -ENOMEM;
	}
	xattr->name = (struct bento_bytes){ name, strlen(name) };
	xattr->value = (struct bento_bytes){ value, size };
	birth->count++;
	return 0;
}

static int bento_birth_acl(struct bento_birth *birth, const char *name,
			   struct posix_acl *acl)
{
	size_t size;
	void *value;
	int err;

	if (!acl)
		return 0;
	size = posix_acl_xattr_size(acl->a_count);
	value = kmalloc(size, GFP_KERNEL);
	if (!value)
		return -ENOMEM;
	err = posix_acl_to_xattr(&init_user_ns, acl, value, size);
	if (err < 0) {
		kfree(value);
		return err;
	}
	return bento_birth_add(birth, name, "", value, size);
}

static int bento_birth_security(struct inode *inode, const struct xattr *xattrs,
				void *data)
{
	const struct xattr *x;
	int err = 0;

	for (x = xattrs; !err && x->name; x++)
		err = bento_birth_add(data, XATTR_SECURITY_PREFIX, x->name,
				      kmemdup(x->value, x->value_len,
					      GFP_KERNEL),
				      x->value_len);
	return err;
}

static int bento_prepare_birth(struct inode *inode, struct inode *dir,
			       const struct qstr *name,
			       struct bento_birth *birth)
{
	struct posix_acl *default_acl, *acl;
	umode_t mode = inode->i_mode;
	int err = posix_acl_create(dir, &mode, &default_acl, &acl);

	if (err)
		return err;
	inode->i_mode = mode;
	err = bento_birth_acl(birth, XATTR_NAME_POSIX_ACL_DEFAULT, default_acl);
	if (!err)
		err = bento_birth_acl(birth, XATTR_NAME_POSIX_ACL_ACCESS, acl);
	if (!err) {
		set_cached_acl(inode, ACL_TYPE_DEFAULT, default_acl);
		set_cached_acl(inode, ACL_TYPE_ACCESS, acl);
	}
	posix_acl_release(default_acl);
	posix_acl_release(acl);
	if (!err)
		err = security_inode_init_security(inode, dir, name,
						   bento_birth_security, birth);
	return err == -EOPNOTSUPP ? 0 : err;
}

/* What the file system is to make; with a name it goes into the directory. */
static int bento_call_create(struct inode *inode, struct inode *dir,
			     const struct qstr *name, const char *target,
			     const struct bento_birth *birth, bool nameless,
			     struct bento_attr *attr)
{
	struct bento_new_inode new = {
		.mode = inode->i_mode,
		.uid = i_uid_read(inode),
		.gid = i_gid_read(inode),
		.rdev = new_encode_dev(inode->i_rdev),
		.target = { target, target ? strlen(target) : 0 },
		.xattrs = birth->xattrs,
		.xattr_count = birth->count,
	};
	struct bento_changed changed;
	int err;

	if (nameless)
		return bento_icall(dir, tmpfile, &new, attr);
	err = bento_icall(dir, create, bento_qstr(name), &new, &changed);
	if (err)
		return err;
	bento_apply_attr(dir, &changed.dir);
	*attr = changed.inode;
	return 0;
}

/* The new inode is locked as new: whoever called instantiates a dentry. */
struct inode *bento_create(struct mnt_idmap *idmap, struct inode *dir,
			   const struct qstr *name, umode_t mode, dev_t rdev,
			   const char *target, bool nameless)
{
	struct bento_birth birth = {};
	struct bento_attr attr;
	struct inode *inode = new_inode(dir->i_sb);
	int err;

	if (!inode)
		return ERR_PTR(-ENOMEM);
	inode_init_owner(idmap, inode, dir, mode);
	inode->i_rdev = rdev;
	err = bento_prepare_birth(inode, dir, name, &birth);
	if (!err)
		err = bento_call_create(inode, dir, name, target, &birth,
					nameless, &attr);
	bento_free_birth(&birth);
	if (!err)
		err = bento_adopt_inode(inode, &attr);
	if (err) {
		iput(inode);
		return ERR_PTR(err);
	}
	return inode;
}
