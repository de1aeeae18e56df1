//! What all threads do in the same directories, in each other's way: operations may find that others
//! were faster, but every file holds only what was written to it.

use crate::open::{PAGE_BYTES, errno, list, open, read_all, write_direct};
use crate::pattern::FileId;
use anyhow::{Context, Error, Result, ensure};
use rustix::fs::{
    CWD, FallocateFlags, OFlags, RenameFlags, XattrFlags, fallocate, ftruncate, renameat_with,
};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, FileTypeExt, symlink};
use std::path::{Path, PathBuf};

const DIRS: usize = 4;
const NAMES: usize = 10;

/// The attribute that tells which file it is. Without it a file is still being made.
const ID: &str = "user.id";

/// What an operation may answer when others were faster.
const EXPECTED: &[Errno] = &[
    Errno::NOENT,
    Errno::EXIST,
    Errno::NOTEMPTY,
    Errno::ISDIR,
    Errno::NOTDIR,
    Errno::INVAL,
    Errno::LOOP,
    Errno::NODATA,
    Errno::PERM,
    Errno::NXIO,
];

/// See the module.
pub(crate) struct Shared {
    dir: PathBuf,
    max_bytes: usize,
    chance: fastrand::Rng,
}

impl Shared {
    /// Makes the directories if they are not there.
    pub(crate) fn new(dir: &Path, max_bytes: usize, seed: u64) -> Result<Shared> {
        for number in 0..DIRS {
            fs::create_dir_all(dir.join(format!("d{number}")))?;
        }
        Ok(Shared {
            dir: dir.to_path_buf(),
            max_bytes,
            chance: fastrand::Rng::with_seed(seed),
        })
    }

    /// Does something, and says what.
    pub(crate) fn operate(&mut self, history: &mut Vec<String>) -> Result<()> {
        let path = self.draw_path();
        let choice = self.chance.u8(0..20);
        let name = path.strip_prefix(&self.dir).unwrap_or(&path).display();
        history.push(format!("shared: {choice} {name}"));
        let outcome = match choice {
            0..=3 => self.make(&path),
            4..=6 => self.write(&path),
            7 => self.write_past_cache(&path),
            8 => self.append(&path),
            9 => self.change_space(&path),
            10 | 11 => verify_file(&path, OFlags::empty()),
            12 => verify_file(&path, OFlags::DIRECT),
            13 => self.rename(&path),
            14 => self.link(&path),
            15 => fs::remove_file(&path).map_err(Error::from),
            16 => self.change_directory(&path),
            17 => symlink("f0", &path).map_err(Error::from),
            18 => self.list(),
            _ => self.sync(&path),
        };
        match outcome {
            Err(error) if errno(&error).is_some_and(|errno| EXPECTED.contains(&errno)) => Ok(()),
            outcome => outcome,
        }
    }

    /// Looks at everything; nobody else may do anything meanwhile.
    pub(crate) fn verify(dir: &Path) -> Result<()> {
        for name in list(dir)? {
            let path = dir.join(&name);
            let kind = path.symlink_metadata()?.file_type();
            ensure!(
                !kind.is_block_device() && !kind.is_fifo(),
                "{name} is no file"
            );
            if kind.is_dir() {
                Shared::verify(&path)?;
            } else if kind.is_file() {
                verify_file(&path, OFlags::empty()).with_context(|| path.display().to_string())?;
            }
        }
        Ok(())
    }

    /// Names of files and directories; directories can hold some, too.
    fn draw_path(&mut self) -> PathBuf {
        let mut path = self.dir.join(format!("d{}", self.chance.usize(0..DIRS)));
        if self.chance.u8(0..4) == 0 {
            path.push(format!("s{}", self.chance.u8(0..2)));
        }
        path.push(format!("f{}", self.chance.usize(0..NAMES)));
        path
    }

    fn draw_version(&mut self) -> u8 {
        self.chance.u8(1..)
    }

    fn make(&mut self, path: &Path) -> Result<()> {
        let mut file = File::create_new(path)?;
        let id = FileId::new();
        rustix::fs::fsetxattr(&file, ID, &id.to_bytes(), XattrFlags::CREATE)?;
        let mut bytes = vec![0; self.chance.usize(0..self.max_bytes / 4)];
        id.fill(self.draw_version(), 0, &mut bytes);
        Ok(file.write_all(&bytes)?)
    }

    fn write(&mut self, path: &Path) -> Result<()> {
        let file = open(path, OFlags::NOFOLLOW)?;
        let id = id_of(&file)?;
        let offset = self.chance.usize(0..self.max_bytes);
        let most = (self.max_bytes - offset).min(1 << self.chance.u32(4..=18));
        let mut bytes = vec![0; self.chance.usize(1..=most)];
        id.fill(self.draw_version(), offset as u64, &mut bytes);
        Ok(file.write_all_at(&bytes, offset as u64)?)
    }

    fn write_past_cache(&mut self, path: &Path) -> Result<()> {
        // Opened again by descriptor: the name may be another file's by then.
        let file = open(path, OFlags::NOFOLLOW)?;
        let id = id_of(&file)?;
        let by_descriptor = PathBuf::from(format!("/proc/self/fd/{}", raw(&file)));
        let page = self.chance.usize(0..self.max_bytes / PAGE_BYTES);
        let most = (self.max_bytes / PAGE_BYTES - page).min(16);
        let (pages, version) = (self.chance.usize(1..=most), self.draw_version());
        let offset = (page * PAGE_BYTES) as u64;
        let fill = |memory: &mut [u8]| id.fill(version, offset, memory);
        Ok(write_direct(&by_descriptor, offset, pages, fill)?)
    }

    fn append(&mut self, path: &Path) -> Result<()> {
        // Where it will go is not known before: only zeros belong everywhere.
        let file = open(path, OFlags::NOFOLLOW | OFlags::APPEND)?;
        id_of(&file)?;
        if file.metadata()?.len() > self.max_bytes as u64 {
            return Ok(());
        }
        let bytes = vec![0; self.chance.usize(0..20_000)];
        Ok((&file).write_all(&bytes)?)
    }

    fn change_space(&mut self, path: &Path) -> Result<()> {
        let file = open(path, OFlags::NOFOLLOW)?;
        id_of(&file)?;
        let offset = self.chance.u64(0..self.max_bytes as u64);
        let len_bytes = self.chance.u64(1..100_000);
        let keep_size = FallocateFlags::KEEP_SIZE;
        match self.chance.u8(0..4) {
            0 => ftruncate(file, offset)?,
            1 => fallocate(file, keep_size, offset, len_bytes)?,
            2 => fallocate(
                file,
                FallocateFlags::PUNCH_HOLE | keep_size,
                offset,
                len_bytes,
            )?,
            _ => fallocate(
                file,
                FallocateFlags::ZERO_RANGE | keep_size,
                offset,
                len_bytes,
            )?,
        }
        Ok(())
    }

    fn rename(&mut self, from: &Path) -> Result<()> {
        let to = self.draw_path();
        let flags = match self.chance.u8(0..3) {
            0 => RenameFlags::EXCHANGE,
            1 => RenameFlags::NOREPLACE,
            _ => RenameFlags::empty(),
        };
        // Directories go up and down, and with them what is in them.
        let (from, to) = match self.chance.u8(0..4) {
            0 => (self.draw_directory(), self.draw_directory()),
            _ => (from.to_path_buf(), to),
        };
        Ok(renameat_with(CWD, from, CWD, to, flags)?)
    }

    fn draw_directory(&mut self) -> PathBuf {
        let outer = self.dir.join(format!("d{}", self.chance.usize(0..DIRS)));
        outer.join(format!("s{}", self.chance.u8(0..2)))
    }

    fn link(&mut self, path: &Path) -> Result<()> {
        Ok(fs::hard_link(path, self.draw_path())?)
    }

    fn change_directory(&mut self, path: &Path) -> Result<()> {
        match self.chance.u8(0..4) {
            0 => fs::create_dir(path)?,
            1 => fs::remove_dir(path)?,
            2 => fs::create_dir(self.draw_directory())?,
            _ => fs::remove_dir(self.draw_directory())?,
        }
        Ok(())
    }

    fn list(&mut self) -> Result<()> {
        let names = list(&self.dir.join(format!("d{}", self.chance.usize(0..DIRS))))?;
        let mut unique = names.clone();
        unique.dedup();
        // A name that was moved while the directory was read may be listed twice or not at all, but
        // no other one is made up.
        let is_known = |name: &String| name.starts_with(['f', 's']) && name.len() == 2;
        ensure!(unique.iter().all(is_known), "a directory lists {names:?}");
        Ok(())
    }

    fn sync(&mut self, path: &Path) -> Result<()> {
        let file = File::open(path)?;
        match self.chance.bool() {
            true => file.sync_all()?,
            false => file.sync_data()?,
        }
        Ok(())
    }
}

fn raw(file: &File) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(file)
}

fn id_of(file: &File) -> Result<FileId> {
    let mut bytes = [0; 8];
    let len_bytes = rustix::fs::fgetxattr(file, ID, &mut bytes)?;
    FileId::from_bytes(&bytes[..len_bytes]).context("an attribute that nobody set")
}

/// Whether a file holds only what was written to it. One that is still being made has no id.
fn verify_file(path: &Path, flags: OFlags) -> Result<()> {
    let file = open(path, OFlags::NOFOLLOW | flags)?;
    let id = match id_of(&file) {
        Err(error) if errno(&error) == Some(Errno::NODATA) => return Ok(()),
        id => id?,
    };
    let size = file.metadata()?.len();
    let found = read_all(&file, usize::try_from(size)?)?;
    if let Some(at) = id.find_stranger(0, &found) {
        let start = (at - at % 8) as usize;
        let shown = &found[start..found.len().min(start + 16)];
        anyhow::bail!("{id:?} holds at {start} what is not its own: {shown:02x?}");
    }
    Ok(())
}
