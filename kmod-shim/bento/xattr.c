// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Extended attributes. The file system sees names with their prefix. */
#include <linux/capability.h>
#include <linux/slab.h>
#include <linux/xattr.h>

#include "bento.h"

int bento_getxattr(struct inode *inode, const char *name, void *value,
		   size_t size)
{
	struct bento_bytes bytes = { name, strlen(name) };
	struct bento_sink sink = { value, size };
	int err = bento_icall(inode, getxattr, bytes, &sink);

	if (err)
		return err;
	if (size && sink.len_bytes > size)
		return -ERANGE;
	return sink.len_bytes;
}

/* Without a value the attribute is removed. */
int bento_setxattr(struct inode *inode, const char *name, const void *value,
		   size_t size, int flags)
{
	struct bento_bytes bytes = { name, strlen(name) };
	struct bento_bytes content = { value, size };
	struct bento_attr attr;
	u32 how = BENTO_XATTR_ANY;
	int err;

	if (flags & XATTR_CREATE)
		how = BENTO_XATTR_CREATE;
	if (flags & XATTR_REPLACE)
		how = BENTO_XATTR_REPLACE;
	err = bento_icall(inode, setxattr, bytes, content, how, &attr);
	if (err)
		return err;
	bento_apply_attr(inode, &attr);
	return IS_SYNC(inode) ? bento_icall(inode, fsync, false) : 0;
}

static int bento_handler_get(const struct xattr_handler *handler,
			     struct dentry *dentry, struct inode *inode,
			     const char *name, void *value, size_t size)
{
	return bento_getxattr(inode, xattr_full_name(handler, name), value,
			      size);
}

static int bento_handler_set(const struct xattr_handler *handler,
			     struct mnt_idmap *idmap, struct dentry *dentry,
			     struct inode *inode, const char *name,
			     const void *value, size_t size, int flags)
{
	return bento_setxattr(inode, xattr_full_name(handler, name), value,
			      size, flags);
}

#define BENTO_HANDLER(name_, prefix_)					\
	static const struct xattr_handler name_ = {			\
		.prefix	= prefix_,					\
		.get	= bento_handler_get,				\
		.set	= bento_handler_set,				\
	}

BENTO_HANDLER(bento_user_handler, XATTR_USER_PREFIX);
BENTO_HANDLER(bento_trusted_handler, XATTR_TRUSTED_PREFIX);
BENTO_HANDLER(bento_security_handler, XATTR_SECURITY_PREFIX);

const struct xattr_handler * const bento_xattr_handlers[] = {
	&bento_user_handler,
	&bento_trusted_handler,
	&bento_security_handler,
	NULL
};

/*
 * As simple_xattr_list has it, a look at the names is no use of privilege to
 * be logged.
 */
ssize_t bento_listxattr(struct dentry *dentry, char *buffer, size_t size)
{
	struct bento_sink sink = { buffer, size };
	bool trusted = ns_capable_noaudit(&init_user_ns, CAP_SYS_ADMIN);
	int err = bento_icall(d_inode(dentry), listxattr, trusted, &sink);

	if (err)
		return err;
	if (sink.len_bytes > XATTR_LIST_MAX)
		return -E2BIG;
	if (size && sink.len_bytes > size)
		return -ERANGE;
	return sink.len_bytes;
}
