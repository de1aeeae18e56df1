// SPDX-License-Identifier: GPL-2.0 OR MIT
#include "bento_module.h"

BENTO_MODULE("memfs", "An example of a Bento file system, in memory");
