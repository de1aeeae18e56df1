//! POSIX access control lists. The kernel checks them; keeping them in step with modes, and
//! giving them to new files, is the server's.

use bento_api::{Attr, Env, Errno, FileSystem, Ino, Result, SetAttr, SetXattr, mode};

/// Names of the extended attributes that hold them.
pub(crate) const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;
const ENTRY_BYTES: usize = 8;

const USER_OBJ: u16 = 0x01;
const GROUP_OBJ: u16 = 0x04;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    tag: u16,
    permissions: u16,
    id: u32,
}

/// An access control list.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Acl(Vec<Entry>);

/// What a new inode gets from its directory's default list.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    /// There is one: then the umask does not count.
    pub(crate) from_default: bool,
    pub(crate) xattrs: Vec<(&'static [u8], Vec<u8>)>,
}

impl Acl {
    fn parse(bytes: &[u8]) -> Option<Acl> {
        let (version, entries) = bytes.split_first_chunk::<4>()?;
        if u32::from_le_bytes(*version) != VERSION || entries.len() % ENTRY_BYTES != 0 {
            return None;
        }
        let (entries, _) = entries.as_chunks::<ENTRY_BYTES>();
        let entry = |bytes: &[u8; ENTRY_BYTES]| {
            let [t0, t1, p0, p1, id @ ..] = *bytes;
            Entry {
                tag: u16::from_le_bytes([t0, t1]),
                permissions: u16::from_le_bytes([p0, p1]) & 7,
                id: u32::from_le_bytes(id),
            }
        };
        Some(Acl(entries.iter().map(entry).collect()))
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for entry in &self.0 {
            bytes.extend_from_slice(&entry.tag.to_le_bytes());
            bytes.extend_from_slice(&entry.permissions.to_le_bytes());
            bytes.extend_from_slice(&entry.id.to_le_bytes());
        }
        bytes
    }

    /// Where in a mode an entry's permissions stand: the mask, if there is one, instead of the
    /// owning group's.
    fn shift(&self, entry: &Entry) -> Option<u16> {
        match entry.tag {
            USER_OBJ => Some(6),
            MASK => Some(3),
            GROUP_OBJ if !self.has(MASK) => Some(3),
            OTHER => Some(0),
            _ => None,
        }
    }

    fn has(&self, tag: u16) -> bool {
        self.0.iter().any(|entry| entry.tag == tag)
    }

    /// A mode says it all: nobody is named, and there is no mask.
    fn is_minimal(&self) -> bool {
        self.0
            .iter()
            .all(|entry| [USER_OBJ, GROUP_OBJ, OTHER].contains(&entry.tag))
    }

    /// The permission bits that this list shows as.
    fn mode(&self) -> u16 {
        let bits = |entry: &Entry| {
            self.shift(entry)
                .map_or(0, |shift| entry.permissions << shift)
        };
        self.0.iter().map(bits).fold(0, |mode, bits| mode | bits)
    }

    /// Gives the owner, group (or mask) and others what `mode` says.
    fn set_mode(&mut self, mode: u16) {
        let shifts: Vec<_> = self.0.iter().map(|entry| self.shift(entry)).collect();
        for (entry, shift) in self.0.iter_mut().zip(shifts) {
            if let Some(shift) = shift {
                entry.permissions = (mode >> shift) & 7;
            }
        }
    }
}

fn read<E: Env, FS: FileSystem<E>>(fs: &FS, ino: Ino, name: &[u8]) -> Result<Option<Acl>> {
    let mut bytes = Vec::new();
    match fs.getxattr(ino, name, &mut bytes) {
        Ok(()) => Acl::parse(&bytes).map(Some).ok_or(Errno::EIO),
        Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What an inode that is made in `dir` with `mode` inherits; takes from `mode` what the
/// directory's default list does not grant.
pub(crate) fn inherit<E: Env, FS: FileSystem<E>>(
    fs: &FS,
    dir: Ino,
    is_dir: bool,
    mode: &mut u16,
) -> Result<Inherited> {
    let Some(default) = read(fs, dir, DEFAULT)? else {
        return Ok(Inherited::default());
    };
    let mut access = default.clone();
    *mode &= access.mode() | !0o777;
    access.set_mode(*mode);
    let mut xattrs = Vec::new();
    if !access.is_minimal() {
        xattrs.push((ACCESS, access.to_bytes()));
    }
    if is_dir {
        xattrs.push((DEFAULT, default.to_bytes()));
    }
    Ok(Inherited {
        from_default: true,
        xattrs,
    })
}

/// Brings an inode's list in step with its mode, which has changed.
pub(crate) fn change_mode<E: Env, FS: FileSystem<E>>(fs: &FS, attr: &Attr) -> Result<()> {
    let Some(mut acl) = read(fs, attr.ino, ACCESS)? else {
        return Ok(());
    };
    acl.set_mode(attr.mode);
    fs.setxattr(attr.ino, ACCESS, Some(&acl.to_bytes()), SetXattr::Any)
        .map(drop)
}

/// Sets an inode's list and with it its mode. A list that says no more than a mode is not kept.
pub(crate) fn set_access<E: Env, FS: FileSystem<E>>(
    fs: &FS,
    ino: Ino,
    value: &[u8],
    kill_sgid: bool,
) -> Result<()> {
    let acl = Acl::parse(value).ok_or(Errno::EINVAL)?;
    let mut mode = fs.getattr(ino)?.mode & mode::PERMISSION_MASK & !0o777 | acl.mode();
    if kill_sgid {
        mode &= !mode::SETGID;
    }
    let value = (!acl.is_minimal()).then_some(value);
    match fs.setxattr(ino, ACCESS, value, SetXattr::Any) {
        Ok(_) => {}
        Err(Errno::ENODATA) if value.is_none() => {}
        Err(error) => return Err(error),
    }
    fs.setattr(
        ino,
        &SetAttr {
            mode: Some(mode),
            ..SetAttr::default()
        },
    )
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: u16 = 0x02;

    fn acl(entries: &[(u16, u16)]) -> Acl {
        let entry = |&(tag, permissions)| Entry {
            tag,
            permissions,
            id: u32::MAX,
        };
        Acl(entries.iter().map(entry).collect())
    }

    #[test]
    fn bytes_go_in_and_out() {
        let list = acl(&[
            (USER_OBJ, 7),
            (USER, 5),
            (GROUP_OBJ, 5),
            (MASK, 5),
            (OTHER, 0),
        ]);
        assert_eq!(Acl::parse(&list.to_bytes()), Some(list));
        assert_eq!(Acl::parse(b"\x01\0\0\0"), None);
        assert_eq!(Acl::parse(b"\x02\0\0\0short"), None);
    }

    #[test]
    fn the_mask_stands_for_the_group() {
        let mut list = acl(&[
            (USER_OBJ, 7),
            (USER, 7),
            (GROUP_OBJ, 5),
            (MASK, 6),
            (OTHER, 1),
        ]);
        assert_eq!((list.mode(), list.is_minimal()), (0o761, false));
        list.set_mode(0o640);
        let changed = acl(&[
            (USER_OBJ, 6),
            (USER, 7),
            (GROUP_OBJ, 5),
            (MASK, 4),
            (OTHER, 0),
        ]);
        assert_eq!(list, changed);
    }

    #[test]
    fn a_minimal_list_is_a_mode() {
        let list = acl(&[(USER_OBJ, 6), (GROUP_OBJ, 4), (OTHER, 4)]);
        assert_eq!((list.mode(), list.is_minimal()), (0o644, true));
    }
}
