/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Everything that differs between the kernels that bento.ko is built for.
 * The other files are written for the newest one.
 */
#ifndef BENTO_COMPAT_H
#define BENTO_COMPAT_H

#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)
#error "bento.ko needs Linux 6.12 or newer"
#endif

#endif /* BENTO_COMPAT_H */
