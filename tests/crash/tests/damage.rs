//! What `errors=` makes of damage: who meets it gets EUCLEAN, and then the option decides.
#![forbid(unsafe_code)]

use bento_api::{Errno, MountOptions, Result};
use bento_sim::{Image, Sim, SimDisk, SimEnv};
use fsck_logfs::{Options, Silent};
use logfs_crash::base::Bases;
use logfs_crash::tree::Mounted;

const BLOCK_BYTES: usize = 4096;

/// A kind of metadata block, as its header has it.
const DIRECTORY: u16 = 8;

/// The disk with the block damaged that the entries of `/A` are in.
fn damaged(image: &Image) -> Image {
    let sim: Mounted = Sim::mount(SimDisk::from_image(image.clone()), 1).unwrap();
    let ino = sim.stat(b"A").unwrap().ino.0;
    sim.unmount().unwrap();
    let mut bytes = image.to_bytes();
    let blocks = bytes.chunks_mut(BLOCK_BYTES);
    let mut entries = blocks.filter(|block| {
        block.starts_with(b"LgFS")
            && block[8..10] == DIRECTORY.to_le_bytes()
            && block[40..48] == ino.to_le_bytes()
    });
    let block = entries.next().expect("a directory has a block of entries");
    block[100] ^= 0xff;
    Image::from_bytes(&bytes)
}

fn make(sim: &Mounted, path: &[u8]) -> Result<()> {
    sim.create(path, 0o644).map(|file| sim.close(file))
}

/// Mounts with an option, meets the damage, and returns how making a file, reading one and a sync
/// went then; and the disk.
fn meet(image: &Image, option: &[u8]) -> ([Result<()>; 3], SimDisk) {
    let options = MountOptions {
        options: option,
        ..MountOptions::default()
    };
    let disk = SimDisk::from_image(image.clone());
    let sim: Mounted = Sim::mount_with(disk, 1, &options).unwrap();
    make(&sim, b"durable").unwrap();
    sim.sync().unwrap();
    make(&sim, b"before").unwrap();
    assert_eq!(sim.readdir(b"A").map(drop), Err(Errno::EUCLEAN));
    let then = [
        make(&sim, b"after"),
        sim.read_file(b"foo").map(drop),
        sim.sync(),
    ];
    let disk = sim.disk().clone();
    sim.unmount().unwrap();
    (then, disk)
}

/// Which of the files are there that were made before and after.
fn found(disk: &SimDisk) -> [bool; 3] {
    let sim: Mounted = Sim::mount(disk.fork(), 2).unwrap();
    let found = ["durable", "before", "after"].map(|name| sim.stat(name.as_bytes()).is_ok());
    sim.unmount().unwrap();
    found
}

#[test]
fn the_option_decides_what_damage_does() {
    let bases = Bases::new().unwrap();
    let image = damaged(&bases.get("small").unwrap().image);
    let expected: [(&[u8], _, _); 3] = [
        (
            b"errors=remount-ro",
            [Err(Errno::EROFS), Ok(()), Ok(())],
            [true, true, false],
        ),
        (
            b"errors=shutdown",
            [Err(Errno::EIO); 3],
            [true, false, false],
        ),
        (b"errors=continue", [Ok(()); 3], [true, true, true]),
    ];
    for (option, then, names) in expected {
        let name = String::from_utf8_lossy(option);
        let (went, disk) = meet(&image, option);
        assert_eq!(went, then, "{name}");
        assert_eq!(found(&disk), names, "{name}");
        let options = Options {
            force: true,
            ..Options::default()
        };
        let report = fsck_logfs::check(&SimEnv::new(disk, 1), &options, &mut Silent).unwrap();
        assert!(!report.findings.is_empty(), "{name}: the damage is found");
    }
}
