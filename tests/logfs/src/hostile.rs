//! What visitors do with a damaged disk: whatever is on it, logfs answers with an error or with
//! something, but it neither panics nor goes on for ever. So does the check.

use crate::Mounted;
use bento_api::{Errno, FileKind, Result, SetXattr};
use bento_sim::{Image, Sim, SimDisk, SimEnv};
use fsck_logfs::{Mode, Options, Silent};

/// Checks a disk, uses it, and repairs it: each as it was given.
pub fn visit(image: &Image) {
    check(&SimDisk::from_image(image.clone()), false);
    // An error is as good an answer as any.
    let _ = use_it(&SimDisk::from_image(image.clone()));
    check(&SimDisk::from_image(image.clone()), true);
}

/// What a walk may visit before it is called endless. Damage may give a directory many names.
const VISITS_MAX: usize = 20_000;

/// What mount(2) may answer to a damaged disk.
const REFUSALS: [Errno; 6] = [
    Errno::EUCLEAN,
    Errno::EINVAL,
    Errno::EIO,
    Errno::ENOMEM,
    Errno::ENOSPC,
    Errno::EROFS,
];

/// Uses the file system as a visitor would, then as somebody who changes things.
fn use_it(disk: &SimDisk) -> Result<()> {
    let mounted: Result<Mounted> = Sim::mount(disk.clone(), 7);
    if let Err(errno) = &mounted {
        assert!(REFUSALS.contains(errno), "mounting failed with {errno}");
    }
    let sim = mounted?;
    let mut visits = 0;
    let mut dirs = vec![b"".to_vec()];
    while let Some(dir) = dirs.pop() {
        let at = if dir.is_empty() {
            b"/".to_vec()
        } else {
            dir.clone()
        };
        for entry in sim.readdir(&at).unwrap_or_default() {
            visits += 1;
            if visits > VISITS_MAX || dir.len() > 3000 {
                break;
            }
            let path = [&dir[..], b"/", &entry.name].concat();
            let Ok(attr) = sim.stat(&path) else { continue };
            let _ = sim.listxattr(&path);
            match attr.kind() {
                FileKind::Directory => dirs.push(path),
                FileKind::Symlink => drop(sim.readlink(&path)),
                FileKind::Regular => {
                    if let Ok(file) = sim.open(&path) {
                        let _ = sim.read(&file, 0, 100_000);
                        let _ = sim.read(&file, attr.size_bytes.saturating_sub(5000), 5000);
                        sim.close(file);
                    }
                }
                _ => {}
            }
        }
    }
    let _ = sim.write_file(b"/d0/new", &[3; 50_000]);
    let _ = sim.mkdir(b"/d1/new", 0o755);
    let _ = sim.rename(b"/d0/new", b"/d1/new2", bento_api::RenameFlags::Replace);
    let _ = sim.unlink(b"/d1/hard");
    if let Ok(file) = sim.open(b"/sparse") {
        let _ = sim.write(&file, 40_000, &[1; 9000]);
        let _ = sim.truncate(&file, 100_000);
        sim.close(file);
    }
    for n in 0..120 {
        let _ = sim.unlink(format!("/d2/a-file-with-a-name-{n}").as_bytes());
    }
    let _ = sim.rmdir(b"/d2");
    let _ = sim.setxattr(b"/sparse", b"user.y", Some(b"1"), SetXattr::Any);
    let _ = sim.sync();
    let _ = sim.unmount();
    Ok(())
}

fn check(disk: &SimDisk, write: bool) {
    let env = SimEnv::new(disk.clone(), 0);
    let options = Options {
        force: true,
        check_data: true,
        mode: if write { Mode::Repair } else { Mode::Check },
        superblock: None,
    };
    let _ = fsck_logfs::check(&env, &options, &mut Silent);
}
