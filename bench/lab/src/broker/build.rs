//! Which build of Wisp, or which program of a peer, a benchmark starts.

use std::path::PathBuf;

use crate::failure::Failure;
use crate::paths;

const PROGRAM: &str = "wisp-broker";

/// A build of Wisp, or a program of a peer.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Build {
    /// The release build and the modules of this repository; the installed program of a peer.
    #[default]
    Own,
    /// A native program. It has no modules, so that it runs under no WebAssembly runtime.
    Program(PathBuf),
    /// The release build, the launchers and the modules of another checkout.
    Checkout(PathBuf),
}

impl Build {
    /// The native program.
    ///
    /// # Errors
    /// If it was not built.
    pub(super) fn program(&self) -> Result<PathBuf, Failure> {
        let program = match self {
            Self::Own => return paths::native_program(PROGRAM),
            Self::Program(program) => program.clone(),
            Self::Checkout(folder) => folder.join("target").join("release").join(PROGRAM),
        };
        if program.is_file() {
            return Ok(program);
        }
        Err(Failure::Setup(format!("there is no program {}", program.display())))
    }

    /// The program of a peer, if one is named.
    pub(super) fn peer(&self) -> Option<PathBuf> {
        match self {
            Self::Program(program) => Some(program.clone()),
            Self::Own | Self::Checkout(_) => None,
        }
    }

    /// The folder with `wasm-targets` and `target/wasm`.
    ///
    /// # Errors
    /// If the build is a native program alone.
    pub(super) fn checkout(&self) -> Result<PathBuf, Failure> {
        match self {
            Self::Own => Ok(paths::repository()),
            Self::Checkout(folder) => Ok(folder.clone()),
            Self::Program(program) => {
                Err(Failure::Setup(format!("{} runs under no WebAssembly runtime", program.display())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::Scratch;

    #[test]
    fn another_checkout_has_its_own_program_and_launchers() {
        let scratch = Scratch::new().unwrap();
        let build = Build::Checkout(scratch.file(""));
        let missing = build.program().unwrap_err();
        assert!(matches!(&missing, Failure::Setup(what) if what.contains("target/release/wisp-broker")), "{missing}");
        std::fs::create_dir_all(scratch.file("target/release")).unwrap();
        std::fs::write(scratch.file("target/release/wisp-broker"), "").unwrap();
        assert_eq!(build.program(), Ok(scratch.file("target/release/wisp-broker")));
        assert_eq!(build.checkout(), Ok(scratch.file("")));
    }

    #[test]
    fn a_native_program_runs_under_no_runtime() {
        let build = Build::Program("/somewhere/wisp-broker".into());
        assert!(matches!(build.checkout(), Err(Failure::Setup(what)) if what.contains("/somewhere/wisp-broker")));
        assert!(Build::Own.checkout().unwrap().join("wasm-targets").is_dir());
    }
}
