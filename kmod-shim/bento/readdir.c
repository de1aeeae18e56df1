// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Reading directories. The file system fills a buffer, which is handed to user
 * space outside of it: copying may fault, and a fault may need a file system.
 *
 * The position in a directory is the file system's cookie of the next entry;
 * 0, 1 and 2 are ours for the start, "." and "..".
 */
#include <linux/slab.h>

#include "bento.h"

#define BENTO_DIRENTS_BYTES	(16 * 1024)

/* Returns whether user space wants more. */
static bool bento_emit(struct dir_context *ctx, const struct bento_sink *sink)
{
	size_t at = 0;

	while (at + sizeof(struct bento_dirent) <= sink->len_bytes) {
		const struct bento_dirent *entry = (void *)sink->data + at;

		if (!dir_emit(ctx, (const char *)(entry + 1),
			      entry->name_len_bytes, entry->ino,
			      entry->dirent_type))
			return false;
		ctx->pos = entry->next_cookie;
		at += sizeof(*entry) + ALIGN(entry->name_len_bytes, 8);
	}
	return true;
}

static int bento_iterate(struct file *file, struct dir_context *ctx)
{
	struct inode *dir = file_inode(file);
	struct bento_sink sink = { .capacity_bytes = BENTO_DIRENTS_BYTES };
	int err = 0;

	if (!dir_emit_dots(file, ctx))
		return 0;
	sink.data = kvmalloc(BENTO_DIRENTS_BYTES, GFP_KERNEL);
	if (!sink.data)
		return -ENOMEM;
	do {
		sink.len_bytes = 0;
		err = bento_icall(dir, readdir, ctx->pos == 2 ? 0 : ctx->pos,
				  &sink);
	} while (!err && sink.len_bytes && bento_emit(ctx, &sink));
	kvfree(sink.data);
	return err;
}

const struct file_operations bento_dir_ops = {
	.llseek		= generic_file_llseek,
	.read		= generic_read_dir,
	.iterate_shared	= bento_iterate,
	.fsync		= bento_fsync,
	.unlocked_ioctl	= bento_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
};
