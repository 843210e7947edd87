//! The files of a started broker, and a free address for it.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::failure::Failure;
use crate::paths::Scratch;

/// A folder for a broker's files.
pub(super) fn own_folder(scratch: &Scratch, address: SocketAddr) -> Result<PathBuf, Failure> {
    let folder = scratch.file(&format!("broker-{}", address.port()));
    fs::create_dir_all(&folder).map_err(|error| unwritable(&error))?;
    Ok(folder)
}

pub(super) fn unwritable(error: &io::Error) -> Failure {
    Failure::Setup(format!("cannot write into the folder for temporary files: {error}"))
}

pub(super) fn write_configuration(folder: &Path, text: &str) -> Result<PathBuf, Failure> {
    let file = folder.join("configuration");
    fs::write(&file, text).map_err(|error| unwritable(&error))?;
    Ok(file)
}

/// An address on which nobody listens. Ports come from below the range that the system takes its own from, so no
/// client's connection can sit on one; and each is used once, so nothing of the broker before is left on it.
#[must_use]
pub fn free_address() -> SocketAddr {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Runs at the same time begin at different places.
    let start = (process::id() % u32::from(COUNT)) as u16;
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_mul(41).wrapping_add(step) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
