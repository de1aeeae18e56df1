//! What must be there after a power cut.

use bento_sim::Sim;
use logfs::LogFs;
use std::collections::BTreeMap;

/// Bytes of a file are its owner's: this times its number, plus something smaller.
const OWNER_UNIT: u8 = 16;

/// The byte that a thread writes with its n-th change.
pub(crate) fn stamp(owner: u8, version: u8) -> u8 {
    (owner + 1) * OWNER_UNIT + version % OWNER_UNIT
}

/// Files whose contents and name fsync has made durable, and which nobody has touched since.
#[derive(Clone, Default)]
pub struct Promises(BTreeMap<String, Vec<u8>>);

impl Promises {
    /// From now on the file is there with these contents.
    pub fn promise(&mut self, path: &str, contents: &[u8]) {
        self.0.insert(path.to_owned(), contents.to_vec());
    }

    /// The file is about to change.
    pub fn withdraw(&mut self, path: &str) {
        self.0.remove(path);
    }

    /// Looks whether they are kept, and that no file shows bytes that are not its owner's.
    ///
    /// # Panics
    /// If not.
    pub(crate) fn check(&self, sim: &Sim<LogFs<bento_sim::SimEnv>>) {
        for (path, contents) in &self.0 {
            let found = sim.read_file(path.as_bytes());
            let found = found.unwrap_or_else(|errno| panic!("{path} was promised: {errno}"));
            assert!(
                found == *contents,
                "{path} is not as promised: {} bytes for {}, first difference at {:?}",
                found.len(),
                contents.len(),
                found.iter().zip(contents).position(|(a, b)| a != b)
            );
        }
        check_owners(sim, "");
    }
}

fn check_owners(sim: &Sim<LogFs<bento_sim::SimEnv>>, dir: &str) {
    let entries = sim.readdir(if dir.is_empty() { b"/" } else { dir.as_bytes() });
    for entry in entries.expect("a directory can be listed") {
        let name = String::from_utf8_lossy(&entry.name).into_owned();
        let path = format!("{dir}/{name}");
        match entry.kind {
            bento_api::FileKind::Directory => check_owners(sim, &path),
            bento_api::FileKind::Regular => {
                let owner = name
                    .bytes()
                    .next()
                    .map_or(0, |digit| digit.wrapping_sub(b'0'));
                let bytes = sim.read_file(path.as_bytes()).expect("a file can be read");
                let is_own = |byte: u8| byte == 0 || byte / OWNER_UNIT == owner + 1;
                let stranger = bytes.iter().position(|byte| !is_own(*byte));
                assert!(
                    stranger.is_none(),
                    "{path} shows what is not its own at {stranger:?}"
                );
            }
            _ => {}
        }
    }
}
