//! logfs against a model in memory: random operations with remounts and power cuts in between.
//!
//! After a power cut the file system must be in a state that it went through, not older than the
//! last one that was made durable. Operations that take several transactions (large writes) may be
//! cut in between: there a file's blocks may be those of either state.
#![forbid(unsafe_code)]

mod model;

use bento_api::{FallocateMode, FileSystem, Level, RenameFlags, SetXattr};
use bento_sim::SimDisk;
use logfs_tests::{Mounted, check, fresh};
use model::{Model, Outcome};
use proptest::prelude::*;

const SIZE_BYTES: u64 = 24 << 20;

#[derive(Clone, Debug)]
enum Op {
    Create(u8),
    Mkdir(u8),
    Symlink(u8, u8),
    Link(u8, u8),
    Unlink(u8),
    Rmdir(u8),
    Rename(u8, u8, u8),
    Write {
        path: u8,
        offset: u32,
        len: u32,
        byte: u8,
    },
    Truncate {
        path: u8,
        size: u32,
    },
    Fallocate {
        path: u8,
        mode: u8,
        offset: u32,
        len: u32,
    },
    SetXattr {
        path: u8,
        name: u8,
        len: u32,
    },
    Fsync(u8),
    Sync,
    Background,
    Remount,
    Crash(u64),
    /// The power goes after so many writes and flushes, while a file is written and synced.
    CrashWithin {
        path: u8,
        byte: u8,
        count: u64,
        seed: u64,
    },
}

/// Sixteen paths over three directories, so that operations meet each other.
fn path(index: u8) -> Vec<u8> {
    let dir = ["", "/d0", "/d1", "/d0/d2"][usize::from(index >> 3) & 3];
    let name = ["d0", "d1", "d2", "a", "b", "c", "dd", "ee"][usize::from(index) & 7];
    format!("{dir}/{name}").into_bytes()
}

fn op() -> impl Strategy<Value = Op> {
    let p = || 0u8..32;
    let offset = || prop_oneof![0u32..9000, 0u32..400_000];
    let len = || prop_oneof![1u32..6000, 1u32..200_000];
    prop_oneof![
        4 => p().prop_map(Op::Create),
        3 => p().prop_map(Op::Mkdir),
        1 => (p(), p()).prop_map(|(a, b)| Op::Symlink(a, b)),
        2 => (p(), p()).prop_map(|(a, b)| Op::Link(a, b)),
        3 => p().prop_map(Op::Unlink),
        1 => p().prop_map(Op::Rmdir),
        4 => (p(), p(), 0u8..3).prop_map(|(a, b, c)| Op::Rename(a, b, c)),
        8 => (p(), offset(), len(), any::<u8>())
            .prop_map(|(path, offset, len, byte)| Op::Write { path, offset, len, byte }),
        2 => (p(), offset()).prop_map(|(path, size)| Op::Truncate { path, size }),
        2 => (p(), 0u8..4, offset(), len())
            .prop_map(|(path, mode, offset, len)| Op::Fallocate { path, mode, offset, len }),
        1 => (p(), 0u8..3, prop_oneof![0u32..50, 0u32..9000])
            .prop_map(|(path, name, len)| Op::SetXattr { path, name, len }),
        2 => p().prop_map(Op::Fsync),
        1 => Just(Op::Sync),
        1 => Just(Op::Background),
        1 => Just(Op::Remount),
        1 => any::<u64>().prop_map(Op::Crash),
        2 => (p(), any::<u8>(), 0u64..8, any::<u64>())
            .prop_map(|(path, byte, count, seed)| Op::CrashWithin { path, byte, count, seed }),
    ]
}

/// A run: the file system, and the states it may be found in after a power cut.
struct Run {
    sim: Mounted,
    /// From the last durable state to the present one.
    states: Vec<Model>,
}

impl Run {
    fn now(&self) -> &Model {
        self.states.last().expect("there is always a present state")
    }

    fn durable(&mut self) {
        self.states.drain(..self.states.len() - 1);
    }

    fn both(
        &mut self,
        real: impl FnOnce(&Mounted) -> bento_api::Result<()>,
        model: impl FnOnce(&mut Model) -> Outcome,
    ) {
        let mut next = self.now().clone();
        let expected = model(&mut next);
        let result = real(&self.sim);
        match (expected, result) {
            (Ok(()), Ok(())) => self.states.push(next),
            (Err(expected), Err(errno)) => assert_eq!(errno, expected),
            (expected, result) => panic!("the model says {expected:?}, logfs {result:?}"),
        }
    }

    fn on_file(
        &mut self,
        path: &[u8],
        real: impl FnOnce(&Mounted, &bento_sim::File) -> bento_api::Result<()>,
        model: impl FnOnce(&mut Vec<u8>),
    ) {
        if !self.now().is_file(path) {
            return;
        }
        self.both(
            |sim| {
                let file = sim.open(path)?;
                let result = real(sim, &file);
                sim.close(file);
                result
            },
            |state| {
                model(state.contents(path));
                Ok(())
            },
        );
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Create(p) => {
                let path = path(p);
                let make = |sim: &Mounted| sim.create(&path, 0o644).map(|file| sim.close(file));
                self.both(make, |state| state.create(&path));
            }
            Op::Mkdir(p) => self.both(|sim| sim.mkdir(&path(p), 0o755), |s| s.mkdir(&path(p))),
            Op::Symlink(a, b) => {
                let (target, link) = (path(a), path(b));
                self.both(
                    |sim| sim.symlink(&target, &link),
                    |s| s.symlink(&target, &link),
                );
            }
            Op::Link(a, b) => {
                self.both(
                    |sim| sim.link(&path(a), &path(b)),
                    |s| s.link(&path(a), &path(b)),
                );
            }
            Op::Unlink(p) => self.both(|sim| sim.unlink(&path(p)), |s| s.unlink(&path(p))),
            Op::Rmdir(p) => self.both(|sim| sim.rmdir(&path(p)), |s| s.rmdir(&path(p))),
            Op::Rename(a, b, flags) => {
                let flags = [
                    RenameFlags::Replace,
                    RenameFlags::NoReplace,
                    RenameFlags::Exchange,
                ][usize::from(flags)];
                let (from, to) = (path(a), path(b));
                self.both(
                    |sim| sim.rename(&from, &to, flags),
                    |s| s.rename(&from, &to, flags),
                );
            }
            Op::Write {
                path: p,
                offset,
                len,
                byte,
            } => {
                let data: Vec<u8> = (0..len)
                    .map(|n| byte.wrapping_add((n / 512) as u8))
                    .collect();
                let (from, to) = (offset as usize, (offset + len) as usize);
                self.on_file(
                    &path(p),
                    |sim, file| {
                        let mut done = 0;
                        while done < data.len() {
                            done += sim.write(file, (from + done) as u64, &data[done..])?;
                        }
                        Ok(())
                    },
                    |contents| {
                        contents.resize(contents.len().max(to), 0);
                        contents[from..to].copy_from_slice(&data);
                    },
                );
            }
            Op::Truncate { path: p, size } => self.on_file(
                &path(p),
                |sim, file| sim.truncate(file, size.into()),
                |contents| contents.resize(size as usize, 0),
            ),
            Op::Fallocate {
                path: p,
                mode,
                offset,
                len,
            } => self.fallocate(p, mode, offset, len),
            Op::SetXattr { path: p, name, len } => {
                let (path, name) = (path(p), [b"user.", [b'a' + name].as_slice()].concat());
                let value = vec![len as u8; len as usize];
                self.both(
                    |sim| sim.setxattr(&path, &name, Some(&value), SetXattr::Any),
                    |state| state.setxattr(&path, &name, &value),
                );
            }
            Op::Fsync(p) => {
                if self.sim.fsync_path(&path(p)).is_ok() {
                    // The log is in order: what is durable is everything up to the last change of
                    // this file, of which the model knows no more than that it is not newer.
                    self.fsynced(&path(p));
                }
            }
            Op::Sync => {
                self.sim.sync().expect("sync");
                self.durable();
            }
            Op::Background => {
                self.sim.background();
                self.sim.clean();
            }
            Op::Remount => {
                self.sim.remount().expect("remount");
                check(self.sim.disk());
                self.durable();
                self.now().check(&self.sim, None);
            }
            Op::Crash(seed) => self.crash(seed),
            Op::CrashWithin {
                path: p,
                byte,
                count,
                seed,
            } => {
                self.sim.disk().cut_power_after(count);
                self.write_and_sync(&path(p), byte);
                self.crash(seed);
            }
        }
    }

    fn fallocate(&mut self, p: u8, mode: u8, offset: u32, len: u32) {
        let end = (offset + len) as usize;
        let (mode, keep, zero) = match mode {
            0 => (FallocateMode::Allocate { keep_size: false }, false, false),
            1 => (FallocateMode::Allocate { keep_size: true }, true, false),
            2 => (FallocateMode::Punch, true, true),
            _ => (FallocateMode::Zero { keep_size: false }, false, true),
        };
        self.on_file(
            &path(p),
            |sim, file| sim.fallocate(file, mode, offset.into(), len.into()),
            |contents| {
                if !keep {
                    contents.resize(contents.len().max(end), 0);
                }
                if zero {
                    let end = end.min(contents.len());
                    if let Some(range) = contents.get_mut(offset as usize..end) {
                        range.fill(0);
                    }
                }
            },
        );
    }

    /// Overwrites the start of a file and makes it durable, as far as the power lasts.
    fn write_and_sync(&mut self, path: &[u8], byte: u8) {
        let data = vec![byte; 9000];
        if self.now().is_file(path)
            && let Ok(file) = self.sim.open(path)
        {
            let mut next = self.now().clone();
            let contents = next.contents(path);
            contents.resize(contents.len().max(data.len()), 0);
            contents[..data.len()].copy_from_slice(&data);
            self.states.push(next);
            let written = self.sim.write(&file, 0, &data);
            if written == Ok(data.len()) && self.sim.fsync(&file).is_ok() {
                self.fsynced(path);
            }
            self.sim.close(file);
        }
        if self.sim.sync().is_ok() && !self.sim.disk().has_no_power() {
            self.durable();
        }
    }

    /// After fsync of a path: states in which that file differs from now are out.
    fn fsynced(&mut self, path: &[u8]) {
        let now = self.now().view(path);
        let differs = self
            .states
            .iter()
            .rposition(|state| state.view(path) != now);
        if let Some(last) = differs {
            self.states.drain(..=last);
        }
    }

    fn crash(&mut self, seed: u64) {
        check(&SimDisk::from_image(self.sim.disk().crash_image(seed)));
        self.sim.crash(seed).expect("mount after a power cut");
        let found = (0..self.states.len())
            .rev()
            .find(|&index| self.states[index].matches(&self.sim, self.states.get(index + 1)));
        let Some(index) = found else {
            self.now().check(&self.sim, None);
            panic!("in none of the {} states it may be in", self.states.len());
        };
        let found = Model::read(&self.sim);
        assert!(index < self.states.len());
        self.states = vec![found];
    }
}

fn run(ops: &[Op]) {
    let mut run = Run {
        sim: fresh(SIZE_BYTES),
        states: vec![Model::default()],
    };
    for op in ops {
        run.apply(op);
        for (level, line) in run.sim.env().logged() {
            assert!(level > Level::Error, "{line}");
        }
    }
    run.now().check(&run.sim, None);
    let before = run.sim.fs().statfs().expect("statfs").blocks_free;
    run.sim.remount().expect("remount");
    run.now().check(&run.sim, None);
    let after = run.sim.fs().statfs().expect("statfs").blocks_free;
    // Frees that were under way are through now; nothing may have leaked.
    assert!(
        after >= before,
        "{before} blocks free before a remount, {after} after"
    );
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn logfs_does_what_the_model_does(ops in prop::collection::vec(op(), 1..120)) {
        run(&ops);
    }
}
