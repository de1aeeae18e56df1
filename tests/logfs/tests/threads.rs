//! Many threads at once, on a log so small that commits and checkpoints never cease.
#![forbid(unsafe_code)]

use bento_api::{Errno, Level, RenameFlags};
use bento_sim::Rng;
use logfs_tests::{Mounted, check, fresh};
use std::thread;

const THREADS: u64 = 4;
const ROUNDS: u64 = 1500;

/// One thread's work in its own directory, with renames through a directory that all share. Returns
/// the names and sizes that must be there afterwards.
fn work(sim: &Mounted, id: u64) -> Vec<(Vec<u8>, usize)> {
    let mut rng = Rng::new(id + 1);
    let dir = format!("/own-{id}");
    sim.mkdir(dir.as_bytes(), 0o755).unwrap();
    let mut files: Vec<(Vec<u8>, usize)> = Vec::new();
    for round in 0..ROUNDS {
        match rng.below(8) {
            0..=3 => {
                let path = format!("{dir}/file-{round}").into_bytes();
                let len = rng.below(30_000) as usize;
                match sim.write_file(&path, &vec![id as u8 + 1; len]) {
                    Ok(()) => files.push((path, len)),
                    Err(Errno::ENOSPC) => sim.unlink(&path).unwrap(),
                    Err(errno) => panic!("{errno}"),
                }
            }
            4 | 5 if !files.is_empty() => {
                let index = rng.below(files.len() as u64) as usize;
                sim.unlink(&files.swap_remove(index).0).unwrap();
            }
            6 if !files.is_empty() => {
                let index = rng.below(files.len() as u64) as usize;
                let old = files[index].0.clone();
                let shared = format!("/shared/{id}-{round}").into_bytes();
                let new = format!("{dir}/moved-{round}").into_bytes();
                sim.rename(&old, &shared, RenameFlags::NoReplace).unwrap();
                sim.rename(&shared, &new, RenameFlags::NoReplace).unwrap();
                files[index].0 = new;
            }
            7 => match files.last() {
                Some((path, _)) => sim.fsync_path(path).unwrap(),
                None => sim.sync().unwrap(),
            },
            _ => drop(sim.readdir(b"/shared").unwrap()),
        }
    }
    files
}

#[test]
fn threads_do_not_disturb_each_other() {
    let mut sim = fresh(24 << 20);
    sim.mkdir(b"/shared", 0o777).unwrap();
    let expected: Vec<_> = thread::scope(|scope| {
        let sim = &sim;
        let workers: Vec<_> = (0..THREADS)
            .map(|id| scope.spawn(move || work(sim, id)))
            .collect();
        let background = scope.spawn(move || {
            for _ in 0..200 {
                sim.background();
                thread::yield_now();
            }
        });
        let done = workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .collect();
        background.join().unwrap();
        done
    });
    for (level, line) in sim.env().logged() {
        assert!(level > Level::Error, "{line}");
    }
    for _ in 0..2 {
        for (id, files) in expected.iter().enumerate() {
            let entries = sim.readdir(format!("/own-{id}").as_bytes()).unwrap();
            assert_eq!(entries.len(), files.len());
            for (path, len) in files {
                assert_eq!(sim.read_file(path).unwrap(), vec![id as u8 + 1; *len]);
            }
        }
        sim.remount().unwrap();
        check(sim.disk());
    }
}
