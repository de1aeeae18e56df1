//! Whether a disk is as it may be after a power cut.

use crate::model::State;
use crate::run::{Base, History, Run, is_expected};
use crate::stamp;
use crate::state::{Builder, CrashState, enumerate};
use crate::tree::{BLOCK_BYTES, Mounted, Tree, hash_of};
use crate::workload::any_op;
use bento_api::Level;
use bento_sim::{Image, Recording, Rng, Sim, SimDisk, SimEnv};
use fsck_logfs::{Options, Silent};
use rustc_hash::FxHashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// States of a second power cut that are tried after one recovery.
const SECOND_STATES: u64 = 8;

/// Operations after a recovery, and the number of their first write.
const LATER_OPS: u64 = 6;
const LATER_VERSION: u32 = 1 << 24;

/// What a disk must pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Check {
    /// The workload itself: no errors but those to be expected, and reads that see what was written.
    Live,
    /// fsck finds nothing to repair once the log is replayed.
    Fsck,
    /// It mounts, and logs no error.
    Mount,
    /// What was synchronised is there.
    Durable,
    /// What is there is a state that the file system went through.
    Atomic,
    /// No file shows bytes that were not written to it.
    Foreign,
    /// fsck finds nothing to repair after recovery and unmount.
    FsckAfter,
    /// The same for a second power cut while it recovers.
    Second,
    /// The same for work after a recovery, and crashes of that.
    Afterwards,
    /// Nothing panics.
    Panic,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Check::Live => "without a crash",
            Check::Fsck => "fsck",
            Check::Mount => "mount",
            Check::Durable => "durability",
            Check::Atomic => "atomicity",
            Check::Foreign => "foreign bytes",
            Check::FsckAfter => "fsck after recovery",
            Check::Second => "second crash",
            Check::Afterwards => "work after recovery",
            Check::Panic => "panic",
        })
    }
}

/// What is wrong with a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What it did not pass.
    pub check: Check,
    /// For people.
    pub detail: String,
}

impl Violation {
    /// A check that did not pass.
    pub fn new(check: Check, detail: impl fmt::Display) -> Violation {
        let detail = detail.to_string();
        Violation { check, detail }
    }
}

/// The states that disks after a crash are compared with.
pub struct Judge<'a> {
    states: &'a [State],
    by_tree: FxHashMap<u64, usize>,
}

impl<'a> Judge<'a> {
    /// For the crashes of one workload.
    pub fn new(history: &'a History) -> Judge<'a> {
        let states = history.states.as_slice();
        // Of equal states the last one: the newest that may be meant.
        let trees = states.iter().map(|state| hash_of(&state.tree));
        let by_tree = trees.zip(0..).collect();
        Judge { states, by_tree }
    }

    /// Judges a disk that must not be older than state `oldest`. With `second`, so is what a second
    /// crash leaves while this one is recovered from.
    pub fn disk(
        &self,
        image: &Image,
        oldest: usize,
        second: Option<&mut Rng>,
    ) -> Result<(), Violation> {
        let judged = catch_unwind(AssertUnwindSafe(|| self.look(image, oldest, second)));
        judged.unwrap_or_else(|panic| Err(Violation::new(Check::Panic, panic_text(&*panic))))
    }

    fn look(
        &self,
        image: &Image,
        oldest: usize,
        second: Option<&mut Rng>,
    ) -> Result<(), Violation> {
        let disk = SimDisk::from_image(image.clone());
        fsck(&disk, Check::Fsck)?;
        let mount_failed = |errno| Violation::new(Check::Mount, errno);
        if second.is_some() {
            disk.record();
        }
        let sim: Mounted = Sim::mount(disk, 1).map_err(mount_failed)?;
        let tree = Tree::read(&sim).map_err(mount_failed)?;
        self.compare(Some(&sim), &tree, oldest)?;
        let logged = sim.env().logged();
        let error = logged.iter().find(|(level, _)| *level <= Level::Error);
        if let Some((_, line)) = error {
            return Err(Violation::new(Check::Mount, line));
        }
        let disk = sim.unmount().map_err(mount_failed)?;
        fsck(&disk, Check::FsckAfter)?;
        let Some(rng) = second else {
            return Ok(());
        };
        self.second(&disk.recording(), oldest, rng)?;
        afterwards(image, rng).map_err(|violation| {
            let Violation { check, detail } = violation;
            Violation::new(Check::Afterwards, format_args!("{check}: {detail}"))
        })
    }

    /// Crashes of the recovery of a crash.
    fn second(&self, recording: &Recording, oldest: usize, rng: &mut Rng) -> Result<(), Violation> {
        let mut builder = Builder::new(recording, 0);
        for state in sample(recording, 1, rng) {
            let image = builder.draft(&state).image();
            self.look(&image, oldest, None).map_err(|violation| {
                let Violation { check, detail } = violation;
                Violation::new(Check::Second, format_args!("at {state}: {check}: {detail}"))
            })?;
        }
        Ok(())
    }

    /// Judges what a mounted disk shows, which must not be older than state `oldest`.
    pub fn tree(&self, tree: &Tree, oldest: usize) -> Result<(), Violation> {
        self.compare(None, tree, oldest)
    }

    fn compare(&self, sim: Option<&Mounted>, tree: &Tree, oldest: usize) -> Result<(), Violation> {
        let Some(state) = self.states.get(oldest) else {
            return Ok(());
        };
        match self.by_tree.get(&hash_of(tree)) {
            Some(index) if *index >= oldest => return Ok(()),
            Some(index) => {
                let difference = tree.difference(&state.tree);
                return Err(Violation::new(
                    Check::Durable,
                    format_args!("state {index} instead of {oldest} or later: {difference}"),
                ));
            }
            None => {}
        }
        let later = &self.states[oldest..];
        let is_on_the_way = later
            .windows(2)
            .any(|pair| pair[1].is_gradual && tree.is_between(&pair[0].tree, &pair[1].tree));
        if is_on_the_way {
            return Ok(());
        }
        let same_names = later
            .iter()
            .rfind(|it| it.tree.names == tree.names)
            .unwrap_or(state);
        let difference = tree.difference(&same_names.tree);
        match sim.and_then(|sim| foreign(sim, tree, self.states)) {
            Some(foreign) => Err(Violation::new(
                Check::Foreign,
                format_args!("{foreign}; {difference}"),
            )),
            None => Err(Violation::new(Check::Atomic, difference)),
        }
    }
}

/// A few crash states behind the first `from` changes.
fn sample(recording: &Recording, from: usize, rng: &mut Rng) -> Vec<CrashState> {
    let states = enumerate(recording, from, rng);
    let mut chosen: Vec<CrashState> = (0..SECOND_STATES)
        .filter_map(|_| states.get(rng.below(states.len() as u64) as usize))
        .cloned()
        .collect();
    chosen.sort_by_key(|state| state.cut);
    chosen
}

/// Works on with what a crash has left, and judges crashes of that.
fn afterwards(image: &Image, rng: &mut Rng) -> Result<(), Violation> {
    let live = |errno| Violation::new(Check::Live, errno);
    let base = Base::found(image, LATER_VERSION).map_err(live)?;
    let mut run = Run::start(&base).map_err(live)?;
    for _ in 0..LATER_OPS {
        let op = any_op(rng);
        match run.apply(&op) {
            Ok(()) => {}
            Err(errno) if is_expected(errno) => {}
            Err(errno) => {
                let what = format_args!("{op}: {errno}");
                return Err(Violation::new(Check::Live, what));
            }
        }
    }
    let history = run
        .finish()
        .map_err(|what| Violation::new(Check::Live, what))?;
    let judge = Judge::new(&history);
    let mut builder = Builder::new(&history.recording, 0);
    for state in sample(&history.recording, 0, rng) {
        let oldest = history.oldest(state.returned(&history.recording));
        judge.look(&builder.draft(&state).image(), oldest, None)?;
    }
    Ok(())
}

/// A block that no state has anywhere, described.
fn foreign(sim: &Mounted, tree: &Tree, states: &[State]) -> Option<String> {
    for (path, place) in &tree.names {
        for (index, block) in tree.nodes[*place].blocks.iter().enumerate() {
            let nodes = states.iter().filter_map(|state| state.tree.at(path));
            let mut own = nodes.filter_map(|node| node.blocks.get(index));
            if *block == stamp::zero_hash() || own.any(|known| known == block) {
                continue;
            }
            let path_text = String::from_utf8_lossy(path);
            let contents = sim.read_file(path).ok()?;
            let block = contents.get(index * BLOCK_BYTES..)?;
            let block = block.get(..BLOCK_BYTES).unwrap_or(block);
            let what = describe(block);
            return Some(format!("{path_text}: block {index} shows {what}"));
        }
    }
    None
}

/// Whose bytes these are.
fn describe(block: &[u8]) -> String {
    let mut owners: Vec<String> = block
        .chunks(8)
        .map(|unit| match stamp::read(unit) {
            Some((version, offset)) => {
                format!("write {version} to block {}", offset / BLOCK_BYTES as u64)
            }
            None if unit.iter().all(|byte| *byte == 0) => "zeros".to_owned(),
            None => "garbage".to_owned(),
        })
        .collect();
    owners.dedup();
    owners.truncate(4);
    owners.join(", ")
}

/// Checks everything, file data included.
fn fsck(disk: &SimDisk, check: Check) -> Result<(), Violation> {
    let options = Options {
        force: true,
        check_data: true,
        ..Options::default()
    };
    let env = SimEnv::new(disk.clone(), 1);
    let report = fsck_logfs::check(&env, &options, &mut Silent)
        .map_err(|failure| Violation::new(check, failure))?;
    match report.findings.first() {
        Some(finding) => Err(Violation::new(check, finding)),
        None => Ok(()),
    }
}

/// What a panic said.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "of an unknown kind".to_owned())
}
