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

#else

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
