//! What memfs does with names, in the simulator.
#![forbid(unsafe_code)]

use bento_api::{Errno, FileKind, RenameFlags, SetAttr, SetTime, Time};
use bento_memfs::MemFs;
use bento_sim::{Sim, SimDisk, SimEnv};

fn mount() -> Sim<MemFs<SimEnv>> {
    Sim::mount(SimDisk::new(0), 1).unwrap()
}

fn names(sim: &Sim<MemFs<SimEnv>>, path: &[u8]) -> Vec<String> {
    let entries = sim.readdir(path).unwrap().into_iter();
    entries.map(|entry| String::from_utf8(entry.name).unwrap()).collect()
}

fn nlink(sim: &Sim<MemFs<SimEnv>>, path: &[u8]) -> u32 {
    sim.stat(path).unwrap().nlink
}

#[test]
fn names_come_and_go() {
    let sim = mount();
    sim.mkdir(b"/dir", 0o755).unwrap();
    sim.write_file(b"/dir/file", b"contents").unwrap();
    sim.symlink(b"dir/file", b"/link").unwrap();
    sim.mknod(b"/pipe", FileKind::Fifo, 0o600, 0).unwrap();
    assert_eq!(names(&sim, b"/"), ["dir", "link", "pipe"]);
    assert_eq!(sim.mkdir(b"/dir", 0o755), Err(Errno::EEXIST));
    assert_eq!(sim.readlink(b"/link").unwrap(), b"dir/file");
    assert_eq!(sim.read_file(b"/dir/../dir/file").unwrap(), b"contents");
    assert_eq!([nlink(&sim, b"/"), nlink(&sim, b"/dir"), nlink(&sim, b"/dir/file")], [3, 2, 1]);

    assert_eq!(sim.unlink(b"/dir"), Err(Errno::EISDIR));
    assert_eq!(sim.rmdir(b"/dir"), Err(Errno::ENOTEMPTY));
    assert_eq!(sim.rmdir(b"/link"), Err(Errno::ENOTDIR));
    sim.unlink(b"/dir/file").unwrap();
    sim.rmdir(b"/dir").unwrap();
    assert_eq!(nlink(&sim, b"/"), 2);
    sim.unmount().unwrap();
}

#[test]
fn links_share_an_inode_that_lives_while_it_is_open() {
    let sim = mount();
    sim.write_file(b"/one", b"shared").unwrap();
    sim.link(b"/one", b"/two").unwrap();
    assert_eq!(sim.link(b"/one", b"/two"), Err(Errno::EEXIST));
    assert_eq!(nlink(&sim, b"/two"), 2);
    let file = sim.open(b"/two").unwrap();
    sim.unlink(b"/one").unwrap();
    sim.unlink(b"/two").unwrap();
    assert_eq!(sim.fstat(&file).unwrap().nlink, 0);
    assert_eq!(sim.read(&file, 0, 100).unwrap(), b"shared");
    let ino = sim.fstat(&file).unwrap().ino;
    sim.close(file);
    use bento_api::FileSystem;
    assert_eq!(sim.fs().load(ino), Err(Errno::ESTALE));
    sim.unmount().unwrap();
}

#[test]
fn rename_replaces_refuses_and_exchanges() {
    let sim = mount();
    for dir in [b"/a".as_slice(), b"/b", b"/a/sub"] {
        sim.mkdir(dir, 0o755).unwrap();
    }
    sim.write_file(b"/file", b"1").unwrap();
    sim.write_file(b"/b/file", b"2").unwrap();
    let replace = RenameFlags::Replace;
    assert_eq!(sim.rename(b"/file", b"/b/file", RenameFlags::NoReplace), Err(Errno::EEXIST));
    assert_eq!(sim.rename(b"/a", b"/a/sub/x", replace), Err(Errno::EINVAL));
    assert_eq!(sim.rename(b"/a/sub", b"/a", replace), Err(Errno::ENOTEMPTY));
    assert_eq!(sim.rename(b"/a", b"/b", replace), Err(Errno::ENOTEMPTY));
    assert_eq!(sim.rename(b"/file", b"/none", RenameFlags::Exchange), Err(Errno::ENOENT));

    sim.rename(b"/a/sub", b"/file", RenameFlags::Exchange).unwrap();
    assert_eq!([nlink(&sim, b"/"), nlink(&sim, b"/a")], [5, 2]);
    assert_eq!(sim.stat(b"/file/..").unwrap().ino, sim.stat(b"/").unwrap().ino);
    sim.rename(b"/a/sub", b"/b/file", replace).unwrap();
    assert_eq!(sim.read_file(b"/b/file").unwrap(), b"1");
    sim.rename(b"/file", b"/a", replace).unwrap();
    assert_eq!((names(&sim, b"/"), nlink(&sim, b"/")), (vec!["b".into(), "a".into()], 4));
    sim.unmount().unwrap();
}

/// A cookie goes on behind its entry, whatever else comes and goes.
#[test]
fn cookies_stay_good() {
    let sim = mount();
    for number in 0..10 {
        sim.write_file(format!("/{number}").as_bytes(), b"").unwrap();
    }
    let first = sim.readdir_from(b"/", 0, 4).unwrap();
    for number in [0, 3, 5] {
        sim.unlink(format!("/{number}").as_bytes()).unwrap();
    }
    sim.write_file(b"/new", b"").unwrap();
    let rest = sim.readdir_from(b"/", first.last().unwrap().next_cookie, 100).unwrap();
    let rest: Vec<_> = rest.iter().map(|entry| entry.name.as_slice()).collect();
    assert_eq!(rest, [b"4".as_slice(), b"6", b"7", b"8", b"9", b"new"]);
    sim.unmount().unwrap();
}

#[test]
fn attributes_are_set() {
    let sim = mount();
    sim.write_file(b"/file", b"x").unwrap();
    let to = Time { seconds: -5, nanoseconds: 7 };
    let set = SetAttr {
        mode: Some(0o4711),
        uid: Some(1),
        mtime: Some(SetTime::To(to)),
        ..SetAttr::default()
    };
    let attr = sim.setattr(b"/file", &set).unwrap();
    assert_eq!((attr.mode, attr.uid, attr.gid, attr.mtime), (0o104711, 1, 0, to));
    assert!(attr.ctime > attr.btime);
    assert_eq!(attr, sim.stat(b"/file").unwrap());
    sim.unmount().unwrap();
}
