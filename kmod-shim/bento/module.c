// SPDX-License-Identifier: GPL-2.0 OR MIT
/* The module, and the kinds of file systems that are registered with it. */
#include <linux/fs_context.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "bento.h"

static LIST_HEAD(bento_types);
static DEFINE_MUTEX(bento_types_lock);

/* A table with a hole was built from another header than ours. */
static bool bento_operations_complete(const struct bento_operations *ops)
{
	const void * const *op = (const void * const *)&ops->mount;
	const void * const *end = (const void * const *)(ops + 1);

	for (; op < end; op++)
		if (!*op)
			return false;
	return true;
}

/* Lock validation wants to know of keys that are not in static memory. */
static void bento_for_each_lock_key(struct file_system_type *fs,
				    void (*visit)(struct lock_class_key *key))
{
	int i;

	visit(&fs->s_lock_key);
	visit(&fs->s_umount_key);
	visit(&fs->s_vfs_rename_key);
	for (i = 0; i < SB_FREEZE_LEVELS; i++)
		visit(&fs->s_writers_key[i]);
	visit(&fs->i_lock_key);
	visit(&fs->i_mutex_key);
	visit(&fs->invalidate_lock_key);
	visit(&fs->i_mutex_dir_key);
}

static void bento_free_type(struct bento_type *type)
{
	bento_remove_counters_of_type(type);
	bento_for_each_lock_key(&type->fs, lockdep_unregister_key);
	kfree(type);
}

int32_t bento_register(struct module *owner, const struct bento_operations *ops)
{
	struct bento_type *type;
	int err;

	if (ops->version != BENTO_ABI_VERSION ||
	    ops->size_bytes != sizeof(*ops) ||
	    !bento_operations_complete(ops)) {
		pr_err("bento: %s.ko speaks version %u of the interface, bento.ko version %u: rebuild both from one source\n",
		       module_name(owner), ops->version, BENTO_ABI_VERSION);
		return -EINVAL;
	}
	type = kzalloc(sizeof(*type), GFP_KERNEL);
	if (!type)
		return -ENOMEM;
	type->ops = ops;
	type->fs.owner = owner;
	type->fs.name = ops->name;
	type->fs.init_fs_context = bento_init_fs_context;
	type->fs.kill_sb = bento_kill_sb;
	type->fs.fs_flags = FS_ALLOW_IDMAP;
	if (ops->needs_device)
		type->fs.fs_flags |= FS_REQUIRES_DEV;

	bento_for_each_lock_key(&type->fs, lockdep_register_key);

	mutex_lock(&bento_types_lock);
	err = bento_add_counters_of_type(type);
	if (!err)
		err = register_filesystem(&type->fs);
	if (err)
		bento_free_type(type);
	else
		list_add(&type->types, &bento_types);
	mutex_unlock(&bento_types_lock);
	return err;
}
EXPORT_SYMBOL_GPL(bento_register);

void bento_unregister(const struct bento_operations *ops)
{
	struct bento_type *type, *next;

	mutex_lock(&bento_types_lock);
	list_for_each_entry_safe(type, next, &bento_types, types) {
		if (type->ops != ops)
			continue;
		list_del(&type->types);
		unregister_filesystem(&type->fs);
		bento_free_type(type);
	}
	mutex_unlock(&bento_types_lock);
}
EXPORT_SYMBOL_GPL(bento_unregister);

static int __init bento_init(void)
{
	return bento_inode_cache_init();
}

static void __exit bento_exit(void)
{
	bento_inode_cache_exit();
}

module_init(bento_init);
module_exit(bento_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("File systems in safe Rust");
