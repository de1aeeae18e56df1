// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Memory, time, randomness and messages for file systems. */
#include <linux/capability.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/timekeeping.h>
#include <linux/vmstat.h>

#include "bento.h"

/*
 * Up to here an allocation waits until there is memory: safe Rust has no way
 * to go on without. Nothing on a disk makes a file system ask for more.
 */
#define BENTO_NOFAIL_BYTES	(4 * 1024 * 1024)

/*
 * A page, as blocks of a cache are, comes from the page allocator: a slab of
 * several pages would be given back only when the last of them is free. Such
 * pages count as available memory (KReclaimable in /proc/meminfo).
 */
static bool bento_is_page(size_t size)
{
	return size == PAGE_SIZE;
}

static void bento_count_page(void *memory, long pages)
{
	mod_node_page_state(page_pgdat(virt_to_page(memory)),
			    NR_KERNEL_MISC_RECLAIMABLE, pages);
}

static void *bento_alloc_page(gfp_t gfp)
{
	void *memory = (void *)__get_free_page(gfp | __GFP_NOFAIL);

	bento_count_page(memory, 1);
	return memory;
}

static void bento_free_page(void *memory)
{
	bento_count_page(memory, -1);
	free_page((unsigned long)memory);
	/* Reclaim has no other sign of what a shrinker has freed. */
	mm_account_reclaimed_pages(1);
}

void *bento_alloc(size_t size, size_t align, bool zeroed)
{
	gfp_t gfp = GFP_NOFS | (zeroed ? __GFP_ZERO : 0);

	if (align > PAGE_SIZE)
		return NULL;
	if (bento_is_page(size))
		return bento_alloc_page(gfp);
	/* kmalloc aligns powers of two to their size, vmalloc to pages. */
	if (align > ARCH_KMALLOC_MINALIGN && size < PAGE_SIZE)
		size = roundup_pow_of_two(max(size, align));
	if (size <= PAGE_SIZE)
		return kmalloc(size, gfp | __GFP_NOFAIL);
	if (size <= BENTO_NOFAIL_BYTES)
		gfp |= __GFP_NOFAIL;
	return kvmalloc(size, gfp | __GFP_NOWARN);
}
EXPORT_SYMBOL_GPL(bento_alloc);

void bento_free(void *memory, size_t size)
{
	if (bento_is_page(size))
		bento_free_page(memory);
	else
		kvfree(memory);
}
EXPORT_SYMBOL_GPL(bento_free);

void bento_now(struct bento_time *time)
{
	struct timespec64 ts;

	ktime_get_coarse_real_ts64(&ts);
	*time = bento_time(ts);
}
EXPORT_SYMBOL_GPL(bento_now);

uint64_t bento_monotonic_ns(void)
{
	return ktime_get_ns();
}
EXPORT_SYMBOL_GPL(bento_monotonic_ns);

uint64_t bento_random(void)
{
	return get_random_u64();
}
EXPORT_SYMBOL_GPL(bento_random);

bool bento_may_use_reserve(void)
{
	return capable(CAP_SYS_RESOURCE);
}
EXPORT_SYMBOL_GPL(bento_may_use_reserve);

void bento_log(struct bento_mount *mount, uint32_t level, const uint8_t *text,
	       size_t len_bytes)
{
	static const char * const levels[] = {
		KERN_ERR, KERN_WARNING, KERN_INFO, KERN_DEBUG,
	};
	const char *kern = levels[min_t(u32, level, BENTO_LOG_DEBUG)];
	int len = min_t(size_t, len_bytes, 1000);

	if (mount)
		printk("%s%s (%s): %.*s\n", kern, mount->ops->name,
		       mount->sb->s_id, len, text);
	else
		printk("%sbento: %.*s\n", kern, len, text);
}
EXPORT_SYMBOL_GPL(bento_log);
