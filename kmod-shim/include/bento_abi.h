/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The C ABI between bento.ko and a file system module.
 *
 * struct bento_operations is what a file system gives: the methods of the
 * trait bento_api::FileSystem, one to one. The functions at the end are what
 * the kernel gives. Both sides are compiled from this file, which needs no
 * kernel header: kernel objects appear as opaque types only.
 *
 * Everything that can fail returns 0 or a negative errno. Names and values are
 * bytes with a length, not NUL-terminated. Whoever changes anything here
 * raises BENTO_ABI_VERSION: a module of another version is refused.
 */
#ifndef BENTO_ABI_H
#define BENTO_ABI_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#endif

#define BENTO_ABI_VERSION 6

/* A mount, as the kernel knows it. */
struct bento_mount;
/* A mounted file system, as its module knows it. */
struct bento_fs;
/* The module that a file system lives in: the kernel's struct module. */
struct module;

struct bento_time {
	int64_t seconds;
	uint32_t nanoseconds;
	uint32_t reserved;
};

struct bento_attr {
	uint64_t ino;
	uint64_t size_bytes;
	uint64_t sectors;
	struct bento_time atime;
	struct bento_time mtime;
	struct bento_time ctime;
	struct bento_time btime;
	uint32_t generation;
	uint32_t mode;
	uint32_t nlink;
	uint32_t uid;
	uint32_t gid;
	uint32_t rdev;
};

/* Which fields of struct bento_setattr count. */
#define BENTO_SET_MODE		(1u << 0)
#define BENTO_SET_UID		(1u << 1)
#define BENTO_SET_GID		(1u << 2)
#define BENTO_SET_SIZE		(1u << 3)
#define BENTO_SET_ATIME		(1u << 4)
#define BENTO_SET_MTIME		(1u << 5)
#define BENTO_SET_CTIME		(1u << 6)

struct bento_setattr {
	uint32_t valid;
	uint32_t mode;
	uint32_t uid;
	uint32_t gid;
	uint64_t size_bytes;
	struct bento_time atime;
	struct bento_time mtime;
	struct bento_time ctime;
};

struct bento_bytes {
	const uint8_t *data;
	size_t len_bytes;
};

struct bento_xattr {
	struct bento_bytes name;
	struct bento_bytes value;
};

struct bento_new_inode {
	uint32_t mode;
	uint32_t uid;
	uint32_t gid;
	uint32_t rdev;
	struct bento_bytes target;
	const struct bento_xattr *xattrs;
	size_t xattr_count;
};

/* What creating, linking and unlinking changed. */
struct bento_changed {
	struct bento_attr inode;
	struct bento_attr dir;
};

struct bento_renamed {
	struct bento_attr from_dir;
	struct bento_attr to_dir;
	struct bento_attr inode;
	struct bento_attr target;
	bool has_target;
};

#define BENTO_RENAME_REPLACE	0
#define BENTO_RENAME_NOREPLACE	1
#define BENTO_RENAME_EXCHANGE	2

#define BENTO_XATTR_ANY		0
#define BENTO_XATTR_CREATE	1
#define BENTO_XATTR_REPLACE	2

#define BENTO_FALLOC_ALLOCATE	0
#define BENTO_FALLOC_PUNCH	1
#define BENTO_FALLOC_ZERO	2

#define BENTO_MAP_HOLE		0
#define BENTO_MAP_MAPPED	1
#define BENTO_MAP_UNWRITTEN	2
#define BENTO_MAP_DELAYED	3

struct bento_mapping {
	uint64_t offset_bytes;
	uint64_t len_bytes;
	/* Of MAPPED and UNWRITTEN. */
	uint64_t address_bytes;
	uint32_t kind;
	uint32_t reserved;
};

/* Parts of a file that one call of written takes. */
#define BENTO_WRITTEN_PARTS_MAX	16

struct bento_written {
	uint64_t offset_bytes;
	uint64_t len_bytes;
	uint64_t size_bytes;
	const uint32_t *checksums;
	size_t checksum_count;
	/* How the I/O ended: 0 or a negative errno. */
	int32_t result;
};

struct bento_statfs {
	uint64_t blocks;
	uint64_t blocks_free;
	uint64_t blocks_available;
	uint64_t inodes;
	uint64_t inodes_free;
	uint64_t fsid;
	uint32_t block_bytes;
	uint32_t name_max;
};

struct bento_mount_options {
	bool read_only;
	struct bento_bytes options;
};

/* Somewhere for a file system to put bytes whose number is not known before. */
struct bento_sink {
	uint8_t *data;
	size_t capacity_bytes;
	/*
	 * How many bytes there are; more than the capacity if they did not
	 * fit, and then the data is not filled in.
	 */
	size_t len_bytes;
};

/*
 * A directory entry in a bento_sink, followed by the name, padded to eight
 * bytes.
 */
struct bento_dirent {
	uint64_t ino;
	uint64_t next_cookie;
	uint16_t name_len_bytes;
	uint8_t dirent_type;
	uint8_t reserved[5];
};

/* A part of a file that lies elsewhere now, in a bento_sink. */
struct bento_moved {
	uint64_t ino;
	uint64_t offset_bytes;
	uint64_t len_bytes;
};

/* What one call of clean moves at most. */
#define BENTO_MOVED_MAX		256

struct bento_operations {
	uint32_t version;
	uint32_t size_bytes;
	/* NUL-terminated. */
	const char *name;
	bool needs_device;

	int32_t (*mount)(struct bento_mount *mount,
			 const struct bento_mount_options *options,
			 struct bento_fs **fs);
	int32_t (*unmount)(struct bento_fs *fs);
	/* Frees what mount made; nothing follows. */
	void (*destroy)(struct bento_fs *fs);
	int32_t (*remount)(struct bento_fs *fs,
			   const struct bento_mount_options *options);
	int32_t (*show_options)(struct bento_fs *fs, struct bento_sink *out);
	int32_t (*root)(struct bento_fs *fs, uint64_t *ino);
	int32_t (*statfs)(struct bento_fs *fs, struct bento_statfs *out);
	int32_t (*sync)(struct bento_fs *fs, bool wait);
	int32_t (*freeze)(struct bento_fs *fs);
	int32_t (*thaw)(struct bento_fs *fs);
	int32_t (*background)(struct bento_fs *fs, uint64_t *next_ms);
	/* Fills the sink with struct bento_moved. */
	int32_t (*clean)(struct bento_fs *fs, struct bento_sink *moved,
			 uint64_t *next_ms);
	/* Discards what is free in a part of the device. */
	int32_t (*trim)(struct bento_fs *fs, uint64_t start_bytes,
			uint64_t end_bytes, uint64_t min_bytes,
			uint64_t *trimmed_bytes);
	int32_t (*shrink_count)(struct bento_fs *fs, size_t *count);
	int32_t (*shrink)(struct bento_fs *fs, size_t count, size_t *freed);
	int32_t (*shutdown)(struct bento_fs *fs);
	/* The names of the counters, NUL-terminated, one after the other. */
	int32_t (*counters)(struct bento_fs *fs, struct bento_sink *names);
	/* The value of one of them, as text. */
	int32_t (*counter)(struct bento_fs *fs, uint32_t index,
			   struct bento_sink *value);

	int32_t (*load)(struct bento_fs *fs, uint64_t ino,
			struct bento_attr *attr);
	int32_t (*forget)(struct bento_fs *fs, uint64_t ino);
	int32_t (*getattr)(struct bento_fs *fs, uint64_t ino,
			   struct bento_attr *attr);
	int32_t (*setattr)(struct bento_fs *fs, uint64_t ino,
			   const struct bento_setattr *set,
			   struct bento_attr *attr);

	int32_t (*lookup)(struct bento_fs *fs, uint64_t dir,
			  struct bento_bytes name, uint64_t *ino);
	int32_t (*parent)(struct bento_fs *fs, uint64_t dir, uint64_t *ino);
	int32_t (*create)(struct bento_fs *fs, uint64_t dir,
			  struct bento_bytes name,
			  const struct bento_new_inode *inode,
			  struct bento_changed *changed);
	int32_t (*tmpfile)(struct bento_fs *fs, uint64_t dir,
			   const struct bento_new_inode *inode,
			   struct bento_attr *attr);
	int32_t (*link)(struct bento_fs *fs, uint64_t ino, uint64_t dir,
			struct bento_bytes name, struct bento_changed *changed);
	int32_t (*unlink)(struct bento_fs *fs, uint64_t dir,
			  struct bento_bytes name,
			  struct bento_changed *changed);
	int32_t (*rmdir)(struct bento_fs *fs, uint64_t dir,
			 struct bento_bytes name,
			 struct bento_changed *changed);
	int32_t (*rename)(struct bento_fs *fs, uint64_t from_dir,
			  struct bento_bytes from_name, uint64_t to_dir,
			  struct bento_bytes to_name, uint32_t flags,
			  struct bento_renamed *renamed);
	/* Fills the sink with struct bento_dirent; an empty one is the end. */
	int32_t (*readdir)(struct bento_fs *fs, uint64_t dir, uint64_t cookie,
			   struct bento_sink *out);
	int32_t (*readlink)(struct bento_fs *fs, uint64_t ino,
			    struct bento_sink *target);

	int32_t (*getxattr)(struct bento_fs *fs, uint64_t ino,
			    struct bento_bytes name, struct bento_sink *value);
	/* A value whose data is NULL removes the attribute. */
	int32_t (*setxattr)(struct bento_fs *fs, uint64_t ino,
			    struct bento_bytes name, struct bento_bytes value,
			    uint32_t how, struct bento_attr *attr);
	/* NUL-terminated names, one after the other; trusted.* if `trusted`. */
	int32_t (*listxattr)(struct bento_fs *fs, uint64_t ino, bool trusted,
			     struct bento_sink *names);

	int32_t (*map)(struct bento_fs *fs, uint64_t ino, uint64_t offset_bytes,
		       uint64_t len_bytes, bool with_delayed,
		       struct bento_mapping *mapping);
	int32_t (*reserve)(struct bento_fs *fs, uint64_t ino,
			   uint64_t offset_bytes, uint64_t len_bytes,
			   struct bento_mapping *mapping);
	int32_t (*unreserve)(struct bento_fs *fs, uint64_t ino,
			     uint64_t offset_bytes, uint64_t len_bytes);
	int32_t (*place)(struct bento_fs *fs, uint64_t ino,
			 uint64_t offset_bytes, uint64_t len_bytes,
			 struct bento_mapping *mapping);
	int32_t (*written)(struct bento_fs *fs, uint64_t ino,
			   const struct bento_written *parts, size_t count,
			   const struct bento_time *mtime);
	int32_t (*fallocate)(struct bento_fs *fs, uint64_t ino, uint32_t mode,
			     bool keep_size, uint64_t offset_bytes,
			     uint64_t len_bytes, struct bento_attr *attr);
	int32_t (*fsync)(struct bento_fs *fs, uint64_t ino, bool data_only);
};

/* --- what the kernel gives --- */

/* Makes a file system known under its name, and forgets it again. */
int32_t bento_register(struct module *owner,
		       const struct bento_operations *operations);
void bento_unregister(const struct bento_operations *operations);

/*
 * Memory. Up to 8 KiB bento_alloc never fails; above, NULL says that there is
 * none. The alignment is a power of two and at most a page.
 */
void *bento_alloc(size_t size_bytes, size_t align_bytes, bool zeroed);
void bento_free(void *memory, size_t size_bytes);

/*
 * Sleeping locks. Their memory is the caller's and starts as zeros. Taking one
 * returns false if the mount of the calling thread has failed and the lock may
 * never come free: the thread must leave the operation then.
 */
struct bento_lock {
	/* Readers, or BENTO_LOCK_WRITER. */
	uint32_t state;
	/* Threads that sleep, or are about to; and those of them that write. */
	uint32_t waiters;
	uint32_t writers;
};

#define BENTO_LOCK_WRITER	0xffffffffu

bool bento_lock_write(struct bento_lock *lock);
void bento_unlock_write(struct bento_lock *lock);
bool bento_lock_read(struct bento_lock *lock);
void bento_unlock_read(struct bento_lock *lock);

/* A count of notifications that can be waited for. Starts as zeros. */
struct bento_event {
	uint64_t count;
};

uint64_t bento_event_ticket(const struct bento_event *event);
/* Returns false as a lock does. */
bool bento_event_wait(struct bento_event *event, uint64_t ticket);
/* The same, but returns true when the time is up, too. */
bool bento_event_wait_for(struct bento_event *event, uint64_t ticket,
			  uint64_t limit_ns);
void bento_event_notify(struct bento_event *event);

/* The block device of a mount. */
struct bento_geometry {
	uint64_t size_bytes;
	uint32_t sector_bytes;
	bool read_only;
	bool can_discard;
};

struct bento_io {
	uint64_t offset_bytes;
	uint8_t *buffer;
	size_t len_bytes;
};

#define BENTO_IO_READ		0
#define BENTO_IO_WRITE		1
/* Durable when the call returns. */
#define BENTO_IO_WRITE_DURABLE	2

int32_t bento_device_geometry(struct bento_mount *mount,
			      struct bento_geometry *geometry);
/* Returns when all of the requests are done, with the first error. */
int32_t bento_device_io(struct bento_mount *mount, uint32_t operation,
			const struct bento_io *requests, size_t count);
int32_t bento_device_flush(struct bento_mount *mount);
int32_t bento_device_discard(struct bento_mount *mount, uint64_t offset_bytes,
			     uint64_t len_bytes);

void bento_now(struct bento_time *time);
uint64_t bento_monotonic_ns(void);
uint64_t bento_random(void);

/* Whether the caller may use space that is kept for the administrator. */
bool bento_may_use_reserve(void);
uint32_t bento_crc32c(uint32_t crc, const uint8_t *data, size_t len_bytes);

#define BENTO_LOG_ERROR		0
#define BENTO_LOG_WARNING	1
#define BENTO_LOG_INFO		2
#define BENTO_LOG_DEBUG		3

/* Without a mount the line carries no device. */
void bento_log(struct bento_mount *mount, uint32_t level, const uint8_t *text,
	       size_t len_bytes);
void bento_wake_background(struct bento_mount *mount);

/*
 * Whether a read may be under way to an address that it knows, and that no lock
 * keeps as it is.
 */
bool bento_reads_under_way(const struct bento_mount *mount);

/*
 * An event for the tracepoint bento_fs: its name, up to three values (zero
 * where there are less), and all of them with their names as text. To be made
 * only if somebody wants to see it.
 */
struct bento_trace {
	struct bento_bytes name;
	struct bento_bytes text;
	uint64_t values[3];
};

bool bento_trace_enabled(void);
void bento_trace(struct bento_mount *mount, const struct bento_trace *event);

/*
 * Leaving an operation from within (see docs/KERNEL.md, panic policy): where
 * the calling thread keeps the way out of the operation it is in, NULL outside
 * of any; and how to declare the mount of that operation failed.
 */
void **bento_escape_slot(void);
void bento_fail_mount(void);

#endif /* BENTO_ABI_H */
