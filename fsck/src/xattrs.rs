//! Extended attributes: a chain of blocks, and the entries in them.

use crate::context::{Context, Owner};
use crate::map::Refusal;
use crate::tree::refused;
use crate::{Object, Problem};
use logfs_format::xattr::{MAX_BLOCKS, PAYLOAD_BYTES, PAYLOAD_OFFSET, XattrHead, entries};
use logfs_format::{BlockKind, Inode, block};
use std::collections::BTreeSet;

/// What a chain comes to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Chain {
    /// Blocks in it.
    pub(crate) blocks: u64,
    /// Something is wrong and stays so.
    pub(crate) damaged: bool,
}

/// Checks an inode's chain and claims its blocks. Of a damaged one what is readable is kept.
pub(crate) fn check(ctx: &mut Context<'_>, owner: Owner, inode: &mut Inode) -> Chain {
    let mut blocks = Vec::new();
    let mut payload = Vec::new();
    let mut fault = follow(ctx, owner, inode.xattrs.get(), &mut blocks, &mut payload).err();
    let (kept, malformed) = sound_entries(&payload);
    fault = fault.or(malformed);
    let Some(problem) = fault else {
        return Chain {
            blocks: blocks.len() as u64,
            damaged: false,
        };
    };
    if !ctx.fix(Object::Inode(owner.ino), problem) {
        return Chain {
            blocks: blocks.len() as u64,
            damaged: true,
        };
    }
    let blocks = rewrite(ctx, owner, &blocks, &kept);
    inode.xattrs = blocks.first().copied().unwrap_or(0).into();
    Chain {
        blocks: blocks.len() as u64,
        damaged: false,
    }
}

/// Reads the chain up to the first thing that is wrong with it: the blocks and what they hold.
fn follow(
    ctx: &mut Context<'_>,
    owner: Owner,
    first: u64,
    blocks: &mut Vec<u64>,
    payload: &mut Vec<u8>,
) -> Result<(), Problem> {
    let mut address = first;
    while address != 0 {
        if blocks.len() == MAX_BLOCKS {
            return wrong(format!("more than {MAX_BLOCKS} blocks"));
        }
        if blocks.contains(&address) {
            return wrong(format!("block {address} is in the chain twice"));
        }
        let image = match ctx.read_owned(address, BlockKind::Xattr, owner) {
            Ok(image) => image,
            Err(why) => return wrong(format!("block {address}: {why}")),
        };
        match ctx.map.claim(address) {
            Ok(()) => {}
            Err(refusal @ Refusal::Taken) => {
                // Its header says whose it is: who claimed it before loses it.
                if ctx.fix(Object::Inode(owner.ino), refused(address, refusal)) {
                    ctx.torn.contested.insert(address);
                }
            }
            Err(refusal) => return Err(refused(address, refusal)),
        }
        let Some(head) = block::view::<XattrHead>(&image, 0) else {
            return wrong(format!("block {address}: too short"));
        };
        let count = head.header.count.get() as usize;
        match image.get(PAYLOAD_OFFSET..PAYLOAD_OFFSET + count.min(PAYLOAD_BYTES)) {
            Some(bytes) if count == bytes.len() => payload.extend_from_slice(bytes),
            _ => return wrong(format!("block {address} says it holds {count} bytes")),
        }
        blocks.push(address);
        address = head.next.get();
    }
    Ok(())
}

/// The attributes up to a malformed one, without those that can't be, and what is wrong.
fn sound_entries(payload: &[u8]) -> (Vec<u8>, Option<Problem>) {
    let mut names = BTreeSet::new();
    let mut kept = Vec::new();
    let mut reason = None;
    let mut start = 0;
    for entry in entries(payload) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(offset) => {
                reason.get_or_insert(format!("malformed entry at byte {offset}"));
                break;
            }
        };
        let head = size_of::<logfs_format::xattr::EntryHead>();
        let end = start + head + entry.name.len() + entry.value.len();
        if entry.name.contains(&0) {
            reason.get_or_insert("a name holds a NUL byte".to_owned());
        } else if !names.insert(entry.name) {
            let name = entry.name.escape_ascii();
            reason.get_or_insert(format!("there are two of the name `{name}`"));
        } else {
            kept.extend_from_slice(payload.get(start..end).unwrap_or(&[]));
        }
        start = end;
    }
    (kept, reason.map(|reason| Problem::XattrsWrong { reason }))
}

/// Writes attributes into as many blocks of a chain as they need; returns those.
fn rewrite(ctx: &mut Context<'_>, owner: Owner, blocks: &[u64], payload: &[u8]) -> Vec<u64> {
    let used = payload.len().div_ceil(PAYLOAD_BYTES);
    let (used, rest) = blocks.split_at(used.min(blocks.len()));
    for (index, (&address, bytes)) in used.iter().zip(payload.chunks(PAYLOAD_BYTES)).enumerate() {
        let mut image = ctx.new_block(BlockKind::Xattr, address, owner);
        if let Some(head) = block::view_mut::<XattrHead>(&mut image, 0) {
            head.header.count = (bytes.len() as u32).into();
            head.next = used.get(index + 1).copied().unwrap_or(0).into();
        }
        if let Some(place) = image.get_mut(PAYLOAD_OFFSET..PAYLOAD_OFFSET + bytes.len()) {
            place.copy_from_slice(bytes);
        }
        ctx.replace(address, image);
    }
    rest.iter().for_each(|&address| ctx.map.release(address));
    used.to_vec()
}

fn wrong(reason: String) -> Result<(), Problem> {
    Err(Problem::XattrsWrong { reason })
}
