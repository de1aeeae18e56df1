/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Tracepoints, for perf and tracefs (events/bento). bento_fs is whatever a
 * file system has to tell of itself; the others are what it is asked for.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM bento

#if !defined(BENTO_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define BENTO_TRACE_H

#include <linux/fs.h>
#include <linux/tracepoint.h>
#include <linux/writeback.h>

#include "bento_abi.h"

#define bento_show_dev(dev) MAJOR(dev), MINOR(dev)

TRACE_EVENT(bento_fsync_begin,
	TP_PROTO(const struct inode *inode, int data_only),
	TP_ARGS(inode, data_only),
	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(u64, ino)
		__field(int, data_only)
	),
	TP_fast_assign(
		__entry->dev = inode->i_sb->s_dev;
		__entry->ino = inode->i_ino;
		__entry->data_only = data_only;
	),
	TP_printk("%d,%d ino=%llu data_only=%d", bento_show_dev(__entry->dev),
		  __entry->ino, __entry->data_only)
);

TRACE_EVENT(bento_fsync_end,
	TP_PROTO(const struct inode *inode, int error),
	TP_ARGS(inode, error),
	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(u64, ino)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->dev = inode->i_sb->s_dev;
		__entry->ino = inode->i_ino;
		__entry->error = error;
	),
	TP_printk("%d,%d ino=%llu error=%d", bento_show_dev(__entry->dev),
		  __entry->ino, __entry->error)
);

TRACE_EVENT(bento_writepages,
	TP_PROTO(const struct inode *inode, const struct writeback_control *wbc),
	TP_ARGS(inode, wbc),
	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(u64, ino)
		__field(long, pages_max)
		__field(bool, wait)
	),
	TP_fast_assign(
		__entry->dev = inode->i_sb->s_dev;
		__entry->ino = inode->i_ino;
		__entry->pages_max = wbc->nr_to_write;
		__entry->wait = wbc->sync_mode == WB_SYNC_ALL;
	),
	TP_printk("%d,%d ino=%llu pages_max=%ld wait=%d",
		  bento_show_dev(__entry->dev), __entry->ino,
		  __entry->pages_max, __entry->wait)
);

DECLARE_EVENT_CLASS(bento_mapping,
	TP_PROTO(const struct inode *inode, const struct bento_mapping *m),
	TP_ARGS(inode, m),
	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(u64, ino)
		__field(u64, offset_bytes)
		__field(u64, len_bytes)
		__field(u64, address_bytes)
		__field(u32, kind)
	),
	TP_fast_assign(
		__entry->dev = inode->i_sb->s_dev;
		__entry->ino = inode->i_ino;
		__entry->offset_bytes = m->offset_bytes;
		__entry->len_bytes = m->len_bytes;
		__entry->address_bytes = m->address_bytes;
		__entry->kind = m->kind;
	),
	TP_printk("%d,%d ino=%llu offset_bytes=%llu len_bytes=%llu kind=%s address_bytes=%llu",
		  bento_show_dev(__entry->dev), __entry->ino,
		  __entry->offset_bytes, __entry->len_bytes,
		  __print_symbolic(__entry->kind,
				   { BENTO_MAP_HOLE, "hole" },
				   { BENTO_MAP_MAPPED, "mapped" },
				   { BENTO_MAP_UNWRITTEN, "unwritten" },
				   { BENTO_MAP_DELAYED, "delayed" }),
		  __entry->address_bytes)
);

/* Where a part of a file lies. */
DEFINE_EVENT(bento_mapping, bento_map,
	TP_PROTO(const struct inode *inode, const struct bento_mapping *m),
	TP_ARGS(inode, m)
);

/* Where a dirty part of a file is going to be written. */
DEFINE_EVENT(bento_mapping, bento_place,
	TP_PROTO(const struct inode *inode, const struct bento_mapping *m),
	TP_ARGS(inode, m)
);

/* The data I/O has ended, and the file system knows. */
TRACE_EVENT(bento_written,
	TP_PROTO(const struct inode *inode, const struct bento_written *w,
		 int error),
	TP_ARGS(inode, w, error),
	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(u64, ino)
		__field(u64, offset_bytes)
		__field(u64, len_bytes)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->dev = inode->i_sb->s_dev;
		__entry->ino = inode->i_ino;
		__entry->offset_bytes = w->offset_bytes;
		__entry->len_bytes = w->len_bytes;
		__entry->error = w->result ?: error;
	),
	TP_printk("%d,%d ino=%llu offset_bytes=%llu len_bytes=%llu error=%d",
		  bento_show_dev(__entry->dev), __entry->ino,
		  __entry->offset_bytes, __entry->len_bytes, __entry->error)
);

/* The text has all values with their names; filters take the numbers. */
TRACE_EVENT(bento_fs,
	TP_PROTO(const struct super_block *sb, const struct bento_trace *event),
	TP_ARGS(sb, event),
	TP_STRUCT__entry(
		__field(dev_t, dev)
		__string_len(event, event->name.data, event->name.len_bytes)
		__string_len(text, event->text.data, event->text.len_bytes)
		__field(u64, first)
		__field(u64, second)
		__field(u64, third)
	),
	TP_fast_assign(
		__entry->dev = sb->s_dev;
		__assign_str(event);
		__assign_str(text);
		__entry->first = event->values[0];
		__entry->second = event->values[1];
		__entry->third = event->values[2];
	),
	TP_printk("%d,%d %s %s", bento_show_dev(__entry->dev),
		  __get_str(event), __get_str(text))
);

#endif /* BENTO_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
