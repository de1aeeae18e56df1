/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* The C side of a file system's module: BENTO_MODULE("name", "description"). */
#ifndef BENTO_MODULE_H
#define BENTO_MODULE_H

#include <linux/fs.h>
#include <linux/module.h>

#include "bento_abi.h"

/* The Rust side's, by bento_kernel::module!. */
extern const struct bento_operations bento_fs_operations;

#define BENTO_MODULE(name_, description_)				\
	static int __init bento_fs_init(void)				\
	{								\
		return bento_register(THIS_MODULE,			\
				      &bento_fs_operations);		\
	}								\
									\
	static void __exit bento_fs_exit(void)				\
	{								\
		bento_unregister(&bento_fs_operations);			\
	}								\
									\
	module_init(bento_fs_init);					\
	module_exit(bento_fs_exit);					\
	MODULE_LICENSE("Dual MIT/GPL");					\
	MODULE_DESCRIPTION(description_);				\
	MODULE_ALIAS_FS(name_)

#endif /* BENTO_MODULE_H */
