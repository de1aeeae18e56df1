//! The stack that functions take. A thread of the kernel has 16 KiB for all its callers together, and
//! nobody notices when that is not enough but by what is overwritten below.

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

/// What one function may take. Of C the kernel wants no more than 2048 bytes (`CONFIG_FRAME_WARN`); two
/// operations of logfs are that large with all that is inlined into them.
const FRAME_MAX_BYTES: u64 = 2304;

/// `sub rsp, imm32`, before the number.
const TAKE_STACK: &[u8] = &[0x48, 0x81, 0xec];

/// Where the prologue ends at the latest. Frames of more than a page are taken page by page, in a loop,
/// whose step alone is too much.
const PROLOGUE_MAX_BYTES: usize = 64;

/// Fails if a function's frame is too large.
pub(super) fn check(module: &[u8]) -> Result<()> {
    let module = object::File::parse(module).context("it is no object file")?;
    let functions = module.symbols().filter(|s| s.kind() == SymbolKind::Text);
    for function in functions {
        let Some(section) = function.section_index() else {
            continue;
        };
        let section = module.section_by_index(section)?;
        let Some(code) = section.data_range(function.address(), function.size())? else {
            continue;
        };
        let bytes = frame_bytes(code);
        if bytes > FRAME_MAX_BYTES {
            bail!(
                "{} takes {bytes} bytes of stack, and {FRAME_MAX_BYTES} are allowed; box what is large, or \
                 take a part of it out of line",
                function.name().unwrap_or("?")
            );
        }
    }
    Ok(())
}

/// What a function takes of the stack at its start, besides the registers that it saves.
fn frame_bytes(code: &[u8]) -> u64 {
    let prologue = code.get(..PROLOGUE_MAX_BYTES).unwrap_or(code);
    prologue
        .windows(TAKE_STACK.len() + 4)
        .filter_map(|window| window.strip_prefix(TAKE_STACK)?.try_into().ok())
        .map(|number| u64::from(u32::from_le_bytes(number)))
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{FRAME_MAX_BYTES, check};
    use object::write::{Object, Symbol, SymbolSection};
    use object::{Architecture, BinaryFormat, Endianness, SectionKind};
    use object::{SymbolFlags, SymbolKind, SymbolScope};

    /// An object with a function before this one, which saves a register and takes so many bytes.
    fn object_with(frame_bytes: u64) -> Vec<u8> {
        let mut object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
        let section = object.add_section(Vec::new(), b".text".to_vec(), SectionKind::Text);
        let mut code = vec![0x55, 0x48, 0x81, 0xec];
        code.extend(u32::try_from(frame_bytes).expect("32 bits").to_le_bytes());
        code.push(0xc3);
        for (name, code) in [("small", vec![0xc3]), ("large", code)] {
            let value = object.append_section_data(section, &code, 16);
            object.add_symbol(Symbol {
                name: name.into(),
                value,
                size: code.len() as u64,
                kind: SymbolKind::Text,
                scope: SymbolScope::Linkage,
                weak: false,
                section: SymbolSection::Section(section),
                flags: SymbolFlags::None,
            });
        }
        object.write().expect("a valid object")
    }

    #[test]
    fn a_frame_that_is_allowed_passes() {
        assert!(check(&object_with(FRAME_MAX_BYTES)).is_ok());
    }

    #[test]
    fn a_larger_one_is_named() {
        let error = check(&object_with(FRAME_MAX_BYTES + 8)).expect_err("too large");
        let text = format!("{error:#}");
        assert!(text.contains("large takes 2312 bytes"), "{text}");
    }
}
