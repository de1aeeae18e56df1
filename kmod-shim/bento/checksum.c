// SPDX-License-Identifier: GPL-2.0 OR MIT
/* CRC-32C, for file systems and for the data that they never see. */
#include <linux/crc32c.h>
#include <linux/unaligned.h>

#include "bento.h"

#if defined(CONFIG_UML) && defined(CONFIG_X86_64)

/*
 * User-mode Linux has no hardware-backed crc32c(). The instruction needs no
 * vector registers, so it can be used as it is.
 */
#include <asm/cpufeature.h>

static u32 bento_crc32c_raw(u32 crc, const u8 *data, size_t len)
{
	u64 wide = crc;

	if (!boot_cpu_has(X86_FEATURE_XMM4_2))
		return crc32c(crc, data, len);
	for (; len >= 8; len -= 8, data += 8)
		asm("crc32q %1, %0"
		    : "+r" (wide) : "r" (get_unaligned((const u64 *)data)));
	crc = wide;
	for (; len; len--, data++)
		asm("crc32b %1, %0" : "+r" (crc) : "r" (*data));
	return crc;
}

/*
 * The instruction takes three cycles, but a new one can start in each: three
 * blocks side by side take no longer than one.
 */
static size_t bento_crc32c_side_by_side(const u8 *data, size_t blocks,
					u32 *checksums)
{
	size_t done = 0;

	if (!boot_cpu_has(X86_FEATURE_XMM4_2))
		return 0;
	for (; blocks - done >= 3; done += 3) {
		const u64 *words = (const u64 *)(data + done * BENTO_BLOCK_BYTES);
		const size_t count = BENTO_BLOCK_BYTES / sizeof(u64);
		u64 a = U32_MAX, b = U32_MAX, c = U32_MAX;
		size_t i;

		for (i = 0; i < count; i++) {
			asm("crc32q %1, %0" : "+r" (a) : "r" (words[i]));
			asm("crc32q %1, %0" : "+r" (b) : "r" (words[i + count]));
			asm("crc32q %1, %0"
			    : "+r" (c) : "r" (words[i + 2 * count]));
		}
		checksums[done] = ~(u32)a;
		checksums[done + 1] = ~(u32)b;
		checksums[done + 2] = ~(u32)c;
	}
	return done;
}

#else

static size_t bento_crc32c_side_by_side(const u8 *data, size_t blocks,
					u32 *checksums)
{
	return 0;
}

static u32 bento_crc32c_raw(u32 crc, const u8 *data, size_t len)
{
	return crc32c(crc, data, len);
}

#endif

/* The inversions before and after are the caller's in the kernel's crc32c. */
uint32_t bento_crc32c(uint32_t crc, const uint8_t *data, size_t len_bytes)
{
	return ~bento_crc32c_raw(~crc, data, len_bytes);
}
EXPORT_SYMBOL_GPL(bento_crc32c);

/* Checksums of blocks that lie side by side in memory. */
void bento_crc32c_blocks(const u8 *data, size_t blocks, u32 *checksums)
{
	size_t done = bento_crc32c_side_by_side(data, blocks, checksums);

	for (; done < blocks; done++)
		checksums[done] = bento_crc32c(0, data + done * BENTO_BLOCK_BYTES,
					       BENTO_BLOCK_BYTES);
}
