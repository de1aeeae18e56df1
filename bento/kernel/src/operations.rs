//! The table of operations that a module registers: each entry turns a call of the ABI into one
//! of [`FileSystem`].
//!
//! The table is a struct literal without a rest: an operation that is new in the ABI and has no
//! entry here doesn't compile.

use crate::escape::guarded;
use crate::sink::Sink;
use crate::{KernelEnv, abi, convert};
use alloc::boxed::Box;
use alloc::vec::Vec;
use bento_api::{Errno, FileSystem, Ino, MountOptions};
use core::marker::PhantomData;

/// A file system's operations, as `bento_register` takes them.
#[repr(transparent)]
pub struct Operations(abi::bento_operations);

// SAFETY: functions and constants; nobody writes to them.
unsafe impl Sync for Operations {}

impl Operations {
    /// The operations of `F`.
    pub const fn of<F: FileSystem<KernelEnv>>() -> Self {
        Operations(Table::<F>::OPERATIONS)
    }
}

const NAME_BYTES: usize = 32;

/// Of names that only the administrator may see (xattr(7)).
const TRUSTED_PREFIX: &[u8] = b"trusted.";

const PARTS_MAX: usize = abi::BENTO_WRITTEN_PARTS_MAX as usize;

struct Table<F>(PhantomData<F>);

/// The file system behind a pointer of the ABI.
///
/// # Safety
/// `mount` made it, and `destroy` has not been called.
unsafe fn file_system<'a, F>(fs: *mut abi::bento_fs) -> &'a F {
    // SAFETY: `mount` made the pointer from a `Box<F>`.
    unsafe { &*fs.cast::<F>() }
}

unsafe fn mount_options<'a>(options: *const abi::bento_mount_options) -> MountOptions<'a> {
    // SAFETY: the caller passes what the kernel passed, which is valid during the operation.
    unsafe {
        MountOptions {
            read_only: (*options).read_only,
            options: convert::bytes((*options).options),
        }
    }
}

unsafe fn xattrs<'a>(new: &abi::bento_new_inode) -> Vec<(&'a [u8], &'a [u8])> {
    if new.xattr_count == 0 {
        return Vec::new();
    }
    // SAFETY: the caller passes what the kernel passed, which is valid during the operation.
    unsafe {
        core::slice::from_raw_parts(new.xattrs, new.xattr_count)
            .iter()
            .map(|xattr| (convert::bytes(xattr.name), convert::bytes(xattr.value)))
            .collect()
    }
}

/// Declares functions of the table: in each, the file system is `fs` and the other arguments are
/// as the ABI has them. What the body makes of them it returns as a [`Result`].
macro_rules! operations {
    ($($name:ident($fs:ident $(, $arg:ident: $type:ty)* $(,)?) $body:block)*) => {
        $(
            unsafe extern "C" fn $name<F: FileSystem<KernelEnv>>(
                $fs: *mut abi::bento_fs, $($arg: $type),*
            ) -> i32 {
                // SAFETY: the kernel calls with the file system that `mount` returned, and with
                // pointers that are valid, aligned and its thread's own during the call.
                guarded(|| unsafe {
                    let $fs = file_system::<F>($fs);
                    $body
                })
            }
        )*
    };
}

operations! {
    unmount(fs) { fs.unmount() }
    remount(fs, options: *const abi::bento_mount_options) {
        fs.remount(&mount_options(options))
    }
    show_options(fs, out: *mut abi::bento_sink) {
        let mut text = Vec::new();
        fs.show_options(&mut text);
        Sink::new(out).put(&text);
        Ok(())
    }
    root(fs, ino: *mut u64) {
        *ino = fs.root().0;
        Ok(())
    }
    statfs(fs, out: *mut abi::bento_statfs) {
        *out = fs.statfs()?.into();
        Ok(())
    }
    sync(fs, wait: bool) { fs.sync(wait) }
    freeze(fs) { fs.freeze() }
    thaw(fs) {
        fs.thaw();
        Ok(())
    }
    background(fs, next_ms: *mut u64) {
        *next_ms = fs.background();
        Ok(())
    }
    clean(fs, out: *mut abi::bento_sink, next_ms: *mut u64) {
        let mut moved = Vec::new();
        *next_ms = fs.clean(&mut moved);
        let mut sink = Sink::new(out);
        for part in moved {
            for word in [part.ino.0, part.offset_bytes, part.len_bytes] {
                sink.put(&word.to_ne_bytes());
            }
        }
        Ok(())
    }
    trim(fs, start: u64, end: u64, min_bytes: u64, trimmed: *mut u64) {
        *trimmed = fs.trim(start..end, min_bytes)?;
        Ok(())
    }
    shrink_count(fs, count: *mut usize) {
        *count = fs.shrink_count();
        Ok(())
    }
    shrink(fs, count: usize, freed: *mut usize) {
        *freed = fs.shrink(count);
        Ok(())
    }
    shutdown(fs) {
        fs.shutdown();
        Ok(())
    }
    counters(_fs, names: *mut abi::bento_sink) {
        let mut sink = Sink::new(names);
        for counter in F::COUNTERS {
            sink.put(counter.name.as_bytes());
            sink.put(&[0]);
        }
        Ok(())
    }
    counter(fs, index: u32, value: *mut abi::bento_sink) {
        let counter = F::COUNTERS.get(index as usize).ok_or(Errno::EINVAL)?;
        counter.show(fs, &mut Sink::new(value)).map_err(|_| Errno::EIO)
    }
    load(fs, ino: u64, attr: *mut abi::bento_attr) {
        *attr = fs.load(Ino(ino))?.into();
        Ok(())
    }
    forget(fs, ino: u64) {
        fs.forget(Ino(ino));
        Ok(())
    }
    getattr(fs, ino: u64, attr: *mut abi::bento_attr) {
        *attr = fs.getattr(Ino(ino))?.into();
        Ok(())
    }
    setattr(fs, ino: u64, set: *const abi::bento_setattr, attr: *mut abi::bento_attr) {
        *attr = fs.setattr(Ino(ino), &(&*set).into())?.into();
        Ok(())
    }
    lookup(fs, dir: u64, name: abi::bento_bytes, ino: *mut u64) {
        *ino = fs.lookup(Ino(dir), convert::bytes(name))?.0;
        Ok(())
    }
    parent(fs, dir: u64, ino: *mut u64) {
        *ino = fs.parent(Ino(dir))?.0;
        Ok(())
    }
    create(
        fs, dir: u64, name: abi::bento_bytes, new: *const abi::bento_new_inode,
        changed: *mut abi::bento_changed,
    ) {
        let xattrs = xattrs(&*new);
        let new = convert::new_inode(&*new, &xattrs);
        *changed = fs.create(Ino(dir), convert::bytes(name), &new)?.into();
        Ok(())
    }
    tmpfile(fs, dir: u64, new: *const abi::bento_new_inode, attr: *mut abi::bento_attr) {
        let xattrs = xattrs(&*new);
        let new = convert::new_inode(&*new, &xattrs);
        *attr = fs.tmpfile(Ino(dir), &new)?.into();
        Ok(())
    }
    link(
        fs, ino: u64, dir: u64, name: abi::bento_bytes, changed: *mut abi::bento_changed,
    ) {
        *changed = fs.link(Ino(ino), Ino(dir), convert::bytes(name))?.into();
        Ok(())
    }
    unlink(fs, dir: u64, name: abi::bento_bytes, changed: *mut abi::bento_changed) {
        *changed = fs.unlink(Ino(dir), convert::bytes(name))?.into();
        Ok(())
    }
    rmdir(fs, dir: u64, name: abi::bento_bytes, changed: *mut abi::bento_changed) {
        *changed = fs.rmdir(Ino(dir), convert::bytes(name))?.into();
        Ok(())
    }
    rename(
        fs, from_dir: u64, from_name: abi::bento_bytes, to_dir: u64, to_name: abi::bento_bytes,
        flags: u32, renamed: *mut abi::bento_renamed,
    ) {
        let flags = convert::rename_flags(flags)?;
        let (from_name, to_name) = (convert::bytes(from_name), convert::bytes(to_name));
        *renamed = fs
            .rename(Ino(from_dir), from_name, Ino(to_dir), to_name, flags)?
            .into();
        Ok(())
    }
    readdir(fs, dir: u64, cookie: u64, out: *mut abi::bento_sink) {
        let mut sink = Sink::new(out);
        fs.readdir(Ino(dir), cookie, &mut |entry| sink.put_entry(entry))
    }
    readlink(fs, ino: u64, target: *mut abi::bento_sink) {
        let mut bytes = Vec::new();
        fs.readlink(Ino(ino), &mut bytes)?;
        Sink::new(target).put(&bytes);
        Ok(())
    }
    getxattr(fs, ino: u64, name: abi::bento_bytes, value: *mut abi::bento_sink) {
        let mut bytes = Vec::new();
        fs.getxattr(Ino(ino), convert::bytes(name), &mut bytes)?;
        Sink::new(value).put(&bytes);
        Ok(())
    }
    setxattr(
        fs, ino: u64, name: abi::bento_bytes, value: abi::bento_bytes, how: u32,
        attr: *mut abi::bento_attr,
    ) {
        let how = convert::set_xattr(how)?;
        let content = (!value.data.is_null()).then(|| convert::bytes(value));
        *attr = fs
            .setxattr(Ino(ino), convert::bytes(name), content, how)?
            .into();
        Ok(())
    }
    listxattr(fs, ino: u64, trusted: bool, names: *mut abi::bento_sink) {
        let mut sink = Sink::new(names);
        fs.listxattr(Ino(ino), &mut |name| {
            if trusted || !name.starts_with(TRUSTED_PREFIX) {
                sink.put(name);
                sink.put(&[0]);
            }
        })
    }
    map(
        fs, ino: u64, offset_bytes: u64, len_bytes: u64, with_delayed: bool,
        mapping: *mut abi::bento_mapping,
    ) {
        *mapping = fs.map(Ino(ino), offset_bytes, len_bytes, with_delayed)?.into();
        Ok(())
    }
    reserve(
        fs, ino: u64, offset_bytes: u64, len_bytes: u64, mapping: *mut abi::bento_mapping,
    ) {
        *mapping = fs.reserve(Ino(ino), offset_bytes, len_bytes)?.into();
        Ok(())
    }
    unreserve(fs, ino: u64, offset_bytes: u64, len_bytes: u64) {
        fs.unreserve(Ino(ino), offset_bytes, len_bytes);
        Ok(())
    }
    place(
        fs, ino: u64, offset_bytes: u64, len_bytes: u64, mapping: *mut abi::bento_mapping,
    ) {
        *mapping = fs.place(Ino(ino), offset_bytes, len_bytes)?.into();
        Ok(())
    }
    written(
        fs, ino: u64, parts: *const abi::bento_written, count: usize, mtime: *const abi::bento_time,
    ) {
        let parts = core::slice::from_raw_parts(parts, count);
        let mut converted = [convert::written(&abi::bento_written::default()); PARTS_MAX];
        let converted = converted.get_mut(..count).ok_or(Errno::EINVAL)?;
        for (to, from) in converted.iter_mut().zip(parts) {
            *to = convert::written(from);
        }
        fs.written(Ino(ino), converted, mtime.as_ref().map(|&mtime| mtime.into()))
    }
    fallocate(
        fs, ino: u64, mode: u32, keep_size: bool, offset_bytes: u64, len_bytes: u64,
        attr: *mut abi::bento_attr,
    ) {
        let mode = convert::fallocate_mode(mode, keep_size)?;
        *attr = fs.fallocate(Ino(ino), mode, offset_bytes, len_bytes)?.into();
        Ok(())
    }
    fsync(fs, ino: u64, data_only: bool) { fs.fsync(Ino(ino), data_only) }
}

unsafe extern "C" fn mount<F: FileSystem<KernelEnv>>(
    mount: *mut abi::bento_mount,
    options: *const abi::bento_mount_options,
    fs: *mut *mut abi::bento_fs,
) -> i32 {
    // SAFETY: the kernel passes a mount that outlives the file system, and valid pointers.
    guarded(|| unsafe {
        let made = F::mount(KernelEnv::new(mount), &mount_options(options))?;
        *fs = Box::into_raw(Box::new(made)).cast();
        Ok(())
    })
}

unsafe extern "C" fn destroy<F: FileSystem<KernelEnv>>(fs: *mut abi::bento_fs) {
    guarded(|| {
        // SAFETY: `mount` made it from a box, and the kernel calls this once, last.
        drop(unsafe { Box::from_raw(fs.cast::<F>()) });
        Ok(())
    });
}

impl<F: FileSystem<KernelEnv>> Table<F> {
    /// The name with a NUL behind it.
    const NAME: [u8; NAME_BYTES] = {
        let name = F::NAME.as_bytes();
        assert!(
            name.len() < NAME_BYTES,
            "the file system's name is too long"
        );
        let mut text = [0; NAME_BYTES];
        let mut i = 0;
        while i < name.len() {
            text[i] = name[i];
            i += 1;
        }
        text
    };

    const OPERATIONS: abi::bento_operations = abi::bento_operations {
        version: abi::BENTO_ABI_VERSION,
        size_bytes: size_of::<abi::bento_operations>() as u32,
        name: Self::NAME.as_ptr().cast(),
        needs_device: F::NEEDS_DEVICE,
        mount: Some(mount::<F>),
        unmount: Some(unmount::<F>),
        destroy: Some(destroy::<F>),
        remount: Some(remount::<F>),
        show_options: Some(show_options::<F>),
        root: Some(root::<F>),
        statfs: Some(statfs::<F>),
        sync: Some(sync::<F>),
        freeze: Some(freeze::<F>),
        thaw: Some(thaw::<F>),
        background: Some(background::<F>),
        clean: Some(clean::<F>),
        trim: Some(trim::<F>),
        shrink_count: Some(shrink_count::<F>),
        shrink: Some(shrink::<F>),
        shutdown: Some(shutdown::<F>),
        counters: Some(counters::<F>),
        counter: Some(counter::<F>),
        load: Some(load::<F>),
        forget: Some(forget::<F>),
        getattr: Some(getattr::<F>),
        setattr: Some(setattr::<F>),
        lookup: Some(lookup::<F>),
        parent: Some(parent::<F>),
        create: Some(create::<F>),
        tmpfile: Some(tmpfile::<F>),
        link: Some(link::<F>),
        unlink: Some(unlink::<F>),
        rmdir: Some(rmdir::<F>),
        rename: Some(rename::<F>),
        readdir: Some(readdir::<F>),
        readlink: Some(readlink::<F>),
        getxattr: Some(getxattr::<F>),
        setxattr: Some(setxattr::<F>),
        listxattr: Some(listxattr::<F>),
        map: Some(map::<F>),
        reserve: Some(reserve::<F>),
        unreserve: Some(unreserve::<F>),
        place: Some(place::<F>),
        written: Some(written::<F>),
        fallocate: Some(fallocate::<F>),
        fsync: Some(fsync::<F>),
    };
}
