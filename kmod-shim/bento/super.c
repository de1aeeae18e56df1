// SPDX-License-Identifier: GPL-2.0 OR MIT
/* The life of a mount. */
#include <linux/blkdev.h>
#include <linux/fs_context.h>
#include <linux/kthread.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/statfs.h>

#include "bento.h"

static const struct bento_type *bento_fc_type(struct fs_context *fc)
{
	return container_of(fc->fs_type, struct bento_type, fs);
}

/* --- background work --- */

void bento_wake_background(struct bento_mount *mount)
{
	WRITE_ONCE(mount->background_due, true);
	wake_up(&mount->background_wait);
}
EXPORT_SYMBOL_GPL(bento_wake_background);

static int bento_background(void *data)
{
	struct bento_mount *mount = data;

	while (!kthread_should_stop()) {
		u64 next_ms = U64_MAX;
		long timeout = MAX_SCHEDULE_TIMEOUT;

		WRITE_ONCE(mount->background_due, false);
		mutex_lock(&mount->background_lock);
		if (!mount->frozen)
			bento_call(mount, background, &next_ms);
		mutex_unlock(&mount->background_lock);
		next_ms = min(next_ms, bento_clean(mount));
		if (next_ms < INT_MAX)
			timeout = msecs_to_jiffies(next_ms);
		wait_event_idle_timeout(mount->background_wait,
					READ_ONCE(mount->background_due) ||
					kthread_should_stop(), timeout);
	}
	return 0;
}

/* --- super block operations --- */

static int bento_statfs(struct dentry *dentry, struct kstatfs *buf)
{
	struct bento_mount *mount = bento_m(dentry->d_sb);
	struct bento_statfs st = {};
	int err = bento_call(mount, statfs, &st);

	if (err)
		return err;
	buf->f_type = dentry->d_sb->s_magic;
	buf->f_bsize = st.block_bytes;
	buf->f_blocks = st.blocks;
	buf->f_bfree = st.blocks_free;
	buf->f_bavail = st.blocks_available;
	buf->f_files = st.inodes;
	buf->f_ffree = st.inodes_free;
	buf->f_namelen = st.name_max;
	buf->f_fsid = u64_to_fsid(st.fsid);
	return 0;
}

static int bento_sync_fs(struct super_block *sb, int wait)
{
	return bento_call(bento_m(sb), sync, wait);
}

static void bento_set_frozen(struct bento_mount *mount, bool frozen)
{
	mutex_lock(&mount->background_lock);
	mount->frozen = frozen;
	mutex_unlock(&mount->background_lock);
}

/* No background work until the thaw. */
static int bento_freeze_fs(struct super_block *sb)
{
	struct bento_mount *mount = bento_m(sb);
	int err;

	bento_set_frozen(mount, true);
	err = bento_call(mount, freeze);
	if (err)
		bento_set_frozen(mount, false);
	return err;
}

/*
 * What can't go on answers EIO from now on; an error here would leave everybody
 * who wants to write waiting for ever.
 */
static int bento_unfreeze_fs(struct super_block *sb)
{
	struct bento_mount *mount = bento_m(sb);

	bento_call(mount, thaw);
	bento_set_frozen(mount, false);
	bento_wake_background(mount);
	return 0;
}

static int bento_show_options(struct seq_file *seq, struct dentry *root)
{
	struct bento_mount *mount = bento_m(root->d_sb);
	struct bento_sink sink = { .capacity_bytes = PAGE_SIZE };
	char *text, *option;
	int err;

	text = kzalloc(PAGE_SIZE + 1, GFP_KERNEL);
	if (!text)
		return -ENOMEM;
	sink.data = text;
	err = bento_call(mount, show_options, &sink);
	if (!err && sink.len_bytes <= PAGE_SIZE) {
		char *rest = text;

		while ((option = strsep(&rest, ",")))
			if (*option) {
				seq_putc(seq, ',');
				seq_escape(seq, option, " \t\n\\");
			}
	}
	kfree(text);
	/* A failed mount still shows up in /proc/mounts. */
	return 0;
}

static long bento_cached_objects(struct super_block *sb,
				 struct shrink_control *sc)
{
	struct bento_mount *mount = bento_m(sb);
	struct bento_call call;
	size_t count = 0;

	if (!mount || !mount->fs || !bento_try_enter(mount, &call))
		return 0;
	if (mount->ops->shrink_count(mount->fs, &count))
		count = 0;
	bento_leave(&call);
	return min_t(size_t, count, LONG_MAX);
}

static long bento_free_cached_objects(struct super_block *sb,
				      struct shrink_control *sc)
{
	struct bento_mount *mount = bento_m(sb);
	struct bento_call call;
	size_t freed = 0;

	if (!mount || !mount->fs || !bento_try_enter(mount, &call))
		return 0;
	if (mount->ops->shrink(mount->fs, sc->nr_to_scan, &freed))
		freed = 0;
	bento_leave(&call);
	return min_t(size_t, freed, LONG_MAX);
}

static void bento_put_super(struct super_block *sb)
{
	struct bento_mount *mount = bento_m(sb);
	int err;

	bento_remove_counters(mount);
	if (mount->background)
		kthread_stop(mount->background);
	mount->background = NULL;
	err = bento_call(mount, unmount);
	if (err && !mount->dead)
		pr_err("bento: %s on %s: the unmount left the device unclean (error %d), check it\n",
		       mount->ops->name, sb->s_id, err);
	/* What a panic left behind is in no state to be freed. */
	if (!mount->dead) {
		struct bento_call call;

		if (!bento_enter(mount, &call)) {
			mount->ops->destroy(mount->fs);
			bento_leave(&call);
		}
	}
	mount->fs = NULL;
}

static const struct super_operations bento_super_ops = {
	.alloc_inode		= bento_alloc_inode,
	.free_inode		= bento_free_inode,
	.evict_inode		= bento_evict_inode,
	.write_inode		= bento_write_inode,
	.put_super		= bento_put_super,
	.sync_fs		= bento_sync_fs,
	.freeze_fs		= bento_freeze_fs,
	.unfreeze_fs		= bento_unfreeze_fs,
	.statfs			= bento_statfs,
	.show_options		= bento_show_options,
	.nr_cached_objects	= bento_cached_objects,
	.free_cached_objects	= bento_free_cached_objects,
};

/* --- mounting --- */

static void bento_free_mount(struct bento_mount *mount)
{
	if (mount->io_wq)
		destroy_workqueue(mount->io_wq);
	percpu_free_rwsem(&mount->gate);
	kvfree(mount->moved);
	kfree(mount);
}

static struct bento_mount *bento_new_mount(struct super_block *sb,
					   const struct bento_type *type)
{
	struct bento_mount *mount = kzalloc(sizeof(*mount), GFP_KERNEL);

	if (!mount)
		return NULL;
	if (percpu_init_rwsem(&mount->gate)) {
		kfree(mount);
		return NULL;
	}
	mount->type = type;
	mount->ops = type->ops;
	mount->sb = sb;
	mutex_init(&mount->background_lock);
	mutex_init(&mount->clean_lock);
	init_waitqueue_head(&mount->background_wait);
	mount->io_wq = alloc_workqueue("bento-io/%s", WQ_MEM_RECLAIM, 0,
				       sb->s_id);
	mount->moved = kvmalloc_array(BENTO_MOVED_MAX, sizeof(*mount->moved),
				      GFP_KERNEL);
	if (!mount->io_wq || !mount->moved) {
		bento_free_mount(mount);
		return NULL;
	}
	return mount;
}

static void bento_init_super(struct super_block *sb,
			     const struct bento_operations *ops)
{
	sb->s_op = &bento_super_ops;
	sb->s_xattr = bento_xattr_handlers;
	sb->s_export_op = &bento_export_ops;
	sb->s_magic = 0x42454e54;	/* "BENT" */
	/* A file's end can be rounded up to a block. */
	sb->s_maxbytes = round_down(MAX_LFS_FILESIZE, BENTO_BLOCK_BYTES);
	sb->s_time_gran = 1;
	sb->s_time_min = TIME64_MIN;
	sb->s_time_max = TIME64_MAX;
	sb->s_flags |= SB_POSIXACL;
	sb->s_iflags |= SB_I_CGROUPWB;
}

static int bento_call_mount(struct bento_mount *mount, struct fs_context *fc)
{
	const char *options = fc->fs_private ?: "";
	struct bento_mount_options opts = {
		.read_only = fc->sb_flags & SB_RDONLY,
		.options = { options, strlen(options) },
	};
	struct bento_call call;
	int err = bento_enter(mount, &call);

	if (err)
		return err;
	err = mount->ops->mount(mount, &opts, &mount->fs);
	bento_leave(&call);
	return err;
}

static int bento_make_root(struct super_block *sb)
{
	struct inode *inode;
	u64 ino;
	int err = bento_call(bento_m(sb), root, &ino);

	if (err)
		return err;
	inode = bento_iget(sb, ino);
	if (IS_ERR(inode))
		return PTR_ERR(inode);
	if (!S_ISDIR(inode->i_mode)) {
		iput(inode);
		return -EUCLEAN;
	}
	sb->s_root = d_make_root(inode);
	return sb->s_root ? 0 : -ENOMEM;
}

/*
 * On an error the VFS calls kill_sb, which takes down whatever is up; only
 * put_super is not called without a root.
 */
static int bento_fill_super(struct super_block *sb, struct fs_context *fc)
{
	const struct bento_type *type = bento_fc_type(fc);
	const struct bento_operations *ops = type->ops;
	struct bento_mount *mount;
	struct task_struct *thread;
	int err;

	if (ops->needs_device && !sb_set_blocksize(sb, BENTO_BLOCK_BYTES)) {
		errorf(fc, "%s: the device's sectors are larger than %u bytes",
		       ops->name, BENTO_BLOCK_BYTES);
		return -EINVAL;
	}
	if (!ops->needs_device) {
		sb->s_blocksize = PAGE_SIZE;
		sb->s_blocksize_bits = PAGE_SHIFT;
	}
	mount = bento_new_mount(sb, type);
	if (!mount)
		return -ENOMEM;
	sb->s_fs_info = mount;
	bento_init_super(sb, ops);

	err = bento_call_mount(mount, fc);
	if (err)
		return err;
	err = bento_make_root(sb);
	if (err) {
		bento_put_super(sb);
		return err;
	}
	thread = kthread_run(bento_background, mount, "bento/%s", sb->s_id);
	/* With a root in place the VFS calls put_super by itself. */
	if (IS_ERR(thread))
		return PTR_ERR(thread);
	mount->background = thread;
	bento_add_counters(mount);
	return 0;
}

void bento_kill_sb(struct super_block *sb)
{
	struct bento_mount *mount = bento_m(sb);

	if (mount)
		bento_end_cleaning(mount);
	if (sb->s_type->fs_flags & FS_REQUIRES_DEV)
		kill_block_super(sb);
	else
		kill_litter_super(sb);
	if (mount)
		bento_free_mount(mount);
}

/* --- mount options --- */

/* Options that the VFS doesn't know are the file system's, as one string. */
static int bento_parse_param(struct fs_context *fc, struct fs_parameter *param)
{
	const char *before = fc->fs_private ?: "";
	const char *comma = *before ? "," : "";
	char *options;

	if (!strcmp(param->key, "source"))
		return -ENOPARAM;
	if (param->type == fs_value_is_flag)
		options = kasprintf(GFP_KERNEL, "%s%s%s", before, comma,
				    param->key);
	else if (param->type == fs_value_is_string)
		options = kasprintf(GFP_KERNEL, "%s%s%s=%s", before, comma,
				    param->key, param->string);
	else
		return invalf(fc, "%s: not an option that takes such a value",
			      param->key);
	if (!options)
		return -ENOMEM;
	if (strlen(options) >= PAGE_SIZE) {
		kfree(options);
		return invalf(fc, "too many options");
	}
	kfree(fc->fs_private);
	fc->fs_private = options;
	return 0;
}

static int bento_get_tree(struct fs_context *fc)
{
	if (bento_fc_type(fc)->ops->needs_device)
		return get_tree_bdev(fc, bento_fill_super);
	return get_tree_nodev(fc, bento_fill_super);
}

static int bento_reconfigure(struct fs_context *fc)
{
	struct super_block *sb = fc->root->d_sb;
	const char *options = fc->fs_private ?: "";
	struct bento_mount_options opts = {
		.read_only = fc->sb_flags & SB_RDONLY,
		.options = { options, strlen(options) },
	};
	int err;

	err = sync_filesystem(sb);
	if (err && !opts.read_only)
		return err;
	return bento_call(bento_m(sb), remount, &opts);
}

static void bento_free_fc(struct fs_context *fc)
{
	kfree(fc->fs_private);
}

static const struct fs_context_operations bento_context_ops = {
	.parse_param	= bento_parse_param,
	.get_tree	= bento_get_tree,
	.reconfigure	= bento_reconfigure,
	.free		= bento_free_fc,
};

int bento_init_fs_context(struct fs_context *fc)
{
	fc->ops = &bento_context_ops;
	return 0;
}
