// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * For tests only. Unlike other modules it can offer a table that bento.ko must
 * refuse: of another version of the interface, or with a hole.
 */
#include <linux/module.h>

#include "bento_abi.h"

extern const struct bento_operations bento_fs_operations;

static struct bento_operations faulty_operations;

static uint abi_version = BENTO_ABI_VERSION;
module_param(abi_version, uint, 0);
MODULE_PARM_DESC(abi_version, "version of the interface to claim");

static bool abi_hole;
module_param(abi_hole, bool, 0);
MODULE_PARM_DESC(abi_hole, "leave an operation out");

static int __init faulty_init(void)
{
	faulty_operations = bento_fs_operations;
	faulty_operations.version = abi_version;
	if (abi_hole)
		faulty_operations.fsync = NULL;
	return bento_register(THIS_MODULE, &faulty_operations);
}

static void __exit faulty_exit(void)
{
	bento_unregister(&faulty_operations);
}

module_init(faulty_init);
module_exit(faulty_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("A file system that panics, for tests only");
