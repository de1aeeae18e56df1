//! Whether somebody uses a device.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Who uses the device or image file, in words.
pub(crate) fn find_user(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    let canonical = fs::canonicalize(path).ok()?;
    let device = Identity {
        path: canonical,
        rdev: metadata.rdev(),
    };
    mounted_on(&device)
        .map(|place| format!("mounted on {place}"))
        .or_else(|| swapped_to(&device).then(|| "in use as swap space".to_owned()))
        .or_else(|| loop_device_of(&device).map(|name| format!("in use by /dev/{name}")))
}

struct Identity {
    path: PathBuf,
    /// Device number; 0 of an image file.
    rdev: u64,
}

/// Where it is mounted. File systems in user space are known by their source alone.
fn mounted_on(device: &Identity) -> Option<String> {
    let table = fs::read("/proc/self/mountinfo").ok()?;
    let major_minor = format!(
        "{}:{}",
        rustix::fs::major(device.rdev),
        rustix::fs::minor(device.rdev)
    );
    let table = String::from_utf8_lossy(&table);
    table.lines().find_map(|line| {
        let (head, tail) = line.split_once(" - ")?;
        let mut head = head.split(' ').skip(2);
        let number = head.next()?;
        let place = head.nth(1)?;
        let source = unescape(tail.split(' ').nth(1)?);
        let same = (device.rdev != 0 && number == major_minor)
            || (source.starts_with('/')
                && fs::canonicalize(&source).is_ok_and(|source| source == device.path));
        same.then(|| unescape(place))
    })
}

fn swapped_to(device: &Identity) -> bool {
    let Ok(table) = fs::read_to_string("/proc/swaps") else {
        return false;
    };
    table
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .any(|path| Path::new(&unescape(path)) == device.path)
}

/// The loop device that shows an image file.
fn loop_device_of(device: &Identity) -> Option<String> {
    if device.rdev != 0 {
        return None;
    }
    let entries = fs::read_dir("/sys/block").ok()?;
    entries.flatten().find_map(|entry| {
        let backing = fs::read_to_string(entry.path().join("loop/backing_file")).ok()?;
        (Path::new(backing.trim_end_matches('\n')) == device.path)
            .then(|| entry.file_name().to_string_lossy().into_owned())
    })
}

/// Resolves the octal escapes of the kernel's tables.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4);
        match code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(byte) => {
                out.push(char::from(byte));
                rest = &rest[at + 4..];
            }
            None => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn escapes_are_resolved() {
        assert_eq!(unescape("/a\\040b"), "/a b");
        assert_eq!(unescape("/a\\"), "/a\\");
        assert_eq!(unescape("\\134x"), "\\x");
    }
}
