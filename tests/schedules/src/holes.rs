//! Files with holes between them on the disk, that threads use while the cleaner moves them.

use crate::Stage;
use crate::promises::stamp;
use bento_api::Result;
use bento_sim::Rng;
use std::ops::Range;

/// Files that are made.
pub(crate) const HOLEY_FILES: u64 = 320;

/// Those of them that move first.
const MOVED: Range<u64> = 56..104;

/// Length of each.
const HOLEY_BYTES: usize = 32_768;

const BLOCK: usize = 4096;

/// Threads that they belong to.
const OWNERS: u64 = 2;

/// The thread that one belongs to.
fn owner(index: u64) -> u8 {
    (1 + index % OWNERS) as u8
}

/// What one holds at first.
pub(crate) fn holey_contents(index: u64) -> Vec<u8> {
    vec![stamp(owner(index), 0); HOLEY_BYTES]
}

/// The path of one.
pub(crate) fn holey_path(index: u64) -> String {
    format!("/a/{}hole{index}", owner(index))
}

/// Whether one is still there: the others have left the holes.
pub(crate) fn is_kept(index: u64) -> bool {
    index % 5 > 1
}

/// Writes to, cuts off, deletes and reads files that are about to move, those of one owner (1 or 2).
///
/// # Panics
/// If one is not what was written.
pub fn use_files(stage: &Stage, number: u8, count: u64, seed: u64) {
    let mut rng = Rng::new(seed ^ u64::from(number) << 48);
    let own = MOVED.filter(|&index| is_kept(index));
    let own: Vec<u64> = own.filter(|&index| owner(index) == number).collect();
    for _ in 0..count {
        let index = own[rng.below(own.len() as u64) as usize];
        // A thread may come by twice: what it deleted is not there.
        if let Ok(contents) = stage.sim().read_file(holey_path(index).as_bytes()) {
            let changed = change(stage, index, contents, &mut rng);
            changed.unwrap_or_else(|errno| panic!("file {index}: {errno}"));
        }
    }
}

/// Deletes files that are about to move, one after the other.
///
/// # Panics
/// If that fails.
pub fn delete_files(stage: &Stage) {
    for index in MOVED.filter(|&index| is_kept(index)) {
        let path = holey_path(index);
        stage.promises().withdraw(&path);
        let deleted = stage.sim().unlink(path.as_bytes());
        deleted.unwrap_or_else(|errno| panic!("file {index}: {errno}"));
    }
}

fn change(stage: &Stage, index: u64, mut contents: Vec<u8>, rng: &mut Rng) -> Result<()> {
    let sim = stage.sim();
    let path = holey_path(index);
    let file = sim.open(path.as_bytes())?;
    stage.promises().withdraw(&path);
    let mut has_name = true;
    for _ in 0..3 {
        let at = rng.below(HOLEY_BYTES as u64) as usize;
        match rng.below(6) {
            0..3 => {
                let byte = stamp(owner(index), rng.below(16) as u8);
                let data = vec![byte; 1 + rng.below(2 * BLOCK as u64) as usize];
                sim.write(&file, at as u64, &data)?;
                let end = at + data.len();
                contents.resize(contents.len().max(end), 0);
                contents[at..end].copy_from_slice(&data);
            }
            3 => {
                sim.truncate(&file, at as u64)?;
                contents.resize(at, 0);
            }
            4 if has_name && rng.below(4) == 0 => {
                sim.unlink(path.as_bytes())?;
                has_name = false;
            }
            _ => sim.fsync(&file)?,
        }
        let found = sim.read(&file, 0, 2 * HOLEY_BYTES)?;
        assert!(found == contents, "file {index} is not what was written");
    }
    if has_name {
        sim.fsync(&file)?;
        stage.promises().promise(&path, &contents);
    }
    sim.close(file);
    Ok(())
}
