// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Cleaning: a file system moves data to other addresses by itself, or writeback
 * does while direct reads are under way. What has moved is settled before the
 * old addresses are used for anything else: nobody reads there any more who
 * learnt the address before.
 *
 * A read of the page cache locks its folio, asks for the address and waits for
 * the device, all under the folio lock. A write that needs the old contents
 * asks before it has the lock, and checks map_seq after. A direct read counts
 * itself before it asks.
 */
#include <linux/pagemap.h>
#include <linux/pagevec.h>
#include <linux/slab.h>

#include "bento.h"

static void bento_wait_for_folios(struct address_space *mapping, u64 start,
				  u64 end)
{
	pgoff_t index = start >> PAGE_SHIFT;
	struct folio_batch batch;
	unsigned int i;

	folio_batch_init(&batch);
	while (filemap_get_folios(mapping, &index, (end - 1) >> PAGE_SHIFT,
				  &batch)) {
		for (i = 0; i < folio_batch_count(&batch); i++)
			folio_wait_locked(batch.folios[i]);
		folio_batch_release(&batch);
		cond_resched();
	}
}

/* Who is not in memory, or on the way out, has no read under way that counts. */
static void bento_settle_moved(struct super_block *sb,
			       const struct bento_moved *moved)
{
	u64 end = moved->offset_bytes + moved->len_bytes;
	struct inode *inode = bento_ilookup(sb, moved->ino);

	if (!inode)
		return;
	bento_mappings_changed(inode);
	inode_lock(inode);
	inode_dio_wait(inode);
	inode_unlock(inode);
	if (moved->len_bytes)
		bento_wait_for_folios(inode->i_mapping, moved->offset_bytes,
				      end);
	iput(inode);
}

/*
 * Besides direct reads of any file: buffered ones of a file that a direct write
 * has changed, on whose behalf the thread asks. The write emptied the page
 * cache before; what is there now may have got its address since. So may a
 * buffered write whose folio is not there yet.
 */
bool bento_reads_under_way(const struct bento_mount *mount)
{
	const struct bento_call *call = current->journal_info;
	const struct inode *inode = call ? call->inode : NULL;

	if (atomic_read(&mount->direct_reads))
		return true;
	if (!inode || list_empty_careful(&bento_i(inode)->directs))
		return false;
	return READ_ONCE(inode->i_mapping->nrpages) ||
	       READ_ONCE(bento_i(inode)->writes_buffered);
}
EXPORT_SYMBOL_GPL(bento_reads_under_way);

/*
 * One step; returns in how many milliseconds the next is due. Outside the gate
 * and background_lock: putting an inode may enter the file system, and waits
 * for a thaw.
 */
u64 bento_clean(struct bento_mount *mount)
{
	struct bento_sink sink = {
		.data = (u8 *)mount->moved,
		.capacity_bytes = BENTO_MOVED_MAX * sizeof(*mount->moved),
	};
	u64 next_ms = U64_MAX;
	size_t i;

	mutex_lock(&mount->clean_lock);
	mutex_lock(&mount->background_lock);
	if (!mount->frozen && !mount->closing &&
	    bento_call(mount, clean, &sink, &next_ms))
		next_ms = U64_MAX;
	mutex_unlock(&mount->background_lock);
	if (WARN_ON_ONCE(sink.len_bytes > sink.capacity_bytes)) {
		/* What can't be settled must not be followed by another step. */
		mount->closing = true;
		sink.len_bytes = 0;
		next_ms = U64_MAX;
	}
	for (i = 0; i < sink.len_bytes / sizeof(*mount->moved); i++)
		bento_settle_moved(mount->sb, &mount->moved[i]);
	mutex_unlock(&mount->clean_lock);
	return next_ms;
}

/* From now on no inode is in use for cleaning. */
void bento_end_cleaning(struct bento_mount *mount)
{
	mutex_lock(&mount->clean_lock);
	mount->closing = true;
	mutex_unlock(&mount->clean_lock);
}
