// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Sleeping locks and events for file systems. Unlike the kernel's own they can
 * be given up on: a panic leaves locks held for ever, and whoever waits for
 * one looks from time to time whether the mount it is in has failed. They are
 * words without a constructor, so that a lock costs nothing until it is
 * contended; sleepers are in the kernel's hashed wait queues.
 */
#include <linux/atomic.h>
#include <linux/hrtimer.h>
#include <linux/sched.h>
#include <linux/wait_bit.h>

#include "bento.h"

/* How long a failed mount may go unnoticed by a sleeper. */
#define BENTO_DEAD_CHECK	(HZ / 4)

static bool bento_try_write(struct bento_lock *lock)
{
	return READ_ONCE(lock->state) == 0 &&
	       cmpxchg_acquire(&lock->state, 0, BENTO_LOCK_WRITER) == 0;
}

/* Writers that wait go first. */
static bool bento_try_read(struct bento_lock *lock)
{
	u32 state = READ_ONCE(lock->state);

	while (state < BENTO_LOCK_WRITER - 1 && !READ_ONCE(lock->writers)) {
		u32 seen = cmpxchg_acquire(&lock->state, state, state + 1);

		if (seen == state)
			return true;
		state = seen;
	}
	return false;
}

static bool bento_mount_dead(void)
{
	struct bento_mount *mount = bento_current_mount();

	return mount && READ_ONCE(mount->dead);
}

/*
 * Of those who wait to write one is woken at a time, all others would find the
 * lock taken. Whoever is woken and finds it taken waits again, and is woken
 * when it is let go.
 */
static bool bento_lock_slow(struct bento_lock *lock, int wait_flags,
			    bool (*try)(struct bento_lock *lock))
{
	struct wait_queue_head *queue = __var_waitqueue(lock);
	struct wait_bit_queue_entry entry;
	bool locked;

	init_wait_var_entry(&entry, lock, wait_flags);
	atomic_inc((atomic_t *)&lock->waiters);
	for (;;) {
		prepare_to_wait_event(queue, &entry.wq_entry,
				      TASK_UNINTERRUPTIBLE);
		locked = try(lock);
		if (locked || bento_mount_dead())
			break;
		schedule_timeout(BENTO_DEAD_CHECK);
	}
	finish_wait(queue, &entry.wq_entry);
	atomic_dec((atomic_t *)&lock->waiters);
	return locked;
}

static void bento_wake_waiters(struct bento_lock *lock)
{
	/* Pairs with the barrier in prepare_to_wait_event. */
	smp_mb();
	if (READ_ONCE(lock->waiters))
		wake_up_var(lock);
}

bool bento_lock_write(struct bento_lock *lock)
{
	bool locked;

	might_sleep();
	if (likely(bento_try_write(lock)))
		return true;
	atomic_inc((atomic_t *)&lock->writers);
	locked = bento_lock_slow(lock, WQ_FLAG_EXCLUSIVE, bento_try_write);
	atomic_dec((atomic_t *)&lock->writers);
	return locked;
}
EXPORT_SYMBOL_GPL(bento_lock_write);

void bento_unlock_write(struct bento_lock *lock)
{
	smp_store_release(&lock->state, 0);
	bento_wake_waiters(lock);
}
EXPORT_SYMBOL_GPL(bento_unlock_write);

bool bento_lock_read(struct bento_lock *lock)
{
	might_sleep();
	return likely(bento_try_read(lock)) ||
	       bento_lock_slow(lock, 0, bento_try_read);
}
EXPORT_SYMBOL_GPL(bento_lock_read);

void bento_unlock_read(struct bento_lock *lock)
{
	if (atomic_dec_and_test((atomic_t *)&lock->state))
		bento_wake_waiters(lock);
}
EXPORT_SYMBOL_GPL(bento_unlock_read);

/* --- events --- */

uint64_t bento_event_ticket(const struct bento_event *event)
{
	return atomic64_read_acquire((atomic64_t *)&event->count);
}
EXPORT_SYMBOL_GPL(bento_event_ticket);

bool bento_event_wait(struct bento_event *event, uint64_t ticket)
{
	struct wait_queue_head *queue = __var_waitqueue(event);
	struct wait_bit_queue_entry entry;
	bool notified;

	init_wait_var_entry(&entry, event, 0);
	for (;;) {
		prepare_to_wait_event(queue, &entry.wq_entry,
				      TASK_UNINTERRUPTIBLE);
		notified = bento_event_ticket(event) != ticket;
		if (notified || bento_mount_dead())
			break;
		schedule_timeout(BENTO_DEAD_CHECK);
	}
	finish_wait(queue, &entry.wq_entry);
	return notified;
}
EXPORT_SYMBOL_GPL(bento_event_wait);

bool bento_event_wait_for(struct bento_event *event, uint64_t ticket,
			  uint64_t limit_ns)
{
	struct wait_queue_head *queue = __var_waitqueue(event);
	struct wait_bit_queue_entry entry;
	ktime_t limit = ns_to_ktime(limit_ns);

	init_wait_var_entry(&entry, event, 0);
	prepare_to_wait_event(queue, &entry.wq_entry, TASK_UNINTERRUPTIBLE);
	if (bento_event_ticket(event) == ticket && !bento_mount_dead())
		schedule_hrtimeout(&limit, HRTIMER_MODE_REL);
	finish_wait(queue, &entry.wq_entry);
	return !bento_mount_dead();
}
EXPORT_SYMBOL_GPL(bento_event_wait_for);

void bento_event_notify(struct bento_event *event)
{
	/* Fully ordered: a sleeper sees the count, or we see the sleeper. */
	atomic64_inc_return((atomic64_t *)&event->count);
	wake_up_var(event);
}
EXPORT_SYMBOL_GPL(bento_event_notify);
