// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The gate between the VFS and a file system. Every call goes through it:
 * it keeps threads out of a failed mount, lets a writer of the semaphore wait
 * until nobody is inside, keeps memory reclaim from coming back into a file
 * system, and notes in current->journal_info which mount a thread is in.
 *
 * Nobody enters twice: nothing that a file system asks of the kernel calls
 * back into a file system on the same thread.
 */
#include <linux/sched.h>
#include <linux/sched/mm.h>

#include "bento.h"

static void bento_begin_call(struct bento_mount *mount, struct bento_call *call)
{
	call->mount = mount;
	call->inode = NULL;
	call->escape = NULL;
	call->outer_journal_info = current->journal_info;
	call->nofs = memalloc_nofs_save();
	current->journal_info = call;
}

int bento_enter(struct bento_mount *mount, struct bento_call *call)
{
	percpu_down_read(&mount->gate);
	if (unlikely(READ_ONCE(mount->dead))) {
		percpu_up_read(&mount->gate);
		return -EIO;
	}
	bento_begin_call(mount, call);
	return 0;
}

/* For memory reclaim, which must not wait behind a writer of the gate. */
bool bento_try_enter(struct bento_mount *mount, struct bento_call *call)
{
	if (READ_ONCE(mount->dead) || !percpu_down_read_trylock(&mount->gate))
		return false;
	bento_begin_call(mount, call);
	return true;
}

void bento_leave(struct bento_call *call)
{
	current->journal_info = call->outer_journal_info;
	memalloc_nofs_restore(call->nofs);
	percpu_up_read(&call->mount->gate);
}

struct bento_mount *bento_current_mount(void)
{
	struct bento_call *call = current->journal_info;

	return call ? call->mount : NULL;
}

void **bento_escape_slot(void)
{
	struct bento_call *call = current->journal_info;

	return call ? &call->escape : NULL;
}
EXPORT_SYMBOL_GPL(bento_escape_slot);

void bento_fail_mount(void)
{
	struct bento_mount *mount = bento_current_mount();

	if (!mount || xchg(&mount->dead, true))
		return;
	pr_crit("bento: %s on %s has failed: all its operations answer EIO, unmount it\n",
		mount->ops->name, mount->sb->s_id);
}
EXPORT_SYMBOL_GPL(bento_fail_mount);
