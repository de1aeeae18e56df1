//! What applications can do, one thing at a time.
#![forbid(unsafe_code)]

use bento_api::{Errno, FileKind, FileSystem, RenameFlags, SetXattr};
use bento_sim::{Sim, SimDisk};
use logfs_format::{BLOCK_BYTES, InoAddress, InodeBlockHead};
use logfs_tests::{Mounted, formatted_with, fresh};

const MIB: u64 = 1 << 20;

#[test]
fn an_empty_file_system_mounts_again_and_again() {
    let mut sim = fresh(64 * MIB);
    for _ in 0..3 {
        assert!(sim.readdir(b"/").unwrap().is_empty());
        sim.remount().unwrap();
    }
}

#[test]
fn files_keep_their_contents_over_a_remount() {
    let mut sim = fresh(64 * MIB);
    let data: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    sim.write_file(b"/file", &data).unwrap();
    sim.mkdir(b"/dir", 0o755).unwrap();
    sim.write_file(b"/dir/small", b"hello").unwrap();
    sim.symlink(b"../file", b"/dir/link").unwrap();
    let long = vec![b'x'; 4095];
    sim.symlink(&long, b"/dir/long").unwrap();
    sim.mknod(b"/dir/null", FileKind::CharDevice, 0o666, 0x103)
        .unwrap();
    sim.link(b"/file", b"/dir/hard").unwrap();
    for round in 0..2 {
        assert_eq!(sim.read_file(b"/file").unwrap(), data, "round {round}");
        assert_eq!(sim.read_file(b"/dir/hard").unwrap(), data);
        assert_eq!(sim.read_file(b"/dir/small").unwrap(), b"hello");
        assert_eq!(sim.readlink(b"/dir/link").unwrap(), b"../file");
        assert_eq!(sim.readlink(b"/dir/long").unwrap(), long);
        assert_eq!(sim.stat(b"/dir/null").unwrap().rdev, 0x103);
        assert_eq!(sim.stat(b"/file").unwrap().nlink, 2);
        assert_eq!(sim.stat(b"/").unwrap().nlink, 3);
        assert_eq!(sim.readdir(b"/dir").unwrap().len(), 5);
        sim.remount().unwrap();
    }
}

#[test]
fn a_large_directory_is_found_read_and_emptied() {
    let mut sim = fresh(256 * MIB);
    sim.mkdir(b"/d", 0o755).unwrap();
    let name = |n: u32| format!("/d/a-name-of-some-length-{n:06}").into_bytes();
    const COUNT: u32 = 5000;
    for n in 0..COUNT {
        let file = sim.create(&name(n), 0o644).unwrap();
        sim.close(file);
    }
    assert_eq!(sim.create(&name(77), 0o644).err(), Some(Errno::EEXIST));
    sim.remount().unwrap();
    let entries = sim.readdir(b"/d").unwrap();
    assert_eq!(entries.len(), COUNT as usize);
    for n in (0..COUNT).rev() {
        sim.stat(&name(n)).unwrap();
        sim.unlink(&name(n)).unwrap();
        assert_eq!(sim.stat(&name(n)).err(), Some(Errno::ENOENT));
    }
    assert_eq!(sim.stat(b"/d").unwrap().size_bytes, 0);
    sim.rmdir(b"/d").unwrap();
    sim.remount().unwrap();
    assert!(sim.readdir(b"/").unwrap().is_empty());
}

/// A block that was full is looked through again from where a name has gone.
#[test]
fn names_take_the_places_of_those_that_have_gone() {
    let sim = fresh(64 * MIB);
    sim.mkdir(b"/dir", 0o755).unwrap();
    let size = || sim.stat(b"/dir").unwrap().size_bytes;
    // What it knows of the directory it forgets with it.
    let dir = sim.stat(b"/dir").unwrap().ino;
    sim.fs().load(dir).unwrap();
    let name = |number: u32| format!("/dir/name{number:04}").into_bytes();
    let make = |number| sim.close(sim.create(&name(number), 0o644).unwrap());
    let remove = |number| sim.unlink(&name(number)).unwrap();
    let mut count = 0;
    while size() <= BLOCK_BYTES as u64 {
        make(count);
        count += 1;
    }
    // The last one has begun another block.
    count -= 1;
    remove(count);
    assert_eq!(size(), BLOCK_BYTES as u64);
    for number in (0..count).rev().chain(0..count) {
        remove(number);
        make(number);
        assert_eq!(size(), BLOCK_BYTES as u64, "name {number}");
    }
    for number in (0..count).step_by(3) {
        (number..count.min(number + 2)).for_each(remove);
        (number..count.min(number + 2)).rev().for_each(make);
        assert_eq!(size(), BLOCK_BYTES as u64, "names from {number}");
    }
    (0..count).for_each(remove);
    assert_eq!(size(), 0);
    make(0);
    assert_eq!(size(), BLOCK_BYTES as u64);
    sim.fs().forget(dir);
}

#[test]
fn sparse_files_have_holes_and_fragmented_ones_survive() {
    let mut sim = fresh(64 * MIB);
    let file = sim.create(b"/sparse", 0o644).unwrap();
    for n in 0..500u64 {
        sim.write(&file, n * 3 * 4096, &[n as u8; 4096]).unwrap();
    }
    sim.write(&file, 1 << 44, b"far").unwrap();
    sim.close(file);
    sim.remount().unwrap();
    let file = sim.open(b"/sparse").unwrap();
    assert_eq!(sim.fstat(&file).unwrap().size_bytes, (1 << 44) + 3);
    for n in 0..500u64 {
        assert_eq!(
            sim.read(&file, n * 3 * 4096, 4096).unwrap(),
            [n as u8; 4096]
        );
        assert_eq!(
            sim.read(&file, n * 3 * 4096 + 4096, 4096).unwrap(),
            [0; 4096]
        );
    }
    assert_eq!(sim.read(&file, 1 << 44, 10).unwrap(), b"far");
    assert_eq!(sim.seek_hole(&file, 0).unwrap(), 4096);
    sim.truncate(&file, 5000).unwrap();
    sim.truncate(&file, 20_000).unwrap();
    assert_eq!(sim.read(&file, 4096, 20_000).unwrap(), [0; 20_000 - 4096]);
    sim.close(file);
}

#[test]
fn whoever_looks_at_many_files_in_turn_waits_for_few_blocks() {
    const FILES: usize = 3000;
    let sim = fresh(64 * MIB);
    let path = |number: usize| format!("/file-{number}").into_bytes();
    for number in 0..FILES {
        let file = sim.create(&path(number), 0o644).unwrap();
        sim.close(file);
    }
    let sim: Mounted = Sim::mount(sim.unmount().unwrap(), 2).unwrap();
    let misses = || {
        let counters = <logfs::LogFs<bento_sim::SimEnv> as FileSystem<bento_sim::SimEnv>>::COUNTERS;
        let misses = counters
            .iter()
            .find(|counter| counter.name == "cache_misses");
        let mut text = String::new();
        misses.unwrap().show(sim.fs(), &mut text).unwrap();
        text.parse::<usize>().unwrap()
    };
    let before = misses();
    for number in 0..FILES {
        sim.stat(&path(number)).unwrap();
    }
    let inode_blocks = FILES / 15;
    let missed = misses() - before;
    assert!(missed < inode_blocks / 2, "{missed}");
}

#[test]
fn xattrs_of_all_sizes() {
    let mut sim = fresh(64 * MIB);
    sim.write_file(b"/f", b"x").unwrap();
    let large = vec![7; 65536];
    sim.setxattr(b"/f", b"user.large", Some(&large), SetXattr::Any)
        .unwrap();
    sim.setxattr(b"/f", b"user.small", Some(b"1"), SetXattr::Create)
        .unwrap();
    assert_eq!(
        sim.setxattr(b"/f", b"user.small", Some(b"2"), SetXattr::Create)
            .err(),
        Some(Errno::EEXIST)
    );
    sim.setxattr(b"/f", b"user.small", Some(b"2"), SetXattr::Replace)
        .unwrap();
    sim.remount().unwrap();
    assert_eq!(sim.getxattr(b"/f", b"user.large").unwrap(), large);
    assert_eq!(sim.getxattr(b"/f", b"user.small").unwrap(), b"2");
    assert_eq!(sim.listxattr(b"/f").unwrap().len(), 2);
}

#[test]
fn renames_of_every_kind() {
    let mut sim = fresh(64 * MIB);
    sim.mkdir(b"/a", 0o755).unwrap();
    sim.mkdir(b"/b", 0o755).unwrap();
    sim.mkdir(b"/a/sub", 0o755).unwrap();
    sim.write_file(b"/a/f", b"f").unwrap();
    sim.write_file(b"/b/g", b"g").unwrap();
    assert_eq!(
        sim.rename(b"/a/f", b"/b/g", RenameFlags::NoReplace).err(),
        Some(Errno::EEXIST)
    );
    sim.rename(b"/a/f", b"/b/g", RenameFlags::Exchange).unwrap();
    assert_eq!(sim.read_file(b"/a/f").unwrap(), b"g");
    sim.rename(b"/a/f", b"/b/g", RenameFlags::Replace).unwrap();
    assert_eq!(sim.read_file(b"/b/g").unwrap(), b"g");
    sim.rename(b"/a/sub", b"/b/sub", RenameFlags::Replace)
        .unwrap();
    assert_eq!(sim.stat(b"/a").unwrap().nlink, 2);
    assert_eq!(sim.stat(b"/b").unwrap().nlink, 3);
    sim.rename(b"/b/sub", b"/b/g", RenameFlags::Exchange)
        .unwrap();
    sim.rename(b"/b/g", b"/a", RenameFlags::Replace).unwrap();
    sim.remount().unwrap();
    assert_eq!(sim.stat(b"/b").unwrap().nlink, 2);
    assert_eq!(sim.stat(b"/").unwrap().nlink, 4);
    assert_eq!(sim.read_file(b"/b/sub").unwrap(), b"g");
}

#[test]
fn files_on_a_full_disk_can_be_overwritten_and_cut_off_within_a_block() {
    let sim = fresh(32 * MIB);
    let file = sim.create(b"/file", 0o644).unwrap();
    let mut size = 0;
    while let Ok(written) = sim.write(&file, size, &[1; 65536]) {
        size += written as u64;
    }
    for round in 0..50 {
        sim.write(&file, round * 8192, &[2; 4096]).unwrap();
    }
    sim.truncate(&file, size - 1000).unwrap();
    assert_eq!(sim.fstat(&file).unwrap().size_bytes, size - 1000);
    sim.close(file);
}

#[test]
fn a_full_disk_refuses_writes_and_still_deletes() {
    let mut sim = fresh(32 * MIB);
    let free = sim.fs().statfs().unwrap().blocks_free;
    let chunk = vec![5u8; 1 << 18];
    for round in 0..3 {
        let mut files = 0;
        let error = loop {
            let path = format!("/fill-{files}").into_bytes();
            match sim.write_file(&path, &chunk) {
                Ok(()) => files += 1,
                Err(errno) => break errno,
            }
        };
        assert_eq!(error, Errno::ENOSPC, "round {round}");
        assert!(files > 60, "round {round}: only {files} files of 256 KiB");
        for n in 0..=files {
            sim.unlink(format!("/fill-{n}").as_bytes()).ok();
        }
        sim.sync().unwrap();
        assert!(sim.readdir(b"/").unwrap().is_empty());
    }
    sim.remount().unwrap();
    // One segment may have become one for inodes or metadata.
    let left = sim.fs().statfs().unwrap().blocks_free;
    assert!(left + 1024 >= free, "{left} blocks free of {free}");
}

#[test]
fn what_is_kept_for_root_is_for_root_only() {
    let options = mkfs_logfs::Options {
        reserved_percent: 20,
        ..Default::default()
    };
    let sim: Mounted = Sim::mount(formatted_with(64 << 20, &options), 1).unwrap();
    let file = sim.create(b"/file", 0o644).unwrap();
    let fill = || {
        let mut size_bytes = sim.fstat(&file).unwrap().size_bytes;
        let error = loop {
            match sim.write(&file, size_bytes, &[1; 1 << 16]) {
                Ok(len) => size_bytes += len as u64,
                Err(error) => break error,
            }
        };
        assert_eq!(error, Errno::ENOSPC);
        size_bytes
    };
    sim.env().set_may_use_reserve(false);
    let users = fill();
    let stat = sim.fs().statfs().unwrap();
    assert_eq!(stat.blocks_available, 0);
    assert!(stat.blocks_free * 4096 > 12 << 20);
    assert_eq!(sim.mkdir(b"/directory", 0o755), Err(Errno::ENOSPC));
    // What is there can be changed, and deleting makes room.
    sim.write(&file, 0, &[2; 4096]).unwrap();

    sim.env().set_may_use_reserve(true);
    let all = fill();
    assert!(all - users > 8 << 20, "{users} {all}");
    sim.close(file);
    sim.unlink(b"/file").unwrap();
    sim.env().set_may_use_reserve(false);
    sim.mkdir(b"/directory", 0o755).unwrap();
}

#[test]
fn damage_stops_changes_and_is_noted_on_the_device() {
    let sim = fresh(32 * MIB);
    sim.mkdir(b"/before", 0o755).unwrap();
    sim.symlink(&[b'x'; 3000], b"/link").unwrap();
    let disk = sim.unmount().unwrap();
    let mut image = disk.image();
    let mut block = [0; 4096];
    let damaged = (0..image.size_bytes() / 4096).find(|address| {
        image.read(address * 4096, &mut block);
        block.starts_with(b"LgFS") && block[8] == 12
    });
    image.write(damaged.unwrap() * 4096 + 100, b"?");
    let sim: logfs_tests::Mounted = bento_sim::Sim::mount(SimDisk::from_image(image), 1).unwrap();
    sim.mkdir(b"/after", 0o755).unwrap();
    assert_eq!(sim.readlink(b"/link").err(), Some(Errno::EUCLEAN));
    assert_eq!(sim.mkdir(b"/late", 0o755).err(), Some(Errno::EROFS));
    let disk = sim.unmount().unwrap();
    let sim: logfs_tests::Mounted = bento_sim::Sim::mount(disk, 2).unwrap();
    let warned = sim
        .env()
        .logged()
        .iter()
        .any(|(_, line)| line.contains("damaged"));
    assert!(warned, "the next mount says that there was damage");
    sim.stat(b"/after").unwrap();
}

#[test]
fn a_file_system_without_a_root_is_refused_as_damaged() {
    let mut image = logfs_tests::formatted(32 * MIB).image();
    let mut block = [0; 4096];
    image.read(4096, &mut block);
    let superblock = logfs_format::Superblock::parse(&block, 1).unwrap();
    let root = InoAddress::from_ino(superblock.root_ino.get()).unwrap();
    image.read(root.block * 4096, &mut block);
    let head: &mut InodeBlockHead = logfs_format::block::view_mut(&mut block, 0).unwrap();
    head.used.set(head.used.get() & !(1 << root.slot));
    logfs_format::block::seal(&mut block);
    image.write(root.block * 4096, &block);
    let mounted: bento_api::Result<logfs_tests::Mounted> =
        bento_sim::Sim::mount(SimDisk::from_image(image), 1);
    assert_eq!(mounted.err(), Some(Errno::EUCLEAN));
}

/// A file of this many extents.
fn fragmented(sim: &logfs_tests::Mounted, path: &[u8]) -> bento_sim::File {
    let file = sim.create(path, 0o644).unwrap();
    for n in 0..200 {
        sim.write(&file, n * 8192, b"x").unwrap();
    }
    file
}

#[test]
fn a_file_without_names_is_freed_after_a_crash_even_if_it_was_truncated() {
    let mut sim = fresh(32 * MIB);
    let file = fragmented(&sim, b"/file");
    sim.unlink(b"/file").unwrap();
    sim.truncate(&file, 4096).unwrap();
    sim.sync().unwrap();
    sim.crash(1).unwrap();
    logfs_tests::check(sim.disk());
    sim.remount().unwrap();
    logfs_tests::check(sim.disk());
}

#[test]
fn what_a_crash_left_to_be_done_is_done_when_the_mount_becomes_writable() {
    let sim = fresh(32 * MIB);
    let file = fragmented(&sim, b"/file");
    sim.unlink(b"/file").unwrap();
    sim.sync().unwrap();
    sim.close(file);
    let left = SimDisk::from_image(sim.disk().crash_image(1));
    let read_only = bento_api::MountOptions {
        read_only: true,
        options: b"",
    };
    let sim: logfs_tests::Mounted = bento_sim::Sim::mount_with(left, 1, &read_only).unwrap();
    let before = sim.fs().statfs().unwrap().blocks_free;
    sim.fs()
        .remount(&bento_api::MountOptions::default())
        .unwrap();
    sim.fs().sync(true).unwrap();
    assert!(sim.fs().statfs().unwrap().blocks_free >= before + 200);
}
