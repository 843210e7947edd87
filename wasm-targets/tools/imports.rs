//! Lists what a WebAssembly module imports, one `module.name` a line, sorted. For a component of WASI 0.2 it
//! lists what the program's module in it imports.
//!
//! A program of one file, built by `wasm-targets/imports` with rustc alone: the list is the check
//! that a module asks its host for nothing new, and it should need no tool to be installed.

use std::process::ExitCode;

/// A cursor over the module's bytes. Every read fails, rather than panics, past the end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// An unsigned LEB128 number, as the format writes all its lengths and limits.
    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn name(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// A memory's or table's limits. The smallest size changes with every build and is left out.
    fn limits(&mut self) -> Option<String> {
        let flags = self.byte()?;
        self.number()?;
        let shared = if flags & 2 != 0 { "shared" } else { "not shared" };
        if flags & 1 == 0 {
            return Some(shared.to_owned());
        }
        Some(format!("{shared}, at most {}", self.number()?))
    }
}

fn import(section: &mut Reader) -> Option<String> {
    let (module, name) = (section.name()?, section.name()?);
    let kind = match section.byte()? {
        0 => {
            section.number()?;
            String::new()
        }
        1 => {
            section.byte()?;
            format!(" (table, {})", section.limits()?)
        }
        2 => format!(" (memory, {} pages)", section.limits()?),
        3 => {
            section.byte()?;
            section.byte()?;
            " (global)".to_owned()
        }
        _ => return None,
    };
    // Each toolchain's libraries name other patch versions of an interface of WASI 0.2.
    let interface = module.split('@').next()?;
    Some(format!("{interface}.{name}{kind}"))
}

/// The program's module in a component: the first one. The others connect calls.
fn program_in(component: &[u8]) -> Option<&[u8]> {
    const CORE_MODULE_SECTION: u8 = 1;
    let mut reader = Reader(component);
    while let Some(id) = reader.byte() {
        let section = reader.bytes()?;
        if id == CORE_MODULE_SECTION {
            return Some(section);
        }
    }
    None
}

fn imports(module: &[u8]) -> Option<Vec<String>> {
    const IMPORT_SECTION: u8 = 2;
    if let Some(component) = module.strip_prefix(b"\0asm\x0d\0\x01\0") {
        return imports(program_in(component)?);
    }
    let mut reader = Reader(module.strip_prefix(b"\0asm\x01\0\0\0")?);
    while let Some(id) = reader.byte() {
        let mut section = Reader(reader.bytes()?);
        if id == IMPORT_SECTION {
            let count = section.number()?;
            let mut found: Vec<_> = (0..count).map(|_| import(&mut section)).collect::<Option<_>>()?;
            found.sort();
            found.dedup();
            return Some(found);
        }
    }
    Some(Vec::new())
}

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: imports MODULE.wasm");
        return ExitCode::from(2);
    };
    let module = match std::fs::read(&path) {
        Ok(module) => module,
        Err(error) => {
            eprintln!("{path}: {error}");
            return ExitCode::from(2);
        }
    };
    match imports(&module) {
        Some(found) => {
            found.iter().for_each(|line| println!("{line}"));
            ExitCode::SUCCESS
        }
        None => {
            eprintln!("{path}: not a WebAssembly module, or one with imports of an unknown kind");
            ExitCode::from(1)
        }
    }
}
