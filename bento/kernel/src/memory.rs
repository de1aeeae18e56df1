//! The kernel's memory as Rust's heap. Small allocations don't fail; a large one that does, and
//! was not asked for with `try_reserve`, is a panic.
#![cfg(target_os = "none")]

use crate::abi;
use core::alloc::{GlobalAlloc, Layout};

struct KernelMemory;

#[global_allocator]
static MEMORY: KernelMemory = KernelMemory;

// SAFETY: bento_alloc returns NULL or memory of at least this size and alignment, which is ours
// until bento_free.
unsafe impl GlobalAlloc for KernelMemory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: any size and power of two will do.
        unsafe { abi::bento_alloc(layout.size(), layout.align(), false).cast() }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { abi::bento_alloc(layout.size(), layout.align(), true).cast() }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller got it from `alloc`, with this layout.
        unsafe { abi::bento_free(memory.cast(), layout.size()) }
    }
}
