//! The files of users and rules, and the listeners that they are for.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The options of [`Access`](super::Access).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessOptions {
    /// Users and hashes, in the format of mosquitto's `password_file`. Without it user names are not checked.
    pub password_file: Option<PathBuf>,
    /// Access rules, in the format of mosquitto's `acl_file`. Without it every client may use all topics.
    pub acl_file: Option<PathBuf>,
    /// Whether clients may connect without a check of their user. `None`: on loopback listeners, if there is no password file.
    /// A listener may say otherwise.
    pub allow_anonymous: Option<bool>,
}

/// Why files were not taken. `Display` is one line with the file, the line in it, and a way out. The state from before stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessError(pub(super) String);

/// The part of a listener that decides about clients without a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListenerAccess {
    pub(crate) address: SocketAddr,
    pub(crate) allow_anonymous: Option<bool>,
    /// Whether every client has a certificate that was checked.
    pub(crate) requires_certificate: bool,
}

impl AccessOptions {
    /// Whether anything is asked for that a broker without a policy does not do.
    pub fn is_needed(&self) -> bool {
        self.password_file.is_some() || self.acl_file.is_some() || self.allow_anonymous == Some(false)
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        [&self.password_file, &self.acl_file].into_iter().flatten().map(PathBuf::as_path)
    }
}

/// Refuses listeners that other machines reach while nothing checks the clients, unless that is said.
pub(super) fn check_listeners(options: &AccessOptions, listeners: &[ListenerAccess]) -> Result<(), AccessError> {
    let open = listeners.iter().find(|listener| {
        let allow = listener.allow_anonymous.or(options.allow_anonymous);
        let is_checked = options.password_file.is_some() || listener.requires_certificate;
        allow.is_none() && !is_checked && !listener.address.ip().is_loopback()
    });
    match open {
        Some(listener) => Err(AccessError(crate::guard::open_listener(listener.address))),
        None => Ok(()),
    }
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for AccessError {}
