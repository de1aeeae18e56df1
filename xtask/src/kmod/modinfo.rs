//! What a module says of itself: strings `name=value`, one after the other, in a section.

use anyhow::{Context, Result};
use object::{Object, ObjectSection};

/// The names of the modules that must be loaded before this one.
pub(super) fn depends(module: &[u8]) -> Result<Vec<String>> {
    let module = object::File::parse(module).context("it is no object file")?;
    let section = module
        .section_by_name(".modinfo")
        .context("it is no kernel module")?;
    Ok(depends_of(section.data()?))
}

fn depends_of(modinfo: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(modinfo);
    let list = text
        .split('\0')
        .find_map(|entry| entry.strip_prefix("depends="));
    let names = list.unwrap_or_default().split(',');
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::depends_of;

    #[test]
    fn dependencies_are_read() {
        let modinfo = b"license=Dual MIT/GPL\0depends=libcrc32c,bento\0name=logfs\0";
        assert_eq!(depends_of(modinfo), ["libcrc32c", "bento"]);
        assert!(depends_of(b"name=bento\0depends=\0").is_empty());
    }
}
