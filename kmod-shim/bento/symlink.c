// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Symbolic links. A target never changes: once read, it stays in memory. */
#include <linux/slab.h>

#include "bento.h"

static const char *bento_read_target(struct inode *inode)
{
	struct bento_sink sink = { .capacity_bytes = PATH_MAX - 1 };
	char *target = kmalloc(PATH_MAX, GFP_KERNEL);
	char *exact;
	int err;

	if (!target)
		return ERR_PTR(-ENOMEM);
	sink.data = target;
	err = bento_icall(inode, readlink, &sink);
	if (!err && (!sink.len_bytes || sink.len_bytes > sink.capacity_bytes))
		err = -EUCLEAN;
	exact = err ? ERR_PTR(err)
		    : kmemdup_nul(target, sink.len_bytes, GFP_KERNEL);
	kfree(target);
	return exact ?: ERR_PTR(-ENOMEM);
}

static const char *bento_get_link(struct dentry *dentry, struct inode *inode,
				  struct delayed_call *done)
{
	const char *target = READ_ONCE(inode->i_link);

	if (target)
		return target;
	if (!dentry)
		return ERR_PTR(-ECHILD);
	target = bento_read_target(inode);
	if (IS_ERR(target))
		return target;
	if (cmpxchg_release(&inode->i_link, NULL, (char *)target)) {
		kfree(target);
		target = READ_ONCE(inode->i_link);
	}
	return target;
}

const struct inode_operations bento_symlink_inode_ops = {
	.get_link	= bento_get_link,
	.getattr	= bento_getattr,
	.setattr	= bento_setattr,
	.listxattr	= bento_listxattr,
};
