//! The files of users and rules.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use tracing::{info, warn};
use wisp_access::{FileError, Note, Rules, Users};

use super::options::{AccessError, AccessOptions};

/// The longest file: some hundred thousand users.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The contents of the files.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) users: Option<Users>,
    pub(super) rules: Option<Rules>,
}

impl Loaded {
    pub(super) fn read(options: &AccessOptions) -> Result<Self, AccessError> {
        let users = options.password_file.as_deref().map(|path| parse(path, "password-file", Users::parse));
        let rules = options.acl_file.as_deref().map(|path| parse(path, "acl-file", Rules::parse));
        Ok(Self { users: users.transpose()?, rules: rules.transpose()? })
    }

    /// Says which lines the operator should know about.
    pub(super) fn log(&self, options: &AccessOptions) {
        if let (Some(users), Some(path)) = (&self.users, &options.password_file) {
            let is_file_open = is_readable_by_all(path);
            log_notes(path, users.notes());
            if is_file_open {
                warn!("{}: every user of this machine can read the hashes: chmod 600 it", path.display());
            }
            if users.is_empty() {
                warn!("{}: there is no user in it: add one with wisp passwd", path.display());
            }
        }
        if let (Some(rules), Some(path)) = (&self.rules, &options.acl_file) {
            log_notes(path, rules.notes());
            if self.users.is_none() {
                warn!("acl-file without a password-file: a client may take any user name, and has that user's rights");
            }
        }
    }

    /// Says how much was read.
    pub(super) fn log_counts(&self) {
        info!(
            users = self.users.as_ref().map(Users::len),
            rules = self.rules.as_ref().map(Rules::len),
            "access is checked"
        );
    }
}

fn log_notes(path: &Path, notes: &[Note]) {
    /// Further ones would hide the rest of the log.
    const SHOWN_MAX: usize = 20;
    let path = path.display();
    notes.iter().take(SHOWN_MAX).for_each(|note| warn!("{path}:{note}"));
    if notes.len() > SHOWN_MAX {
        warn!("{path}: {} more lines like these", notes.len() - SHOWN_MAX);
    }
}

fn parse<T>(path: &Path, key: &str, parse: impl Fn(&[u8]) -> Result<T, FileError>) -> Result<T, AccessError> {
    let shown = path.display();
    let text = read(path).map_err(|error| AccessError(format!("cannot read {shown} ({key}): {error}")))?;
    parse(&text).map_err(|error| AccessError(format!("{shown}:{error}")))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

#[cfg(unix)]
fn is_readable_by_all(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

/// A sandbox shows no rights of files.
#[cfg(not(unix))]
fn is_readable_by_all(_: &Path) -> bool {
    false
}
