//! Extended attributes: read and written as a whole, since they are few and small.

use crate::LogFs;
use crate::inode::{State, now};
use crate::tx::{Cost, Tx};
use alloc::vec::Vec;
use bento_api::{Attr, Env, Errno, Ino, Result, SetXattr};
use core::mem::offset_of;
use logfs_format::xattr::{
    self, EntryHead, MAX_BLOCKS, PAYLOAD_BYTES, PAYLOAD_OFFSET, VALUE_MAX, XattrHead,
};
use logfs_format::{BlockHeader, BlockKind, NAME_MAX};

/// What setting an attribute may need: every block of the list replaced.
pub(crate) const SET_COST: Cost = Cost::of(MAX_BLOCKS as u64 + 8, MAX_BLOCKS as u64 + 1);

fn damaged<E: Env>(fs: &LogFs<E>, ino: u64, what: &str) -> Errno {
    fs.reporter
        .corrupt(format_args!("extended attributes of inode {ino}: {what}"))
}

/// The joined payloads, and the blocks that they are in.
fn load<E: Env>(fs: &LogFs<E>, state: &State) -> Result<(Vec<u8>, Vec<u64>)> {
    let (mut payload, mut blocks) = (Vec::new(), Vec::new());
    let mut address = state.disk.xattrs.get();
    while address != 0 {
        if blocks.len() == MAX_BLOCKS {
            return Err(damaged(fs, state.ino, "too many blocks"));
        }
        blocks.push(address);
        let page = fs.cache.read(address, BlockKind::Xattr)?;
        let head: &XattrHead = page.view(0)?;
        let header = &head.header;
        let count = header.count.get() as usize;
        let bytes = page
            .bytes()
            .get(PAYLOAD_OFFSET..PAYLOAD_OFFSET + count.min(PAYLOAD_BYTES));
        if (header.owner.get(), header.owner_generation.get()) != state.owner()
            || count > PAYLOAD_BYTES
        {
            return Err(damaged(fs, state.ino, "a block of another inode"));
        }
        payload.extend_from_slice(bytes.ok_or(Errno::EUCLEAN)?);
        address = head.next.get();
    }
    Ok((payload, blocks))
}

/// Replaces all attributes.
fn store<E: Env>(
    fs: &LogFs<E>,
    tx: &Tx<'_, E>,
    state: &mut State,
    payload: &[u8],
    old: &[u64],
) -> Result<()> {
    let needed = payload.len().div_ceil(PAYLOAD_BYTES);
    let mut blocks = old.get(..needed.min(old.len())).unwrap_or(&[]).to_vec();
    for &surplus in old.get(blocks.len()..).unwrap_or(&[]) {
        fs.space.free(tx, &mut [(surplus, 1)], true)?;
    }
    let (ino, generation) = state.owner();
    while blocks.len() < needed {
        let header = BlockHeader::new(BlockKind::Xattr, [0; 16], 0).owned(ino, generation);
        blocks.push(fs.space.place_metadata(tx, header)?);
    }
    let nexts = blocks.iter().skip(1).copied().chain([0]);
    for ((&address, next), part) in blocks.iter().zip(nexts).zip(payload.chunks(PAYLOAD_BYTES)) {
        let write = |offset, bytes: &[u8]| tx.write(address, BlockKind::Xattr, offset, bytes);
        write(
            offset_of!(BlockHeader, count),
            &(part.len() as u32).to_le_bytes(),
        )?;
        write(offset_of!(XattrHead, next), &next.to_le_bytes())?;
        write(PAYLOAD_OFFSET, part)?;
    }
    state.add_blocks(needed as i64 - old.len() as i64);
    state.disk.xattrs.set(blocks.first().copied().unwrap_or(0));
    Ok(())
}

/// Appends an attribute.
fn push_entry(payload: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let head = EntryHead {
        value_len: (value.len() as u32).into(),
        name_len: (name.len() as u16).into(),
        reserved: 0.into(),
    };
    payload.extend_from_slice(bytemuck::bytes_of(&head));
    payload.extend_from_slice(name);
    payload.extend_from_slice(value);
}

/// Gives a new inode its first attributes.
pub(crate) fn init<E: Env>(
    fs: &LogFs<E>,
    tx: &Tx<'_, E>,
    state: &mut State,
    xattrs: &[(&[u8], &[u8])],
) -> Result<()> {
    let mut payload = Vec::new();
    for (name, value) in xattrs {
        push_entry(&mut payload, name, value);
    }
    store(fs, tx, state, &payload, &[])
}

/// Checks sizes of attributes before anything is changed.
pub(crate) fn check(xattrs: &[(&[u8], &[u8])]) -> Result<()> {
    let mut bytes = 0;
    for (name, value) in xattrs {
        if name.is_empty() || name.len() > NAME_MAX {
            return Err(Errno::ERANGE);
        }
        if value.len() > VALUE_MAX {
            return Err(Errno::E2BIG);
        }
        bytes += size_of::<EntryHead>() + name.len() + value.len();
    }
    if bytes > MAX_BLOCKS * PAYLOAD_BYTES {
        Err(Errno::ENOSPC)
    } else {
        Ok(())
    }
}

/// Frees all attributes.
pub(crate) fn clear<E: Env>(fs: &LogFs<E>, tx: &Tx<'_, E>, state: &mut State) -> Result<()> {
    if state.disk.xattrs.get() == 0 {
        return Ok(());
    }
    let (_, blocks) = load(fs, state)?;
    store(fs, tx, state, &[], &blocks)
}

impl<E: Env> LogFs<E> {
    pub(crate) fn get_xattr(&self, ino: Ino, name: &[u8], value: &mut Vec<u8>) -> Result<()> {
        let inode = self.inode(ino)?;
        let state = inode.read();
        let (payload, _) = load(self, &state)?;
        for entry in xattr::entries(&payload) {
            let entry = entry.map_err(|_| damaged(self, ino.0, "malformed"))?;
            if entry.name == name {
                value.extend_from_slice(entry.value);
                return Ok(());
            }
        }
        Err(Errno::ENODATA)
    }

    pub(crate) fn list_xattrs(&self, ino: Ino, emit: &mut dyn FnMut(&[u8])) -> Result<()> {
        let inode = self.inode(ino)?;
        let (payload, _) = load(self, &inode.read())?;
        for entry in xattr::entries(&payload) {
            emit(entry.map_err(|_| damaged(self, ino.0, "malformed"))?.name);
        }
        Ok(())
    }

    pub(crate) fn set_xattr(
        &self,
        ino: Ino,
        name: &[u8],
        value: Option<&[u8]>,
        how: SetXattr,
    ) -> Result<Attr> {
        check(&[(name, value.unwrap_or(&[]))])?;
        let inode = self.inode(ino)?;
        // Removing one frees space in the end: it must work on a full disk.
        let cost = Cost {
            privileged: value.is_none(),
            ..SET_COST
        };
        self.transact(cost, |tx| {
            let mut state = inode.write();
            let (old, blocks) = load(self, &state)?;
            let mut payload = Vec::with_capacity(old.len());
            let mut existed = false;
            for entry in xattr::entries(&old) {
                let entry = entry.map_err(|_| damaged(self, ino.0, "malformed"))?;
                if entry.name == name {
                    existed = true;
                } else {
                    push_entry(&mut payload, entry.name, entry.value);
                }
            }
            match (existed, how) {
                (true, SetXattr::Create) => return Err(Errno::EEXIST),
                (false, SetXattr::Replace) => return Err(Errno::ENODATA),
                (false, _) if value.is_none() => return Err(Errno::ENODATA),
                _ => {}
            }
            if let Some(value) = value {
                push_entry(&mut payload, name, value);
            }
            if payload.len() > MAX_BLOCKS * PAYLOAD_BYTES {
                return Err(Errno::ENOSPC);
            }
            store(self, tx, &mut state, &payload, &blocks)?;
            state.disk.ctime = now(self);
            state.store(tx)?;
            inode.touch(tx, false);
            Ok(state.attr())
        })
    }
}
