//! Recovery of logs that are made by hand: what counts, what does not, and that neither takes more
//! than a bounded amount of work.
#![forbid(unsafe_code)]

use bento_api::{Env, Errno, SetXattr};
use bento_sim::{Operation, Rng, Sim, SimDisk, SimEnv};
use logfs::LogFs;
use logfs::recovery::{self, Recovered};
use logfs_format::log::{
    CHECKPOINT_BLOCKS, ItemHead, LOG_IMAGES_MAX, RECORD_HEAD_BYTES, RECORD_MAGIC, RecordHead,
    WINDOW_CLAIMS_MAX,
};
use logfs_format::{BlockHeader, BlockKind, Layout, SegmentHeader, Superblock, block};
use logfs_tests::{Mounted, formatted, formatted_with};

const BLOCK: u64 = 4096;
const GRANULE: usize = 512;
const MIB: u64 = 1 << 20;

/// A fresh disk and the records that are put into its log.
struct Log {
    disk: SimDisk,
    superblock: Superblock,
    records: Vec<u8>,
    sequence: u64,
}

impl Log {
    fn new(disk: SimDisk) -> Log {
        let superblock = recovery::read_superblock(&SimEnv::new(disk.clone(), 0)).unwrap();
        Log {
            disk,
            superblock,
            records: Vec::new(),
            sequence: 1,
        }
    }

    fn layout(&self) -> Layout {
        self.superblock.layout()
    }

    /// Appends a record of items, behind none that is known to be durable.
    fn append(&mut self, items: &[(ItemHead, Vec<u8>)]) {
        self.append_behind(0, items);
    }

    /// Appends a record of items, behind those up to `durable` that are known to be durable.
    fn append_behind(&mut self, durable: u64, items: &[(ItemHead, Vec<u8>)]) {
        let mut body = Vec::new();
        for (head, data) in items {
            body.extend(bytemuck::bytes_of(head));
            body.extend(data);
        }
        let mut head = RecordHead {
            magic: RECORD_MAGIC.into(),
            uuid: self.superblock.header.uuid,
            sequence: self.sequence.into(),
            durable_sequence: durable.into(),
            len_bytes: ((RECORD_HEAD_BYTES + body.len()) as u32).into(),
            items: (items.len() as u32).into(),
            ..bytemuck::Zeroable::zeroed()
        };
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(bytemuck::bytes_of(&head));
        hasher.update(&body);
        head.checksum = hasher.finalize().into();
        self.records.extend(bytemuck::bytes_of(&head));
        self.records.extend(&body);
        let padded = self.records.len().next_multiple_of(GRANULE);
        self.records.resize(padded, 0);
        self.sequence += 1;
    }

    fn ring_bytes(&self) -> u64 {
        (self.superblock.log_blocks.get() - CHECKPOINT_BLOCKS) * BLOCK
    }

    fn write(&self) -> SimDisk {
        assert!(self.records.len() as u64 <= self.ring_bytes(), "it fits");
        let mut image = self.disk.image();
        let start = (self.superblock.log_start.get() + CHECKPOINT_BLOCKS) * BLOCK;
        image.write(start, &self.records);
        SimDisk::from_image(image)
    }

    fn recover(&self) -> bento_api::Result<Recovered> {
        recovery::read_log(&SimEnv::new(self.write(), 0), &self.superblock)
    }

    fn claim(block: u64, checksum: u32) -> (ItemHead, Vec<u8>) {
        let data = checksum.to_le_bytes().to_vec();
        (ItemHead::new(block, ItemHead::CLAIM, 0, 4), data)
    }

    /// A claim that does not hold: the block is full of zeros.
    fn wrong_claim(block: u64) -> (ItemHead, Vec<u8>) {
        Log::claim(block, 1)
    }

    /// The whole header of a segment in which one block is live, or none.
    fn header(&self, segment: u64, live: Option<usize>) -> (ItemHead, Vec<u8>) {
        let address = self.layout().segment_start(segment);
        let mut data = vec![0; BLOCK as usize];
        let header = block::view_mut::<SegmentHeader>(&mut data, 0).unwrap();
        let uuid = self.superblock.header.uuid;
        header.header = BlockHeader::new(BlockKind::SegmentHeader, uuid, address);
        if let Some(index) = live {
            header.live[index / 8] |= 1 << (index % 8);
        }
        let head = ItemHead::new(address, ItemHead::ZERO_FIRST, 0, BLOCK as u16);
        (head, data)
    }
}

fn with_small_log(size_bytes: u64) -> SimDisk {
    with_log(size_bytes, 2048)
}

fn with_log(size_bytes: u64, log_blocks: u64) -> SimDisk {
    let options = mkfs_logfs::Options {
        log_blocks: Some(log_blocks),
        ..Default::default()
    };
    formatted_with(size_bytes, &options)
}

#[test]
fn a_claim_counts_as_long_as_its_block_is_in_use() {
    let mut log = Log::new(formatted(64 * MIB));
    let block = log.layout().segment_start(5) + 9;
    let (used, freed) = (log.header(5, Some(9)), log.header(5, None));
    let other = log.header(6, None);

    log.append(&[used, Log::wrong_claim(block)]);
    let recovered = log.recover().unwrap();
    assert_eq!((recovered.transactions, recovered.dropped), (0, 1));
    assert!(recovered.blocks.is_empty(), "nothing of it is applied");

    log.append(&[other]);
    let recovered = log.recover().unwrap();
    assert_eq!((recovered.transactions, recovered.dropped), (0, 2));

    log.append(&[freed]);
    let recovered = log.recover().unwrap();
    assert_eq!((recovered.transactions, recovered.dropped), (3, 0));
    assert_eq!(recovered.blocks.len(), 2);

    let elsewhere = log.layout().segment_start(7) + 9;
    log.append(&[Log::wrong_claim(elsewhere)]);
    let recovered = log.recover().unwrap();
    assert_eq!((recovered.transactions, recovered.dropped), (3, 1));
}

#[test]
fn a_claim_on_data_that_cannot_be_read_does_not_hold() {
    let mut log = Log::new(formatted(64 * MIB));
    let block = log.layout().segment_start(5) + 9;
    let sum = SimEnv::new(log.disk.clone(), 0).crc32c(0, &[0; BLOCK as usize]);
    log.append(&[log.header(5, Some(9)), Log::claim(block, sum)]);

    let disk = log.write();
    let recover = |disk: &SimDisk| {
        let env = SimEnv::new(disk.clone(), 0);
        recovery::read_log(&env, &log.superblock).unwrap().dropped
    };
    assert_eq!(recover(&disk), 0);
    let reads = disk.counts().reads;
    disk.fail(Operation::Read, reads - 1, false);
    assert_eq!(recover(&disk), 1, "the last read is that of the data");
}

#[test]
fn a_log_of_broken_claims_is_read_a_bounded_number_of_times() {
    let mut log = Log::new(with_small_log(512 * MIB));
    let start = log.layout().segment_start(5);
    for n in 0..log.ring_bytes() / GRANULE as u64 {
        log.append(&[Log::wrong_claim(start + n)]);
    }
    let disk = log.write();
    let env = SimEnv::new(disk.clone(), 0);
    let recovered = recovery::read_log(&env, &log.superblock).unwrap();
    assert_eq!(
        (recovered.transactions, recovered.dropped),
        (0, log.sequence - 1)
    );
    let claimed = WINDOW_CLAIMS_MAX as u64 * BLOCK;
    let allowed = 4 * log.ring_bytes() + claimed;
    assert!(disk.counts().read_bytes < allowed, "{:?}", disk.counts());
}

/// And those of them twice that wait until they are known to be durable and don't fit in memory.
#[test]
fn a_log_whose_records_all_count_is_read_once() {
    for (log_blocks, behind, rounds) in [(2048, 1, 1), (2048, 10_000, 1), (16_384, 10_000, 2)] {
        let mut log = Log::new(with_log(512 * MIB, log_blocks));
        let items = [log.header(5, Some(9)), log.header(6, None)];
        while (log.records.len() as u64) < log.ring_bytes() - 32 * BLOCK {
            log.append_behind(log.sequence.saturating_sub(behind), &items);
        }
        let disk = log.write();
        let env = SimEnv::new(disk.clone(), 0);
        let recovered = recovery::read_log(&env, &log.superblock).unwrap();
        recovery::check_end(&env, &log.superblock, &recovered).unwrap();
        assert_eq!(recovered.transactions, log.sequence - 1);
        let allowed = rounds * log.ring_bytes() + MIB;
        assert!(disk.counts().read_bytes < allowed, "{:?}", disk.counts());
    }
}

#[test]
fn a_log_of_empty_blocks_takes_a_bounded_amount_of_memory() {
    let mut log = Log::new(formatted(2 << 30));
    let first = log.layout().segments_start;
    let mut append = |range: std::ops::Range<usize>| {
        let items: Vec<_> = range
            .map(|n| ItemHead::new(first + n as u64, ItemHead::ZERO_FIRST, 0, 0))
            .map(|head| (head, Vec::new()))
            .collect();
        log.append(&items);
        log.recover().map(|recovered| recovered.blocks.len())
    };
    assert_eq!(append(0..LOG_IMAGES_MAX), Ok(LOG_IMAGES_MAX));
    assert_eq!(
        append(0..LOG_IMAGES_MAX),
        Ok(LOG_IMAGES_MAX),
        "the same again"
    );
    let one_more = LOG_IMAGES_MAX..LOG_IMAGES_MAX + 1;
    assert_eq!(append(one_more), Err(Errno::EUCLEAN));
}

/// Recovery does not look at more claims than that, so a log that has more would lose what was
/// durable.
#[test]
fn unflushed_transactions_never_claim_more_than_recovery_looks_at() {
    let sim: Mounted = Sim::mount(with_small_log(512 * MIB), 1).unwrap();
    let data = vec![7; 64 << 10];
    let mut rng = Rng::new(1);
    for n in 0..1300 {
        let path = format!("/{n}").into_bytes();
        sim.write_file(&path, &data).unwrap();
        // Of more than the data's summaries, so that transactions end early.
        let value: Vec<u8> = (0..3000).map(|_| rng.next_u64() as u8).collect();
        sim.setxattr(&path, b"user.x", Some(&value), SetXattr::Any)
            .unwrap();
    }
    let flushes = sim.disk().counts().flushes;
    sim.sync().unwrap();
    assert!(flushes > 0, "nobody asked for it, but the claims need it");
    let cut = SimDisk::from_image(sim.disk().image());
    let after: Mounted = Sim::mount(cut, 1).unwrap();
    for n in 0..1300 {
        let path = format!("/{n}").into_bytes();
        assert_eq!(after.stat(&path).map(|attr| attr.size_bytes), Ok(64 << 10));
    }
}

/// A torn record is the end of the log, unless a later one tells that it was durable once.
#[test]
fn a_damaged_record_is_not_taken_for_the_end() {
    let mount = |before: u64, durable: u64| {
        let mut log = Log::new(formatted(64 * MIB));
        let items = [log.header(5, None)];
        (0..before).for_each(|_| log.append(&items));
        let damaged = log.records.len();
        log.append(&items);
        log.records[damaged + RECORD_HEAD_BYTES + 100] ^= 1;
        log.append_behind(durable, &items);
        Sim::<LogFs<SimEnv>>::mount(log.write(), 1).map(drop)
    };
    assert_eq!(mount(1, 1), Ok(()));
    assert_eq!(mount(1, 2), Err(Errno::EUCLEAN));
    // Behind the checkpoint of an unmount.
    assert_eq!(mount(0, 0), Ok(()));
    assert_eq!(mount(0, 1), Err(Errno::EUCLEAN));
}

#[test]
fn a_log_without_checkpoints_can_be_given_up() {
    let sim: Mounted = Sim::mount(formatted(64 * MIB), 1).unwrap();
    sim.mkdir(b"/kept", 0o755).unwrap();
    let disk = sim.unmount().unwrap();
    let env = SimEnv::new(disk.clone(), 0);
    let superblock = recovery::read_superblock(&env).unwrap();
    let mut image = disk.image();
    image.write(
        superblock.log_start.get() * BLOCK,
        &[0xff; 2 * BLOCK as usize],
    );
    let disk = SimDisk::from_image(image);
    let env = SimEnv::new(disk.clone(), 0);
    let damaged = recovery::read_log(&env, &superblock).map(drop);
    assert_eq!(damaged, Err(Errno::EUCLEAN));

    recovery::discard_log(&env, &superblock).unwrap();
    assert!(recovery::read_log(&env, &superblock).unwrap().has_errors);
    let sim: Sim<LogFs<SimEnv>> = Sim::mount(disk, 1).unwrap();
    sim.stat(b"/kept").unwrap();
    sim.mkdir(b"/new", 0o755).unwrap();
    sim.sync().unwrap();
    let cut = SimDisk::from_image(sim.disk().image());
    let after: Mounted = Sim::mount(cut, 1).unwrap();
    after.stat(b"/new").unwrap();
}
