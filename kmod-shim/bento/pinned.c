// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * A program's memory, held where it is while a device reads it. Getting hold
 * of it may fault pages in and waits for mmap_lock: a write does that before
 * it claims anything (direct.c).
 */
#include <linux/bvec.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uio.h>

#include "bento.h"

/* What one write holds at once. */
#define BENTO_PINNED_PAGES	1024

/* Whether a page is the next one of the folio in which a part ends. */
static bool bento_continues(const struct bio_vec *last, struct page *page)
{
	struct folio *folio = page_folio(page);
	unsigned int end = last->bv_offset + last->bv_len;

	return page_folio(last->bv_page) == folio && !(end & ~PAGE_MASK) &&
	       folio_page_idx(folio, last->bv_page) + (end >> PAGE_SHIFT) ==
	       folio_page_idx(folio, page);
}

/* Counts pages that are held, and what of them is to be written. */
static void bento_add_pages(struct bento_pinned *p, size_t offset, size_t len)
{
	size_t part;

	for (; len; len -= part, offset = 0) {
		struct bio_vec *next = p->bvecs + p->bvec_count;
		struct page *page = p->pages[p->page_count++];

		part = min(len, PAGE_SIZE - offset);
		p->len_bytes += part;
		if (!offset && p->bvec_count && bento_continues(next - 1, page))
			next[-1].bv_len += part;
		else
			bvec_set_page(p->bvecs + p->bvec_count++, page, part,
				      offset);
	}
}

/*
 * Holds the start of what an iterator has, in whole blocks, and makes it one
 * over that. -EFAULT if there is no block.
 */
int bento_pin(struct bento_pinned *p, struct iov_iter *iter)
{
	int max = iov_iter_npages(iter, BENTO_PINNED_PAGES);
	ssize_t len = 0;

	*p = (struct bento_pinned){};
	p->bvecs = kvmalloc_array(max, sizeof(*p->bvecs) + sizeof(*p->pages),
				  GFP_KERNEL);
	if (!p->bvecs)
		return -ENOMEM;
	p->pages = (struct page **)(p->bvecs + max);
	while (iov_iter_count(iter) && p->page_count < max) {
		struct page **pages = p->pages + p->page_count;
		size_t offset;

		len = iov_iter_extract_pages(iter, &pages, SIZE_MAX,
					     max - p->page_count, 0, &offset);
		if (len <= 0)
			break;
		bento_add_pages(p, offset, len);
	}
	p->len_bytes = round_down(p->len_bytes, BENTO_BLOCK_BYTES);
	if (!p->len_bytes) {
		bento_unpin(p);
		return len < 0 ? len : -EFAULT;
	}
	iov_iter_bvec(iter, ITER_SOURCE, p->bvecs, p->bvec_count, p->len_bytes);
	return 0;
}

/* Lets go, also of what is all zeros since nothing was held. */
void bento_unpin(struct bento_pinned *p)
{
	unpin_user_pages(p->pages, p->page_count);
	kvfree(p->bvecs);
}
