//! Extended attributes: a chain of blocks, and the entries in them.

use crate::context::{Context, Owner};
use crate::tree::refused;
use crate::{Object, Problem};
use logfs_format::BlockKind;
use logfs_format::block;
use logfs_format::xattr::{MAX_BLOCKS, PAYLOAD_BYTES, PAYLOAD_OFFSET, XattrHead, entries};
use std::collections::BTreeSet;

/// Checks the chain that starts at `first` and claims its blocks: how many, and whether all is
/// well.
pub(crate) fn check(ctx: &mut Context<'_>, owner: Owner, first: u64) -> (u64, bool) {
    let mut blocks = 0;
    match follow(ctx, owner, first, &mut blocks) {
        Ok(()) => (blocks, true),
        Err(problem) => {
            ctx.found(Object::Inode(owner.ino), problem);
            (blocks, false)
        }
    }
}

fn follow(
    ctx: &mut Context<'_>,
    owner: Owner,
    first: u64,
    blocks: &mut u64,
) -> Result<(), Problem> {
    let mut payload = Vec::new();
    let mut address = first;
    while address != 0 {
        if *blocks == MAX_BLOCKS as u64 {
            return wrong(format!("more than {MAX_BLOCKS} blocks"));
        }
        ctx.map
            .claim(address)
            .map_err(|refusal| refused(address, refusal))?;
        *blocks += 1;
        let image = match ctx.read_owned(address, BlockKind::Xattr, owner) {
            Ok(image) => image,
            Err(why) => return wrong(format!("block {address}: {why}")),
        };
        let Some(head) = block::view::<XattrHead>(&image, 0) else {
            return wrong(format!("block {address}: too short"));
        };
        let count = head.header.count.get() as usize;
        match image.get(PAYLOAD_OFFSET..PAYLOAD_OFFSET + count.min(PAYLOAD_BYTES)) {
            Some(bytes) if count == bytes.len() => payload.extend_from_slice(bytes),
            _ => return wrong(format!("block {address} says it holds {count} bytes")),
        }
        address = head.next.get();
    }
    check_entries(&payload)
}

fn check_entries(payload: &[u8]) -> Result<(), Problem> {
    let mut names = BTreeSet::new();
    for entry in entries(payload) {
        match entry {
            Ok(entry) if entry.name.contains(&0) => {
                return wrong("a name holds a NUL byte".to_owned());
            }
            Ok(entry) if !names.insert(entry.name) => {
                let name = entry.name.escape_ascii();
                return wrong(format!("there are two of the name `{name}`"));
            }
            Ok(_) => {}
            Err(offset) => return wrong(format!("malformed entry at byte {offset}")),
        }
    }
    Ok(())
}

fn wrong(reason: String) -> Result<(), Problem> {
    Err(Problem::XattrsWrong { reason })
}
