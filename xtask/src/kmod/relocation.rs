//! Relocations that the kernel's module loader knows. It refuses a module with any other, which is
//! how a wrong code model or relocation model shows.

use anyhow::{Context, Result, bail};
use object::elf::{
    R_X86_64_32, R_X86_64_32S, R_X86_64_64, R_X86_64_PC32, R_X86_64_PC64, R_X86_64_PLT32,
    RelocationType,
};
use object::{Object, ObjectSection, RelocationFlags, SectionFlags};

const KNOWN: &[RelocationType] = &[
    R_X86_64_64,
    R_X86_64_PC32,
    R_X86_64_PLT32,
    R_X86_64_32,
    R_X86_64_32S,
    R_X86_64_PC64,
];

/// Fails if a section that gets loaded has a relocation that the kernel does not know.
pub(super) fn check(module: &[u8]) -> Result<()> {
    let module = object::File::parse(module).context("it is no object file")?;
    for section in module.sections().filter(is_loaded) {
        for (offset, relocation) in section.relocations() {
            let RelocationFlags::Elf { r_type } = relocation.flags() else {
                bail!("it is no ELF object");
            };
            if !KNOWN.contains(&r_type) {
                bail!(
                    "section {} has a relocation of type {} at {offset:#x}; look at the \
                     flags that rustc is given",
                    section.name().unwrap_or("?"),
                    r_type.0
                );
            }
        }
    }
    Ok(())
}

fn is_loaded<'data>(section: &impl ObjectSection<'data>) -> bool {
    let SectionFlags::Elf { sh_flags, .. } = section.flags() else {
        return true;
    };
    sh_flags.0 & object::elf::SHF_ALLOC.0 != 0
}

#[cfg(test)]
mod tests {
    use super::check;
    use object::elf::{R_X86_64_GOTPCREL, R_X86_64_PLT32, RelocationType};
    use object::write::{Object, Relocation, Symbol, SymbolSection};
    use object::{
        Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags,
        SymbolKind, SymbolScope,
    };

    /// An object with one relocation of this type in a section of this kind.
    fn object_with(r_type: RelocationType, name: &str, kind: SectionKind) -> Vec<u8> {
        let mut object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
        let section = object.add_section(Vec::new(), name.into(), kind);
        object.append_section_data(section, &[0; 16], 16);
        let symbol = object.add_symbol(Symbol {
            name: b"elsewhere".to_vec(),
            value: 0,
            size: 0,
            kind: SymbolKind::Text,
            scope: SymbolScope::Dynamic,
            weak: false,
            section: SymbolSection::Undefined,
            flags: SymbolFlags::None,
        });
        let flags = RelocationFlags::Elf { r_type };
        let relocation = Relocation {
            offset: 4,
            symbol,
            addend: -4,
            flags,
        };
        object
            .add_relocation(section, relocation)
            .expect("a valid relocation");
        object.write().expect("a valid object")
    }

    #[test]
    fn a_relocation_that_the_kernel_knows_passes() {
        assert!(check(&object_with(R_X86_64_PLT32, ".text", SectionKind::Text)).is_ok());
    }

    #[test]
    fn a_relocation_through_the_global_offset_table_is_found() {
        let error = check(&object_with(R_X86_64_GOTPCREL, ".text", SectionKind::Text));
        let text = format!("{:#}", error.expect_err("the kernel would refuse it"));
        assert!(text.contains(".text") && text.contains('9'), "{text}");
    }

    #[test]
    fn what_is_not_loaded_does_not_matter() {
        let debug = object_with(R_X86_64_GOTPCREL, ".debug_info", SectionKind::Debug);
        assert!(check(&debug).is_ok());
    }
}
