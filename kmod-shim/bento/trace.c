// SPDX-License-Identifier: GPL-2.0 OR MIT
/* The tracepoints, and how a file system reaches its own. */
#include "bento.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

bool bento_trace_enabled(void)
{
	return trace_bento_fs_enabled();
}
EXPORT_SYMBOL_GPL(bento_trace_enabled);

void bento_trace(struct bento_mount *mount, const struct bento_trace *event)
{
	trace_bento_fs(mount->sb, event);
}
EXPORT_SYMBOL_GPL(bento_trace);
