//! Where programs are found, and where passing files are put.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::failure::Failure;

/// Where packages have brokers, which is not on everybody's PATH.
const PACKAGE_FOLDERS: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"];

const GENERATOR: &str = "wisp-loadgen";

/// bench/setup has the same.
pub const RUMQTTD_VERSION: &str = "0.20.0";

/// The repository that this program was built from.
#[must_use]
pub fn repository() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.ancestors().nth(2).expect("the crate lies in bench/lab of the repository").to_owned()
}

/// The release build of one of Wisp's native programs: in the target folder that cargo is told of, else in the one
/// that this program was built into, else in the repository's.
///
/// # Errors
/// When it was not built.
pub fn native_program(name: &str) -> Result<PathBuf, Failure> {
    let told = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    // TARGET/release/wisp-bench
    let own = env::current_exe().ok().and_then(|program| program.ancestors().nth(2).map(Path::to_owned));
    [told, own, Some(repository().join("target"))]
        .into_iter()
        .flatten()
        .map(|target| target.join("release").join(name))
        .find(|program| program.is_file())
        .ok_or_else(|| {
            Failure::Setup(format!("there is no release build of {name}: cargo build --release --bin {name}"))
        })
}

/// The load generator: this program, if it is that; else its build beside this one, else the release build.
///
/// # Errors
/// When it was not built.
pub fn generator() -> Result<PathBuf, Failure> {
    let own = env::current_exe().ok();
    let beside = own.iter().flat_map(|program| program.ancestors().skip(1).take(2));
    let beside = beside.map(|folder| folder.join(GENERATOR)).find(|program| program.is_file());
    beside.map_or_else(|| native_program(GENERATOR), Ok)
}

/// The program mosquitto, on PATH or where packages put it.
///
/// # Errors
/// When it is not installed.
pub fn mosquitto() -> Result<PathBuf, Failure> {
    installed("mosquitto")
}

/// The program nats-server, on PATH or where packages put it.
///
/// # Errors
/// When it is not installed.
pub fn nats_server() -> Result<PathBuf, Failure> {
    installed("nats-server")
}

/// A program that has the name of its package.
fn installed(name: &str) -> Result<PathBuf, Failure> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(PACKAGE_FOLDERS.map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .ok_or_else(|| Failure::Setup(format!("there is no {name}: apt-get install {name}, or bench/setup")))
}

/// The program of a package of Debian's unstable suite, unpacked and not installed. None if it is not there.
#[must_use]
pub fn unpacked(package: &str) -> Option<PathBuf> {
    // bench/isolation/peers has the same folder name.
    let program = cache()?.join(format!("{package}-unstable")).join("bin").join(package);
    program.is_file().then_some(program)
}

/// The newest mosquitto there is: the unpacked one, else the installed one.
///
/// # Errors
/// When there is none.
pub fn newest_mosquitto() -> Result<PathBuf, Failure> {
    unpacked("mosquitto").map_or_else(mosquitto, Ok)
}

/// The newest nats-server there is: the unpacked one, else the installed one.
///
/// # Errors
/// When there is none.
pub fn newest_nats_server() -> Result<PathBuf, Failure> {
    unpacked("nats-server").map_or_else(nats_server, Ok)
}

/// The cache folder, in which scripts install toolchains, runtimes and peers.
fn cache() -> Option<PathBuf> {
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let folder = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)?;
    Some(folder.join("wisp"))
}

/// The program rumqttd, which bench/setup puts into a folder of the cache named by its version: figures of another one
/// would not be comparable.
///
/// # Errors
/// When it is not there.
pub fn rumqttd() -> Result<PathBuf, Failure> {
    cache()
        .map(|cache| cache.join(format!("rumqttd-{RUMQTTD_VERSION}")).join("bin").join("rumqttd"))
        .filter(|program| program.is_file())
        .ok_or_else(|| Failure::Setup("there is no rumqttd: bench/setup builds it".to_owned()))
}

/// A folder for temporary files, removed when this is dropped.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// Makes the folder.
    ///
    /// # Errors
    /// If the system's folder for temporary files is not writable.
    pub fn new() -> io::Result<Self> {
        tempfile::Builder::new().prefix("wisp-bench-").tempdir().map(Self)
    }

    /// Makes it within another folder, which is made as well if need be.
    ///
    /// # Errors
    /// If that folder is not writable.
    pub fn within(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        tempfile::Builder::new().prefix("wisp-bench-").tempdir_in(folder).map(Self)
    }

    /// The path of a file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}
