// SPDX-License-Identifier: GPL-2.0 OR MIT
/* CRC-32C, for file systems and for the data that they never see. */
#include <linux/bio.h>
#include <linux/crc32c.h>
#include <linux/prefetch.h>

#include "bento.h"

#if defined(CONFIG_UML) && defined(CONFIG_X86_64)

#include <asm/cpufeature.h>

/*
 * The instruction takes three cycles, but a new one can start in each: three
 * blocks side by side take no longer than one. Other kernels for x86 divide
 * one block into three to the same end, which needs vector registers. The next
 * three lie behind them in a large folio; elsewhere fetching what is there
 * does no harm.
 */
static bool bento_crc32c_three(const u8 *const blocks[3], u32 checksums[3])
{
	const u64 *x = (const u64 *)blocks[0], *y = (const u64 *)blocks[1];
	const u64 *z = (const u64 *)blocks[2];
	u64 a = U32_MAX, b = U32_MAX, c = U32_MAX;
	size_t i;

	if (!boot_cpu_has(X86_FEATURE_XMM4_2))
		return false;
	for (i = 0; i < BENTO_BLOCK_BYTES / sizeof(u64); i++) {
		if (i % (L1_CACHE_BYTES / sizeof(u64)) == 0) {
			prefetch(x + i + 3 * BENTO_BLOCK_BYTES / sizeof(u64));
			prefetch(y + i + 3 * BENTO_BLOCK_BYTES / sizeof(u64));
			prefetch(z + i + 3 * BENTO_BLOCK_BYTES / sizeof(u64));
		}
		asm("crc32q %1, %0" : "+r" (a) : "r" (x[i]));
		asm("crc32q %1, %0" : "+r" (b) : "r" (y[i]));
		asm("crc32q %1, %0" : "+r" (c) : "r" (z[i]));
	}
	checksums[0] = ~(u32)a;
	checksums[1] = ~(u32)b;
	checksums[2] = ~(u32)c;
	return true;
}

#else

static bool bento_crc32c_three(const u8 *const blocks[3], u32 checksums[3])
{
	return false;
}
#endif

/* The inversions before and after are the caller's in the kernel's crc32c. */
uint32_t bento_crc32c(uint32_t crc, const uint8_t *data, size_t len_bytes)
{
	return ~crc32c(~crc, data, len_bytes);
}
EXPORT_SYMBOL_GPL(bento_crc32c);

/* Checksums of up to three blocks, wherever they lie in memory. */
static void bento_crc32c_few(const u8 *const blocks[3], size_t count,
			     u32 *checksums)
{
	size_t i;

	if (count == 3 && bento_crc32c_three(blocks, checksums))
		return;
	for (i = 0; i < count; i++)
		checksums[i] = bento_crc32c(0, blocks[i], BENTO_BLOCK_BYTES);
}

/* The checksum of each block that a bio writes. */
void bento_crc32c_bio(struct bio *bio, u32 *checksums)
{
	const u8 *blocks[3];
	struct folio_iter fi;
	size_t count = 0, at;

	/* Blocks are aligned in folios; without high memory a folio is mapped whole. */
	BUILD_BUG_ON(IS_ENABLED(CONFIG_HIGHMEM));
	bio_for_each_folio_all(fi, bio) {
		for (at = 0; at < fi.length; at += BENTO_BLOCK_BYTES) {
			blocks[count++] = folio_address(fi.folio) + fi.offset + at;
			if (count < 3)
				continue;
			bento_crc32c_few(blocks, count, checksums);
			checksums += count;
			count = 0;
		}
	}
	bento_crc32c_few(blocks, count, checksums);
}
