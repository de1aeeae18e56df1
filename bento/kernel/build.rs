//! Makes Rust declarations of the C ABI. Only our own header is read, so the output is the same
//! for every kernel.

use std::path::PathBuf;
use std::{env, error::Error};

const HEADER: &str = "../../kmod-shim/include/bento_abi.h";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={HEADER}");
    // Set by whoever builds for a kernel with return thunks.
    println!("cargo::rustc-check-cfg=cfg(bento_stock_kernel)");
    let bindings = bindgen::Builder::default()
        .header(HEADER)
        // The host's: fixed-width types are the same in the kernel, and its libc headers exist.
        .clang_arg("--target=x86_64-linux-gnu")
        .use_core()
        .ctypes_prefix("core::ffi")
        .allowlist_item("(bento|BENTO)_.*")
        .derive_default(true)
        .layout_tests(false)
        .generate()?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    bindings.write_to_file(out.join("abi.rs"))?;
    Ok(())
}
