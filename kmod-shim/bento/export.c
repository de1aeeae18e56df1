// SPDX-License-Identifier: GPL-2.0 OR MIT
/* File handles, for NFS and open_by_handle_at(2): 64-bit inode numbers. */
#include <linux/exportfs.h>

#include "bento.h"

struct bento_handle {
	u32 ino_low;
	u32 ino_high;
	u32 generation;
} __packed;

#define BENTO_HANDLE_WORDS	(sizeof(struct bento_handle) / sizeof(u32))

static void bento_make_handle(struct bento_handle *handle, struct inode *inode)
{
	handle->ino_low = lower_32_bits((u64)inode->i_ino);
	handle->ino_high = upper_32_bits((u64)inode->i_ino);
	handle->generation = inode->i_generation;
}

static int bento_encode_fh(struct inode *inode, u32 *words, int *len,
			   struct inode *parent)
{
	int want = parent ? 2 * BENTO_HANDLE_WORDS : BENTO_HANDLE_WORDS;
	struct bento_handle *handle = (struct bento_handle *)words;

	if (*len < want) {
		*len = want;
		return FILEID_INVALID;
	}
	*len = want;
	bento_make_handle(handle, inode);
	if (parent)
		bento_make_handle(handle + 1, parent);
	return parent ? FILEID_INO64_GEN_PARENT : FILEID_INO64_GEN;
}

static struct dentry *bento_open_handle(struct super_block *sb,
					const struct bento_handle *handle)
{
	u64 ino = handle->ino_low | (u64)handle->ino_high << 32;
	struct inode *inode = bento_iget(sb, ino);

	if (IS_ERR(inode))
		return PTR_ERR(inode) == -ENOENT ? ERR_PTR(-ESTALE)
						 : ERR_CAST(inode);
	if (inode->i_generation != handle->generation || !inode->i_nlink) {
		iput(inode);
		return ERR_PTR(-ESTALE);
	}
	return d_obtain_alias(inode);
}

static struct dentry *bento_fh_to_dentry(struct super_block *sb,
					 struct fid *fid, int len, int type)
{
	if ((type != FILEID_INO64_GEN && type != FILEID_INO64_GEN_PARENT) ||
	    len < BENTO_HANDLE_WORDS)
		return NULL;
	return bento_open_handle(sb, (struct bento_handle *)fid->raw);
}

static struct dentry *bento_fh_to_parent(struct super_block *sb,
					 struct fid *fid, int len, int type)
{
	if (type != FILEID_INO64_GEN_PARENT || len < 2 * BENTO_HANDLE_WORDS)
		return NULL;
	return bento_open_handle(sb, (struct bento_handle *)fid->raw + 1);
}

static struct dentry *bento_get_parent(struct dentry *child)
{
	u64 ino;
	int err = bento_icall(d_inode(child), parent, &ino);

	if (err)
		return ERR_PTR(err);
	return d_obtain_alias(bento_iget(child->d_sb, ino));
}

const struct export_operations bento_export_ops = {
	.encode_fh	= bento_encode_fh,
	.fh_to_dentry	= bento_fh_to_dentry,
	.fh_to_parent	= bento_fh_to_parent,
	.get_parent	= bento_get_parent,
};
