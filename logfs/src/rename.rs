//! Moving names.
//!
//! A rename between two directories takes the `namespace` lock, which all other operations on names
//! share, so that the order in which two directories are locked can't differ.

use crate::LogFs;
use crate::dir::{self, Found};
use crate::inode::{Inode, State, WriteGuard};
use crate::namei::{add_links, check_dir, dirent_type, is_dir};
use crate::tx::{Cost, Tx};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bento_api::{Env, Errno, Ino, RenameFlags, Renamed, Result, RwLock};

/// What moving a name may need: two entries, two inodes, two directories, splits of an index.
const RENAME_COST: Cost = Cost::of(40, 16);

/// What is asked for.
struct Request<'a, E: Env> {
    tx: &'a Tx<'a, E>,
    from: &'a [u8],
    to: &'a [u8],
    flags: RenameFlags,
}

/// The directories, locked; `to` is `None` if there is only one.
struct Dirs<'a, E: Env> {
    from: (&'a Inode<E>, &'a mut State),
    to: Option<(&'a Inode<E>, &'a mut State)>,
}

impl<E: Env> Dirs<'_, E> {
    fn from(&mut self) -> &mut State {
        self.from.1
    }

    fn to(&mut self) -> &mut State {
        match &mut self.to {
            Some((_, state)) => state,
            None => self.from.1,
        }
    }
}

/// The entries that were found.
struct Entries {
    source: Found,
    target: Option<Found>,
}

impl Entries {
    /// Whether both names are of one inode.
    fn are_one(&self) -> bool {
        self.target
            .is_some_and(|target| target.ino == self.source.ino)
    }
}

impl<E: Env> LogFs<E> {
    pub(crate) fn move_name(
        &self,
        from: (Ino, &[u8]),
        to: (Ino, &[u8]),
        flags: RenameFlags,
    ) -> Result<Renamed> {
        let (from_dir, to_dir) = (self.inode(from.0)?, self.inode(to.0)?);
        #[cfg(feature = "mutants")]
        if planted!(RenameInSteps) && self.link_first(&from_dir, &to_dir, (from.1, to.1))? {
            let done = self.remove_name(from.0, from.1, false)?;
            return Ok(Renamed {
                from_dir: done.dir,
                to_dir: to_dir.read().attr(),
                inode: done.inode,
                target: None,
            });
        }
        let mut pinned = Vec::new();
        let result = self.transact(RENAME_COST, |tx| {
            let request = Request {
                tx,
                from: from.1,
                to: to.1,
                flags,
            };
            if from_dir.ino == to_dir.ino {
                let _namespace = self.namespace.read();
                let mut state = from_dir.write();
                let dirs = Dirs {
                    from: (&from_dir, &mut state),
                    to: None,
                };
                self.move_locked(&request, dirs, &mut pinned)
            } else {
                let _namespace = self.namespace.write();
                let (mut first, mut second) = (from_dir.write(), to_dir.write());
                let to = Some((&*to_dir, &mut *second));
                self.move_locked(
                    &request,
                    Dirs {
                        from: (&from_dir, &mut first),
                        to,
                    },
                    &mut pinned,
                )
            }
        });
        // The last pin of what was replaced frees it, which is an operation of its own.
        pinned.into_iter().for_each(|ino| self.unpin(ino));
        result
    }

    /// The first of two transactions: gives a file its new name in another directory and makes that
    /// durable. Answers whether it did.
    #[cfg(feature = "mutants")]
    fn link_first(&self, from: &Inode<E>, to: &Inode<E>, names: (&[u8], &[u8])) -> Result<bool> {
        let source = dir::lookup(self, &from.read(), names.0)?.ok_or(Errno::ENOENT)?;
        if from.ino == to.ino || dir::lookup(self, &to.read(), names.1)?.is_some() {
            return Ok(false);
        }
        let child = self.pin(Ino(source.ino))?;
        let linked = self.add_name(Ino(child.ino), Ino(to.ino), names.1);
        self.unpin(Ino(child.ino));
        linked?;
        self.journal.force_all(&self.parts())?;
        Ok(true)
    }

    fn move_locked(
        &self,
        request: &Request<'_, E>,
        mut dirs: Dirs<'_, E>,
        pinned: &mut Vec<Ino>,
    ) -> Result<Renamed> {
        let entries = self.find_entries(request, &mut dirs)?;
        let mut pin = |found: Found, dir: &State| -> Result<Arc<Inode<E>>> {
            let inode = self.pin_child(dir, found)?;
            pinned.push(Ino(found.ino));
            Ok(inode)
        };
        let child = pin(entries.source, dirs.from())?;
        let other = match entries.target {
            Some(target) if !entries.are_one() => Some(pin(target, dirs.to())?),
            _ => None,
        };
        let (mut state, mut other_state) = lock_pair(&child, other.as_deref());
        if entries.are_one() {
            // POSIX wants nothing to happen.
            let attr = state.attr();
            let (from_dir, to_dir) = (dirs.from().attr(), dirs.to().attr());
            return Ok(Renamed {
                from_dir,
                to_dir,
                inode: attr,
                target: Some(attr),
            });
        }
        let exchange = request.flags == RenameFlags::Exchange;
        if let Some(other_state) = &other_state
            && !exchange
        {
            check_replace(&state, other_state)?;
        }
        let other_is_dir = other_state.as_deref().is_some_and(is_dir);
        self.relink(request, &mut dirs, &entries, &state)?;
        count_dirs(&mut dirs, is_dir(&state), other_is_dir, exchange);
        if is_dir(&state) {
            state.disk.parent.set(dirs.to().ino);
        }
        self.store_child(request.tx, &child, &mut state)?;
        if let (Some(inode), Some(other_state)) = (&other, &mut other_state) {
            if exchange {
                if other_is_dir {
                    other_state.disk.parent.set(dirs.from().ino);
                }
                self.store_child(request.tx, inode, other_state)?;
            } else {
                self.drop_link(request.tx, inode, other_state)?;
            }
        }
        self.store_dir(request.tx, dirs.from.0, dirs.from.1)?;
        if let Some((inode, state)) = &mut dirs.to {
            self.store_dir(request.tx, inode, state)?;
        }
        Ok(Renamed {
            from_dir: dirs.from().attr(),
            to_dir: dirs.to().attr(),
            inode: state.attr(),
            target: other_state.map(|state| state.attr()),
        })
    }

    /// Looks both names up and refuses what can be refused before anything is locked or changed.
    fn find_entries(&self, request: &Request<'_, E>, dirs: &mut Dirs<'_, E>) -> Result<Entries> {
        check_dir(dirs.from())?;
        let source = dir::lookup(self, dirs.from(), request.from)?.ok_or(Errno::ENOENT)?;
        check_dir(dirs.to())?;
        let target = dir::lookup(self, dirs.to(), request.to)?;
        match (target, request.flags) {
            (Some(_), RenameFlags::NoReplace) => return Err(Errno::EEXIST),
            (None, RenameFlags::Exchange) => return Err(Errno::ENOENT),
            _ => {}
        }
        // The directories are locked: what they contain must not be one of them. The back end sees
        // to that, the disk may not.
        if source.ino == dirs.to().ino {
            return Err(Errno::EINVAL);
        }
        if target.is_some_and(|found| found.ino == dirs.from().ino) {
            return Err(Errno::ENOTEMPTY);
        }
        Ok(Entries { source, target })
    }

    /// Changes the entries.
    fn relink(
        &self,
        request: &Request<'_, E>,
        dirs: &mut Dirs<'_, E>,
        entries: &Entries,
        state: &State,
    ) -> Result<()> {
        let tx = request.tx;
        let (source, kind) = (entries.source, dirent_type(state));
        match entries.target {
            Some(target) => dir::replace(self, tx, dirs.to(), target, source.ino, kind)?,
            None => dir::insert(self, tx, dirs.to(), request.to, source.ino, kind)?,
        }
        match entries.target {
            Some(target) if request.flags == RenameFlags::Exchange => dir::replace(
                self,
                tx,
                dirs.from(),
                source,
                target.ino,
                target.dirent_type,
            ),
            _ => dir::remove(self, tx, dirs.from(), request.from, source),
        }
    }
}

/// Directories count the directories in them.
fn count_dirs<E: Env>(
    dirs: &mut Dirs<'_, E>,
    source_is_dir: bool,
    other_is_dir: bool,
    exchange: bool,
) {
    let arrived = i32::from(source_is_dir);
    let left = i32::from(other_is_dir);
    let came_back = if exchange { left } else { 0 };
    add_links(dirs.from(), came_back - arrived);
    add_links(dirs.to(), arrived - left);
}

/// Locks one or two inodes, by number.
fn lock_pair<'a, E: Env>(
    first: &'a Inode<E>,
    second: Option<&'a Inode<E>>,
) -> (WriteGuard<'a, E>, Option<WriteGuard<'a, E>>) {
    match second {
        None => (first.write(), None),
        Some(second) if first.ino < second.ino => {
            let guard = first.write();
            (guard, Some(second.write()))
        }
        Some(second) => {
            let guard = second.write();
            (first.write(), Some(guard))
        }
    }
}

/// Whether one inode may take the place of another.
fn check_replace(source: &State, target: &State) -> Result<()> {
    match (is_dir(source), is_dir(target)) {
        (true, false) => Err(Errno::ENOTDIR),
        (false, true) => Err(Errno::EISDIR),
        (true, true) if target.disk.dir_entries.get() > 0 => Err(Errno::ENOTEMPTY),
        _ => Ok(()),
    }
}
