/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* What the files of bento.ko share. */
#ifndef BENTO_H
#define BENTO_H

#include <linux/fs.h>
#include <linux/iomap.h>
#include <linux/percpu-rwsem.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xattr.h>

#include "bento_abi.h"
#include "compat.h"

/* The block size of every file system here, and the unit of data checksums. */
#define BENTO_BLOCK_SHIFT	12
#define BENTO_BLOCK_BYTES	(1u << BENTO_BLOCK_SHIFT)

/* A registered kind of file system. */
struct bento_type {
	struct file_system_type fs;
	const struct bento_operations *ops;
	struct list_head types;
	/* /sys/fs/TYPE, if it has a device. */
	struct kobject *counters;
};

struct bento_counters;

struct bento_mount {
	const struct bento_type *type;
	const struct bento_operations *ops;
	struct bento_fs *fs;
	struct super_block *sb;
	/* Read-held by every thread that is inside the file system. */
	struct percpu_rw_semaphore gate;
	/* The file system panicked: nobody enters any more. */
	bool dead;
	/* Completions of data writes. */
	struct workqueue_struct *io_wq;
	/* Calls background(); asleep until background_due. */
	struct task_struct *background;
	wait_queue_head_t background_wait;
	bool background_due;
	/* Held around background(), which isn't called while frozen. */
	struct mutex background_lock;
	bool frozen;
	/* One step of cleaning at a time, none once closing: see clean.c. */
	struct mutex clean_lock;
	bool closing;
	struct bento_moved *moved;
	/* Direct reads that may know an address, of all files. */
	atomic_t direct_reads;
	/* /sys/fs/TYPE/DEVICE */
	struct bento_counters *counters;
};

/* A thread's stay inside a file system; lives on its stack. */
struct bento_call {
	struct bento_mount *mount;
	/* What the call is about, if it is an inode. */
	const struct inode *inode;
	/* The way out for a panic: the Rust side's own (see bento_abi.h). */
	void *escape;
	void *outer_journal_info;
	unsigned int nofs;
};

/* Bytes of a file, block aligned; the end is not in it. */
struct bento_range {
	u64 start;
	u64 end;
};

struct bento_inode {
	struct inode vfs;
	/* Raised whenever a cached iomap may have become wrong. */
	atomic_t map_seq;
	/* See placed.c. */
	struct mutex map_lock;
	struct list_head placed;
	/* See direct.c. */
	struct list_head directs;
	u32 directs_ended;
	/*
	 * What buffered writes have written without a gap, and no fsync since:
	 * see bento_get_folio. Guarded by the inode's lock; fsync just ends it.
	 */
	struct bento_range run;
	/* A buffered write may read old contents of blocks into new folios. */
	bool writes_buffered;
	/* The file system holds a pin for this inode. */
	bool pinned;
	/* i_blocks is out of date; getattr asks the file system. */
	bool sectors_stale;
	/* Emptied since it was last closed after writing. */
	bool emptied;
	/*
	 * What the file system has; the VFS may be ahead. The lock is held
	 * while it is told: the last it hears is what stands here.
	 */
	struct bento_lock told;
	u64 stored_size;
	struct timespec64 stored_atime;
	struct timespec64 stored_mtime;
	struct timespec64 stored_ctime;
	struct timespec64 btime;
	/* Finished data writes whose mapping is not updated yet. */
	spinlock_t io_lock;
	struct list_head io_done;
	struct work_struct io_work;
	/* Who waits for them and does the work itself; see bento_help_io. */
	struct task_struct *io_helper;
	/* Data writes through the page cache since the inode is in memory. */
	u32 ios_begun;
	u32 ios_ended;
};

static inline struct bento_inode *bento_i(const struct inode *inode)
{
	return container_of(inode, struct bento_inode, vfs);
}

static inline struct bento_mount *bento_m(const struct super_block *sb)
{
	return sb->s_fs_info;
}

static inline struct bento_bytes bento_qstr(const struct qstr *name)
{
	return (struct bento_bytes){ name->name, name->len };
}

/* --- gate.c --- */
int bento_enter(struct bento_mount *mount, struct bento_call *call);
bool bento_try_enter(struct bento_mount *mount, struct bento_call *call);
void bento_leave(struct bento_call *call);
struct bento_mount *bento_current_mount(void);

/*
 * Calls an operation through the gate: bento_call(mount, lookup, dir, ...).
 * The only way into a file system.
 */
#define bento_call(mount_, op, ...)					\
	__bento_call(mount_, NULL, op, ##__VA_ARGS__)

#define __bento_call(mount_, inode_, op, ...) ({			\
	struct bento_mount *__mount = (mount_);				\
	struct bento_call __call;					\
	int __err = bento_enter(__mount, &__call);			\
	if (!__err) {							\
		__call.inode = (inode_);				\
		__err = __mount->ops->op(__mount->fs, ##__VA_ARGS__);	\
		bento_leave(&__call);					\
	}								\
	__err;								\
})

#define bento_icall(inode_, op, ...) ({					\
	const struct inode *__inode = (inode_);				\
	__bento_call(bento_m(__inode->i_sb), __inode, op,		\
		     __inode->i_ino, ##__VA_ARGS__);			\
})

/* --- super.c --- */
int bento_init_fs_context(struct fs_context *fc);
void bento_kill_sb(struct super_block *sb);

/* --- counters.c --- */
int bento_add_counters_of_type(struct bento_type *type);
void bento_remove_counters_of_type(struct bento_type *type);
void bento_add_counters(struct bento_mount *mount);
void bento_remove_counters(struct bento_mount *mount);

/* --- inode.c --- */
int __init bento_inode_cache_init(void);
void bento_inode_cache_exit(void);
struct inode *bento_alloc_inode(struct super_block *sb);
void bento_free_inode(struct inode *inode);
void bento_evict_inode(struct inode *inode);
int bento_write_inode(struct inode *inode, struct writeback_control *wbc);
struct inode *bento_iget(struct super_block *sb, u64 ino);
struct inode *bento_ilookup(struct super_block *sb, u64 ino);
void bento_fill_inode(struct inode *inode, const struct bento_attr *attr);
int bento_adopt_inode(struct inode *inode, const struct bento_attr *attr);
void bento_apply_attr(struct inode *inode, const struct bento_attr *attr);
struct bento_time bento_time(struct timespec64 ts);

/* --- attr.c --- */
int bento_getattr(struct mnt_idmap *idmap, const struct path *path,
		  struct kstat *stat, u32 request_mask, unsigned int flags);
int bento_setattr(struct mnt_idmap *idmap, struct dentry *dentry,
		  struct iattr *iattr);
int bento_set_mode(struct inode *inode, umode_t mode);
int bento_set_size(struct inode *inode, loff_t size);

/* --- namei.c, readdir.c, symlink.c --- */
extern const struct inode_operations bento_dir_inode_ops;
extern const struct inode_operations bento_symlink_inode_ops;
extern const struct inode_operations bento_special_inode_ops;
extern const struct file_operations bento_dir_ops;

/* --- create.c --- */
struct inode *bento_create(struct mnt_idmap *idmap, struct inode *dir,
			   const struct qstr *name, umode_t mode, dev_t rdev,
			   const char *target, bool nameless);

/* --- file.c, fallocate.c --- */
extern const struct inode_operations bento_file_inode_ops;
extern const struct file_operations bento_file_ops;
extern const struct file_operations bento_memory_file_ops;
int bento_fsync(struct file *file, loff_t start, loff_t end, int datasync);
long bento_fallocate(struct file *file, int mode, loff_t offset, loff_t len);
long bento_ioctl(struct file *file, unsigned int cmd, unsigned long arg);

/* --- data.c --- */
int bento_fill_iomap(struct inode *inode, struct iomap *iomap,
		     const struct bento_mapping *m, struct bento_range range);
extern const struct iomap_ops bento_read_iomap_ops;
extern const struct iomap_ops bento_report_iomap_ops;
extern const struct iomap_ops bento_write_iomap_ops;
void bento_release_reservations(struct inode *inode, loff_t start, loff_t end);
int bento_zero_tail(struct inode *inode, loff_t size);
int bento_zero_range(struct inode *inode, loff_t start, loff_t end);

static inline void bento_mappings_changed(struct inode *inode)
{
	atomic_inc(&bento_i(inode)->map_seq);
	bento_i(inode)->sectors_stale = true;
}

/* --- placed.c --- */
int bento_reserve(struct inode *inode, struct bento_range *range,
		  struct bento_mapping *m);
int bento_place(struct inode *inode, struct bento_range range,
		struct bento_mapping *m);
int bento_new_place(struct inode *inode, u64 start, u64 len,
		    struct bento_mapping *m);
void bento_cancel_placed(struct inode *inode, u64 start, u64 end);
void bento_unreserve(struct inode *inode, u64 start, u64 end);

/* --- pinned.c --- */
struct bento_pinned {
	/* What is to be written, len_bytes of it: whole blocks. */
	struct bio_vec *bvecs;
	unsigned int bvec_count;
	size_t len_bytes;
	/* Each page that is held, in memory of the same allocation. */
	struct page **pages;
	unsigned int page_count;
};

int bento_pin(struct bento_pinned *p, struct iov_iter *iter);
void bento_unpin(struct bento_pinned *p);

/* --- direct.c --- */
bool bento_is_direct(const struct kiocb *iocb, const struct iov_iter *from);
ssize_t bento_direct_write(struct kiocb *iocb, struct iov_iter *from);
ssize_t bento_direct_write_inside(struct kiocb *iocb, struct iov_iter *from);
void bento_lock_behind_direct(struct bento_inode *bi, struct bento_range range);
u64 bento_next_direct(const struct bento_inode *bi, u64 at);

/* --- writeback.c --- */
extern const struct address_space_operations bento_address_space_ops;
void bento_io_work(struct work_struct *work);
void bento_help_io(struct inode *inode);
int bento_written(struct inode *inode, loff_t offset, u64 len, u64 size,
		  const u32 *checksums, int result);

/* --- xattr.c, acl.c --- */
extern const struct xattr_handler * const bento_xattr_handlers[];
ssize_t bento_listxattr(struct dentry *dentry, char *buffer, size_t size);
int bento_getxattr(struct inode *inode, const char *name, void *value,
		   size_t size);
int bento_setxattr(struct inode *inode, const char *name, const void *value,
		   size_t size, int flags);
struct posix_acl *bento_get_acl(struct inode *inode, int type, bool rcu);
int bento_set_acl(struct mnt_idmap *idmap, struct dentry *dentry,
		  struct posix_acl *acl, int type);

/* --- export.c --- */
extern const struct export_operations bento_export_ops;

/* --- clean.c --- */
u64 bento_clean(struct bento_mount *mount);
void bento_end_cleaning(struct bento_mount *mount);

/* --- checksum.c --- */
void bento_crc32c_bio(struct bio *bio, u32 *checksums);

#endif /* BENTO_H */
