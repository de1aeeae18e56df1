// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Regular files: read, write, mmap, seek, sync. */
#include <linux/fiemap.h>
#include <linux/pagemap.h>
#include <linux/splice.h>
#include <linux/uio.h>

#include "bento.h"
#include "trace.h"

/* --- reading --- */

static int bento_direct_read_done(struct kiocb *iocb, ssize_t size, int error,
				  unsigned int flags)
{
	struct inode *inode = file_inode(iocb->ki_filp);

	atomic_dec(&bento_m(inode->i_sb)->direct_reads);
	return error;
}

static const struct iomap_dio_ops bento_direct_read_ops = {
	.end_io		= bento_direct_read_done,
};

/*
 * Writeback and, once this has returned, writes don't wait for the read: they
 * may map other blocks meanwhile. The file system asks reads_under_way and
 * leaves alone what may still be read, see clean.c.
 */
static ssize_t bento_direct_read(struct kiocb *iocb, struct iov_iter *to)
{
	struct inode *inode = file_inode(iocb->ki_filp);
	struct bento_mount *mount = bento_m(inode->i_sb);
	struct iomap_dio *dio;

	atomic_inc(&mount->direct_reads);
	/* Seen before the address is looked up. */
	smp_mb__after_atomic();
	dio = __iomap_dio_rw(iocb, to, &bento_read_iomap_ops,
			     &bento_direct_read_ops, 0, NULL, 0);
	if (!IS_ERR_OR_NULL(dio))
		return iomap_dio_complete(dio);
	if (PTR_ERR_OR_ZERO(dio) != -EIOCBQUEUED)
		atomic_dec(&mount->direct_reads);
	return PTR_ERR_OR_ZERO(dio);
}

static ssize_t bento_read_iter(struct kiocb *iocb, struct iov_iter *to)
{
	struct inode *inode = file_inode(iocb->ki_filp);
	ssize_t ret;

	if (!(iocb->ki_flags & IOCB_DIRECT))
		return generic_file_read_iter(iocb, to);
	if (!iov_iter_count(to))
		return 0;
	file_accessed(iocb->ki_filp);
	inode_lock_shared(inode);
	ret = bento_direct_read(iocb, to);
	inode_unlock_shared(inode);
	return ret;
}

/* --- writing --- */

static ssize_t bento_buffered_write(struct kiocb *iocb, struct iov_iter *from)
{
	struct inode *inode = file_inode(iocb->ki_filp);
	struct bento_inode *bi = bento_i(inode);
	struct bento_range *run = &bi->run;
	loff_t start = iocb->ki_pos;
	size_t count = iov_iter_count(from);
	ssize_t ret;

	if (start != run->end)
		WRITE_ONCE(run->start, start);
	WRITE_ONCE(bi->writes_buffered, true);
	ret = iomap_file_buffered_write(iocb, from, &bento_write_iomap_ops,
					NULL);
	WRITE_ONCE(bi->writes_buffered, false);
	WRITE_ONCE(run->end, iocb->ki_pos);
	if (ret < 0)
		bento_release_reservations(inode, start, start + count);
	else if (ret < count)
		bento_release_reservations(inode, start + ret, start + count);
	return ret;
}

/* The part of the last block behind the old end becomes part of the file. */
static int bento_before_write(struct kiocb *iocb)
{
	struct inode *inode = file_inode(iocb->ki_filp);
	loff_t size = i_size_read(inode);
	int err = kiocb_modified(iocb);

	if (err || iocb->ki_pos <= size)
		return err;
	return bento_zero_tail(inode, size);
}

/* With the inode locked. What is synced already needs no fsync. */
static ssize_t bento_write_locked(struct kiocb *iocb, struct iov_iter *from,
				  bool *synced)
{
	ssize_t ret = generic_write_checks(iocb, from), direct = 0;
	int err;

	*synced = false;
	if (ret <= 0)
		return ret;
	err = bento_before_write(iocb);
	if (err)
		return err;
	if (!(iocb->ki_flags & IOCB_DIRECT))
		return bento_buffered_write(iocb, from);
	if (bento_is_direct(iocb, from))
		direct = bento_direct_write(iocb, from);
	/* iomap does not return before an O_SYNC write is durable. */
	*synced = direct < 0 || !iov_iter_count(from);
	if (*synced)
		return direct;
	/* Parts of blocks are copied in memory. */
	return direct_write_fallback(iocb, from, direct,
				     bento_buffered_write(iocb, from));
}

static ssize_t bento_write_iter(struct kiocb *iocb, struct iov_iter *from)
{
	struct inode *inode = file_inode(iocb->ki_filp);
	loff_t start = iocb->ki_pos;
	ssize_t inside = bento_direct_write_inside(iocb, from), ret;
	bool synced;

	if (inside < 0 || (inside && !iov_iter_count(from)))
		return inside;
	inode_lock(inode);
	ret = bento_write_locked(iocb, from, &synced);
	inode_unlock(inode);
	if (ret > 0 && !synced)
		ret = generic_write_sync(iocb, ret);
	if (ret < 0 && inside) {
		iocb->ki_pos = start + inside;
		return inside;
	}
	return inside + ret;
}

/* --- mmap --- */

static vm_fault_t bento_page_mkwrite(struct vm_fault *vmf)
{
	struct inode *inode = file_inode(vmf->vma->vm_file);
	vm_fault_t ret;

	sb_start_pagefault(inode->i_sb);
	file_update_time(vmf->vma->vm_file);
	/* Nobody gives reservations back between ours and the dirty bit. */
	filemap_invalidate_lock_shared(inode->i_mapping);
	ret = iomap_page_mkwrite(vmf, &bento_write_iomap_ops);
	filemap_invalidate_unlock_shared(inode->i_mapping);
	sb_end_pagefault(inode->i_sb);
	return ret;
}

static const struct vm_operations_struct bento_vm_ops = {
	.fault		= filemap_fault,
	.map_pages	= filemap_map_pages,
	.page_mkwrite	= bento_page_mkwrite,
};

static int bento_mmap(struct file *file, struct vm_area_struct *vma)
{
	file_accessed(file);
	vma->vm_ops = &bento_vm_ops;
	return 0;
}

/* --- sync --- */

/* file_write_and_wait_range, but for who does the work when the I/O has ended. */
static int bento_write_out(struct file *file, loff_t start, loff_t end)
{
	struct inode *inode = file_inode(file);
	int err, wb_err;

	err = filemap_fdatawrite_range(inode->i_mapping, start, end);
	bento_help_io(inode);
	wb_err = file_fdatawait_range(file, start, end);
	return err ?: wb_err;
}

static int bento_do_fsync(struct file *file, loff_t start, loff_t end,
			  int datasync)
{
	struct inode *inode = file_inode(file);
	struct bento_range *run = &bento_i(inode)->run;
	int err, wb_err;

	WRITE_ONCE(run->start, READ_ONCE(run->end));
	err = bento_write_out(file, start, end);
	if (err)
		return err;
	/* Times that only the VFS has; the data brought size and mtime along. */
	if (!datasync && (inode->i_state & I_DIRTY_ALL))
		err = sync_inode_metadata(inode, 1);
	/* Who has made it clean before may not have told of them yet. */
	if (!err && !datasync)
		err = bento_write_inode(inode, NULL);
	if (!err)
		err = bento_icall(inode, fsync, datasync);
	wb_err = file_check_and_advance_wb_err(file);
	return err ?: wb_err;
}

int bento_fsync(struct file *file, loff_t start, loff_t end, int datasync)
{
	struct inode *inode = file_inode(file);
	int err;

	trace_bento_fsync_begin(inode, datasync);
	err = bento_do_fsync(file, start, end, datasync);
	trace_bento_fsync_end(inode, err);
	return err;
}

/* --- seek and report --- */

/* A block on its way out is neither a reservation nor mapped yet. */
static int bento_settle(struct inode *inode)
{
	if (!mapping_tagged(inode->i_mapping, PAGECACHE_TAG_WRITEBACK))
		return 0;
	return filemap_fdatawait_keep_errors(inode->i_mapping);
}

static loff_t bento_llseek(struct file *file, loff_t offset, int whence)
{
	struct inode *inode = file->f_mapping->host;

	if (whence != SEEK_HOLE && whence != SEEK_DATA)
		return generic_file_llseek(file, offset, whence);
	inode_lock_shared(inode);
	bento_settle(inode);
	if (whence == SEEK_HOLE)
		offset = iomap_seek_hole(inode, offset, &bento_report_iomap_ops);
	else
		offset = iomap_seek_data(inode, offset, &bento_report_iomap_ops);
	inode_unlock_shared(inode);
	if (offset < 0)
		return offset;
	return vfs_setpos(file, offset, inode->i_sb->s_maxbytes);
}

static int bento_fiemap(struct inode *inode, struct fiemap_extent_info *info,
			u64 start, u64 len)
{
	int err;

	inode_lock_shared(inode);
	bento_settle(inode);
	err = iomap_fiemap(inode, info, start, len, &bento_report_iomap_ops);
	inode_unlock_shared(inode);
	return err;
}

static int bento_open(struct inode *inode, struct file *file)
{
	file->f_mode |= FMODE_CAN_ODIRECT;
	return generic_file_open(inode, file);
}

/*
 * New contents in an emptied file start on their way now: until they are
 * there, a power cut would leave it empty.
 */
static int bento_release(struct inode *inode, struct file *file)
{
	if ((file->f_mode & FMODE_WRITE) &&
	    xchg(&bento_i(inode)->emptied, false))
		filemap_flush(inode->i_mapping);
	return 0;
}

const struct file_operations bento_file_ops = {
	.open		= bento_open,
	.release	= bento_release,
	.llseek		= bento_llseek,
	.read_iter	= bento_read_iter,
	.write_iter	= bento_write_iter,
	.mmap		= bento_mmap,
	.fsync		= bento_fsync,
	.fallocate	= bento_fallocate,
	.splice_read	= filemap_splice_read,
	.splice_write	= iter_file_splice_write,
	.unlocked_ioctl	= bento_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
};

/* Without a device the page cache is all there is. */
const struct file_operations bento_memory_file_ops = {
	.llseek		= generic_file_llseek,
	.read_iter	= generic_file_read_iter,
	.write_iter	= generic_file_write_iter,
	.mmap		= generic_file_mmap,
	.fsync		= noop_fsync,
	.splice_read	= filemap_splice_read,
	.splice_write	= iter_file_splice_write,
};

const struct inode_operations bento_file_inode_ops = {
	.getattr	= bento_getattr,
	.setattr	= bento_setattr,
	.listxattr	= bento_listxattr,
	.get_inode_acl	= bento_get_acl,
	.set_acl	= bento_set_acl,
	.fiemap		= bento_fiemap,
};
