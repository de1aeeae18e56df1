// SPDX-License-Identifier: GPL-2.0 OR MIT
#include "bento_module.h"

BENTO_MODULE("logfs", "A log-structured journaling file system");
