//! Between passes 2 and 3: inodes whose blocks are in doubt get a mapping that is in none.
//!
//! An inode's extents say which blocks are its own; summaries and block headers say the same from
//! the other side. Where the two agree nothing is changed. Where they don't, in this order:
//!
//! 1. blocks that the other side does not deny, or denies without knowing of another for that place,
//!    are kept;
//! 2. what the other side says is the inode's is added where nothing is mapped, if nobody else
//!    has it;
//! 3. what the other side denies is kept if the place would be a hole otherwise;
//! 4. of a block that two claim and nobody speaks for, the first inode keeps it and others get a
//!    copy.
//!
//! What is left without a block is a hole, and said to be.

use crate::contents::sound_kind;
use crate::context::{Context, Owner, Torn};
use crate::data::{is_of, write_entry};
use crate::extents::part;
use crate::inode::kind_name;
use crate::map::Kind;
use crate::mapping::{self, Mapping};
use crate::segments::edit_entry;
use crate::witness::{self, AllFound, Found, Wanted};
use crate::{Failure, Object, Problem, allocate, shared};
use bento_api::FileKind;
use logfs_format::{
    BLOCK_BYTES, BlockKind, Extent, InoAddress, InodeBlockHead, InodeHead, SegmentKind,
    SummaryEntry, Timestamp, block,
};
use std::collections::{BTreeMap, BTreeSet};

/// Permissions of an inode of which nothing but its blocks is left.
const PERMISSIONS: u16 = 0o600;

/// An inode that is mended.
struct Patient {
    owner: Owner,
    kind: FileKind,
    /// What its extents say.
    pieces: Vec<Extent>,
    /// What the other side denies.
    denied: Vec<Extent>,
    /// Contested blocks that it shares with nobody who has a better claim.
    shared: Vec<Extent>,
    mapping: Mapping,
    found_blocks: u64,
    copied_blocks: u64,
}

/// Mends what pass 2 has left.
pub(crate) fn mend(ctx: &mut Context<'_>) -> Result<(), Failure> {
    shared::name_owners(ctx);
    let torn = std::mem::take(&mut ctx.torn);
    let mut pieces = torn.inodes.clone();
    let keepers = keepers(ctx, &torn, &mut pieces);
    let mut wanted = Wanted {
        inode_blocks: torn.inode_blocks,
        ..Wanted::default()
    };
    for &ino in pieces.keys() {
        if let Some(owner) = ctx.owner(ino) {
            wanted.inodes.insert(ino, owner.generation);
        }
    }
    let found = witness::sweep(ctx, &wanted)?;
    let mut patients = admit(ctx, pieces);
    patients.extend(resurrect(ctx, &wanted, &found));
    let nothing = Found::default();
    for patient in &mut patients {
        let key = (patient.owner.ino, patient.owner.generation);
        let found = found.get(&key).unwrap_or(&nothing);
        keep_confirmed(ctx, patient, found, &torn.contested, &keepers);
    }
    for patient in &mut patients {
        let key = (patient.owner.ino, patient.owner.generation);
        add_found(ctx, patient, found.get(&key).unwrap_or(&nothing));
    }
    for patient in &mut patients {
        keep_denied(ctx, patient);
        share(ctx, patient);
    }
    for patient in &patients {
        write_down(ctx, patient);
    }
    Ok(())
}

/// The inode that keeps a contested block, and the place in it if that is known.
type Keeper = (u64, Option<u64>);

/// Who keeps each contested block; `None` if nothing tells. The pieces of all who claim one are
/// added to `pieces`.
fn keepers(
    ctx: &mut Context<'_>,
    torn: &Torn,
    pieces: &mut BTreeMap<u64, Vec<Extent>>,
) -> BTreeMap<u64, Option<Keeper>> {
    let mut keepers = BTreeMap::new();
    if torn.contested.is_empty() {
        return keepers;
    }
    let mut claims: BTreeMap<u64, Vec<(Owner, u64)>> = BTreeMap::new();
    for (owner, extents) in shared::claimants(ctx, &torn.contested) {
        for extent in &extents {
            let (start, len) = (extent.start.get(), u64::from(extent.len.get()));
            for &address in torn.contested.range(start..start + len) {
                let file_block = extent.file_block.get() + (address - start);
                claims.entry(address).or_default().push((owner, file_block));
            }
        }
        pieces.entry(owner.ino).or_insert(extents);
    }
    for &address in &torn.contested {
        let claims = claims.remove(&address).unwrap_or_default();
        keepers.insert(address, keeper(ctx, address, &claims));
    }
    keepers
}

fn keeper(ctx: &Context<'_>, address: u64, claims: &[(Owner, u64)]) -> Option<Keeper> {
    let image = ctx.read_raw(address).ok();
    if let Some(image) = image
        && sound_kind(ctx, &image, address).is_some()
    {
        return block::header(&image).map(|header| (header.owner.get(), None));
    }
    let entry = summary_of(ctx, address)?;
    claims
        .iter()
        .find(|(owner, file_block)| is_of(&entry, *owner, *file_block))
        .map(|(owner, file_block)| (owner.ino, Some(*file_block)))
}

fn is_in_data(ctx: &Context<'_>, address: u64) -> bool {
    let segment = ctx.layout.segment_of(address).map(|(segment, _)| segment);
    segment.is_some_and(|segment| ctx.map.kind(segment) == Kind::Known(SegmentKind::Data))
}

/// What the summary of a data segment says of a block.
pub(crate) fn summary_of(ctx: &Context<'_>, address: u64) -> Option<SummaryEntry> {
    if !is_in_data(ctx, address) {
        return None;
    }
    let (summary, offset) = ctx.layout.summary_entry(address)?;
    if ctx.rebuilt_summaries.contains(&summary) {
        return None;
    }
    let image = ctx.read(summary, BlockKind::Summary).ok()?;
    block::view(&image, offset).copied()
}

fn admit(ctx: &Context<'_>, pieces: BTreeMap<u64, Vec<Extent>>) -> Vec<Patient> {
    let known = pieces.into_iter().filter_map(|(ino, pieces)| {
        let info = ctx.inodes.get(ino)?;
        Some(patient(
            ctx.owner(ino)?,
            FileKind::from_mode(info.mode)?,
            pieces,
        ))
    });
    known.collect()
}

fn patient(owner: Owner, kind: FileKind, pieces: Vec<Extent>) -> Patient {
    Patient {
        owner,
        kind,
        pieces,
        denied: Vec::new(),
        shared: Vec::new(),
        mapping: Mapping::default(),
        found_blocks: 0,
        copied_blocks: 0,
    }
}

/// Makes inodes again whose block is lost, but of which other blocks are left.
fn resurrect(ctx: &mut Context<'_>, wanted: &Wanted, found: &AllFound) -> Vec<Patient> {
    let mut patients: BTreeMap<u64, Patient> = BTreeMap::new();
    for (&(ino, generation), found) in found {
        let Some(place) = InoAddress::from_ino(ino) else {
            continue;
        };
        // Later generations come later: what is left of an older one is older.
        let kind = if !found.directory.is_empty() {
            FileKind::Directory
        } else if !found.symlink.is_empty() {
            FileKind::Symlink
        } else if !found.data.is_empty() || !found.mapped.is_empty() {
            FileKind::Regular
        } else {
            continue;
        };
        if wanted.inode_blocks.contains(&place.block) {
            let owner = Owner { ino, generation };
            make_inode(ctx, owner, kind, place, found);
            patients.insert(ino, patient(owner, kind, Vec::new()));
        }
    }
    patients.into_values().collect()
}

fn make_inode(
    ctx: &mut Context<'_>,
    owner: Owner,
    kind: FileKind,
    place: InoAddress,
    found: &Found,
) {
    let time = Timestamp {
        seconds: ctx.superblock.created_seconds,
        nanoseconds: 0.into(),
    };
    let chained: BTreeSet<u64> = found.xattrs.values().copied().collect();
    let xattrs = found
        .xattrs
        .keys()
        .find(|address| !chained.contains(address));
    let data_end = found.data.iter().map(Extent::end).max().unwrap_or(0);
    let size_bytes = match kind {
        FileKind::Regular => data_end.saturating_mul(BLOCK_BYTES as u64),
        // What comes out of its blocks is right.
        _ => 0,
    };
    ctx.edit(place.block, |image| {
        if let Some(head) = block::view_mut::<InodeBlockHead>(image, 0) {
            head.used = (head.used.get() | 1 << place.slot).into();
        }
    });
    ctx.edit_inode(owner.ino, |inode| {
        *inode = InodeHead {
            mode: (kind.mode_bits() | PERMISSIONS).into(),
            nlink: 1.into(),
            generation: owner.generation.into(),
            size_bytes: size_bytes.into(),
            atime: time,
            mtime: time,
            ctime: time,
            btime: time,
            xattrs: xattrs.copied().unwrap_or(0).into(),
            ..bytemuck::Zeroable::zeroed()
        }
        .into();
    });
    if let Some((segment, _)) = ctx.layout.segment_of(place.block) {
        edit_entry(ctx, segment, |entry| {
            entry.age = entry.age.get().saturating_add(1).into();
        });
    }
    let blocks = found.data.iter().map(|run| u64::from(run.len.get())).sum();
    let kind = kind_name(kind);
    ctx.found(
        Object::Inode(owner.ino),
        Problem::InodeRebuilt { kind, blocks },
    );
}

/// Step 1: keeps what nobody denies. The rest is free for others.
fn keep_confirmed(
    ctx: &mut Context<'_>,
    patient: &mut Patient,
    found: &Found,
    contested: &BTreeSet<u64>,
    keepers: &BTreeMap<u64, Option<Keeper>>,
) {
    let mut elsewhere = Mapping::default();
    for run in found.data.iter().chain(&found.mapped) {
        elsewhere.add(run);
    }
    for piece in std::mem::take(&mut patient.pieces) {
        for index in 0..piece.len.get() {
            let block = part(&piece, index, 1);
            let address = block.start.get();
            if contested.contains(&address) {
                match keepers.get(&address).copied().flatten() {
                    Some((ino, place)) => {
                        let is_it = ino == patient.owner.ino
                            && place.is_none_or(|place| place == block.file_block.get());
                        // An inode may contest a block with itself: it keeps it once.
                        if is_it && ctx.torn.contested.insert(address) {
                            patient.mapping.add(&block);
                        }
                    }
                    None => patient.shared.push(block),
                }
            } else if is_denied(ctx, patient, &elsewhere, &block) {
                ctx.map.release(address);
                patient.denied.push(block);
            } else if patient.mapping.add(&block).is_empty() {
                // Something else is at that place in the file.
                ctx.map.release(address);
            }
        }
        patient.pieces.push(piece);
    }
}

/// Whether summary or header say that a block is not what the inode says. Of a file's block that is
/// believed only if a summary also says where the right one is.
fn is_denied(ctx: &Context<'_>, patient: &Patient, elsewhere: &Mapping, block: &Extent) -> bool {
    let (address, file_block) = (block.start.get(), block.file_block.get());
    if patient.kind == FileKind::Regular {
        let entry = summary_of(ctx, address);
        return elsewhere.covers(file_block)
            && entry.is_some_and(|entry| !is_of(&entry, patient.owner, file_block));
    }
    let image = ctx.read_raw(address);
    image.is_ok_and(|image| {
        sound_kind(ctx, &image, address).is_some()
            && block::header(&image).is_some_and(|header| header.owner.get() != patient.owner.ino)
    })
}

/// Step 2: adds what summaries and headers say is the inode's.
fn add_found(ctx: &mut Context<'_>, patient: &mut Patient, found: &Found) {
    match patient.kind {
        FileKind::Regular => {
            for extent in &found.mapped {
                if witness::makes_sense(ctx, extent) {
                    add_run(ctx, patient, extent, true);
                }
            }
            for is_first in [true, false] {
                for run in &found.data {
                    add_run(ctx, patient, run, is_first);
                }
            }
        }
        FileKind::Directory => add_metadata(ctx, patient, &found.directory),
        FileKind::Symlink => add_metadata(ctx, patient, &found.symlink),
        _ => {}
    }
}

/// Adds the free blocks of a run; with `only_right` those alone whose contents have the checksum that
/// the summary states, or that have none.
fn add_run(ctx: &mut Context<'_>, patient: &mut Patient, run: &Extent, only_right: bool) {
    for index in 0..run.len.get() {
        let block = part(run, index, 1);
        let address = block.start.get();
        if patient.mapping.covers(block.file_block.get()) || is_claimed(ctx, address) {
            continue;
        }
        let Ok(image) = ctx.read_raw(address) else {
            continue;
        };
        let entry = summary_of(ctx, address);
        let is_denied =
            entry.is_some_and(|entry| !is_of(&entry, patient.owner, block.file_block.get()));
        let stored = entry.and_then(|entry| entry.checksum());
        let is_right = stored.is_none_or(|sum| (ctx.crc32c)(&image) == sum);
        let is_metadata = !is_in_data(ctx, address) || sound_kind(ctx, &image, address).is_some();
        if !is_metadata && !is_denied && (is_right || !only_right) && ctx.map.claim(address).is_ok()
        {
            patient.found_blocks += patient.mapping.add(&block).len() as u64;
        }
    }
}

/// Adds free blocks with the inode's name on them, behind what is there.
fn add_metadata(ctx: &mut Context<'_>, patient: &mut Patient, blocks: &[u64]) {
    for &address in blocks {
        if !is_claimed(ctx, address) && ctx.map.claim(address).is_ok() {
            let file_block = patient.mapping.end();
            patient.mapping.add(&Extent::new(file_block, address, 1));
            patient.found_blocks += 1;
        }
    }
}

fn is_claimed(ctx: &Context<'_>, address: u64) -> bool {
    ctx.layout
        .segment_of(address)
        .is_none_or(|(segment, index)| {
            ctx.map
                .claimed(segment)
                .is_some_and(|claimed| claimed.has(index))
        })
}

/// Step 3: what is denied is better than a hole, unless it is a block of metadata.
fn keep_denied(ctx: &mut Context<'_>, patient: &mut Patient) {
    for block in std::mem::take(&mut patient.denied) {
        let address = block.start.get();
        let is_metadata = ctx
            .read_raw(address)
            .is_ok_and(|image| sound_kind(ctx, &image, address).is_some());
        let is_free = !is_metadata && !patient.mapping.covers(block.file_block.get());
        if is_free && ctx.map.claim(address).is_ok() {
            patient.mapping.add(&block);
        }
    }
}

/// Step 4: a block that nobody speaks for stays with the first inode that comes; others get copies.
fn share(ctx: &mut Context<'_>, patient: &mut Patient) {
    for block in std::mem::take(&mut patient.shared) {
        let address = block.start.get();
        if patient.mapping.covers(block.file_block.get()) {
            continue;
        }
        let is_taken = ctx.torn.contested.contains(&address);
        if !is_taken {
            ctx.torn.contested.insert(address);
            patient.mapping.add(&block);
        } else if patient.kind == FileKind::Regular
            && let Some(copy) = allocate::data_block(ctx)
        {
            ctx.copies.insert(copy, address);
            let flags = block.flags;
            patient.mapping.add(&Extent {
                flags,
                ..Extent::new(block.file_block.get(), copy, 1)
            });
            patient.copied_blocks += 1;
        }
    }
}

/// Writes the mapping down, and what has become of the inode's blocks.
fn write_down(ctx: &mut Context<'_>, patient: &Patient) {
    let object = Object::Inode(patient.owner.ino);
    let list = patient.mapping.joined(ctx);
    let has_room = allocate::has_room(ctx, mapping::nodes_for(list.len()));
    if !has_room || mapping::write(ctx, patient.owner, &list).is_none() {
        return ctx.report.give_up(&object);
    }
    if patient.kind == FileKind::Directory {
        let size_bytes = patient.mapping.end() * BLOCK_BYTES as u64;
        ctx.edit_inode(patient.owner.ino, |inode| {
            inode.size_bytes = size_bytes.into();
        });
    }
    if patient.kind == FileKind::Regular {
        list.iter()
            .for_each(|extent| settle(ctx, patient.owner, extent));
    }
    tell(ctx, patient);
}

/// Makes the summaries of an extent say what it says.
fn settle(ctx: &mut Context<'_>, owner: Owner, extent: &Extent) {
    for index in 0..u64::from(extent.len.get()) {
        let (address, file_block) = (extent.start.get() + index, extent.file_block.get() + index);
        let is_right =
            summary_of(ctx, address).is_some_and(|entry| is_of(&entry, owner, file_block));
        if !is_right {
            write_entry(ctx, owner, address, file_block, None);
        }
    }
}

fn tell(ctx: &mut Context<'_>, patient: &Patient) {
    let object = Object::Inode(patient.owner.ino);
    let (mut lost, mut first) = (0, None);
    for piece in &patient.pieces {
        for file_block in piece.file_block.get()..piece.end() {
            if !patient.mapping.covers(file_block) {
                lost += 1;
                first.get_or_insert(file_block);
            }
        }
    }
    if patient.found_blocks > 0 {
        let blocks = patient.found_blocks;
        ctx.found(object.clone(), Problem::BlocksFound { blocks });
    }
    if patient.copied_blocks > 0 {
        let blocks = patient.copied_blocks;
        ctx.found(object.clone(), Problem::BlocksCopied { blocks });
    }
    if let Some(file_block) = first {
        let problem = Problem::BlocksLost {
            blocks: lost,
            file_block,
        };
        ctx.found(object, problem);
    }
}
