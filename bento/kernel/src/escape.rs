//! The way out of an operation that can't go on.
//!
//! A panic must not kill the kernel, and nothing here unwinds. Each operation starts in
//! [`guarded`], which remembers the stack pointer; a panic, or a lock that a panic has left held
//! for ever, declares the mount failed and goes straight back there. What the abandoned frames
//! owned is leaked, and the locks they held stay held: nobody enters a failed mount again, and
//! whoever is inside and waits for such a lock leaves in the same way.

use crate::{abi, convert};
use bento_api::{Errno, Result};
use core::ffi::c_void;

/// A closure that [`run_guarded`] calls through assembly.
#[repr(C)]
struct Guarded {
    run: unsafe extern "C" fn(*mut c_void),
    data: *mut c_void,
}

/// Runs an operation and returns its status to C: `-EIO` if it was left by [`leave`].
pub(crate) fn guarded<F: FnOnce() -> Result<()>>(body: F) -> i32 {
    struct State<F> {
        body: Option<F>,
        result: Result<()>,
    }
    unsafe extern "C" fn run<F: FnOnce() -> Result<()>>(data: *mut c_void) {
        // SAFETY: `data` is the state below, which outlives the call and isn't used during it.
        let state = unsafe { &mut *data.cast::<State<F>>() };
        if let Some(body) = state.body.take() {
            state.result = body();
        }
    }

    // SAFETY: asks for a pointer that belongs to this thread's call, nothing more.
    let slot = unsafe { abi::bento_escape_slot() };
    if slot.is_null() {
        return -Errno::EIO.raw();
    }
    let mut state = State {
        body: Some(body),
        result: Err(Errno::EIO),
    };
    let mut call = Guarded {
        run: run::<F>,
        data: (&raw mut state).cast(),
    };
    // SAFETY: the slot is valid for the whole operation, and `call` until this returns.
    let escaped = unsafe { bento_guard(slot, &raw mut call) };
    if escaped != 0 {
        return -Errno::EIO.raw();
    }
    convert::status(state.result)
}

/// Leaves the operation that this thread is in. Its mount has failed.
pub(crate) fn leave() -> ! {
    // SAFETY: marks the mount of the current call as failed; without a call it does nothing.
    // The slot, if there is one, belongs to that call.
    let stack = unsafe {
        abi::bento_fail_mount();
        let slot = abi::bento_escape_slot();
        if slot.is_null() {
            core::ptr::null_mut()
        } else {
            *slot
        }
    };
    if !stack.is_null() {
        // SAFETY: `bento_guard` stored it and has not returned: this thread is in its call.
        unsafe { bento_escape(stack) }
    }
    // Outside of every operation there is nowhere to go back to: this thread ends here.
    loop {
        // SAFETY: an invalid opcode is an oops of the current thread.
        unsafe { core::arch::asm!("ud2") }
    }
}

unsafe extern "C" {
    /// Stores the stack pointer in `slot` and runs `call`; returns 0, or 1 if it was left.
    fn bento_guard(slot: *mut *mut c_void, call: *mut Guarded) -> u32;
    /// Makes the `bento_guard` that stored `stack` return 1.
    fn bento_escape(stack: *mut c_void) -> !;
}

/// The indirect call, in Rust so that the compiler guards it as the kernel's flags ask.
// SAFETY: the name is ours alone, and only the assembly below refers to it.
#[unsafe(no_mangle)]
unsafe extern "C" fn bento_run_guarded(call: *mut Guarded) {
    // SAFETY: `guarded` passed a valid closure.
    unsafe { ((*call).run)((*call).data) }
}

/// How a function returns: kernels built with return thunks patch them at run time.
#[cfg(all(target_os = "none", bento_stock_kernel))]
macro_rules! ret {
    () => {
        "jmp __x86_return_thunk"
    };
}
#[cfg(all(target_os = "none", not(bento_stock_kernel)))]
macro_rules! ret {
    () => {
        "ret; int3"
    };
}

// The registers that a C function preserves are on the stack while the call runs, so both ways
// back restore them. objtool can't follow the second way and is told not to try.
#[cfg(target_os = "none")]
core::arch::global_asm!(
    ".pushsection .text.bento_guard, \"ax\"",
    ".balign 16",
    ".globl bento_guard",
    ".type bento_guard, @function",
    "bento_guard:",
    "endbr64",
    "push rbp",
    "mov rbp, rsp",
    "push rbx",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "sub rsp, 8",
    "mov [rdi], rsp",
    "mov rdi, rsi",
    "call bento_run_guarded",
    "xor eax, eax",
    "2:",
    "add rsp, 8",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbx",
    "pop rbp",
    ret!(),
    ".size bento_guard, . - bento_guard",
    ".globl bento_escape",
    ".type bento_escape, @function",
    "bento_escape:",
    "endbr64",
    "mov rsp, rdi",
    "mov eax, 1",
    "jmp 2b",
    ".size bento_escape, . - bento_escape",
    ".popsection",
    // R: the linker's garbage collection must keep it.
    ".pushsection .discard.func_stack_frame_non_standard, \"awR\"",
    ".long bento_escape - .",
    ".popsection",
);

#[cfg(target_os = "none")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    crate::env::log_current(format_args!("{info}"));
    leave()
}
