//! SIGHUP: the configuration is read again. Users, rules, certificates and the keys about them change at once; other keys are
//! named.

use std::sync::Arc;

use tracing::{info, warn};
use wisp_broker::{Access, FileWatch, Tls};

use crate::args::Args;
use crate::effective::Effective;

/// The parts of a running broker that come from files.
pub(crate) struct Files {
    pub(crate) access: Option<Arc<Access>>,
    /// Of each table of a listener.
    pub(crate) tls: Vec<Option<Arc<Tls>>>,
    pub(crate) watch: FileWatch,
}

/// The configuration that the broker was started with, and where it comes from.
pub(crate) struct Reload {
    args: Args,
    started: Effective,
    files: Files,
}

impl Reload {
    pub(crate) fn new(args: Args, started: Effective, files: Files) -> Self {
        Self { args, started, files }
    }

    /// Reads file and environment again. A fault in them changes nothing; one in a file that they name leaves the part of the
    /// broker as it was that is read from it.
    pub(crate) fn run(&self) {
        let new = match Effective::resolve_again(&self.args, |name| std::env::var_os(name)) {
            Ok(new) => new.unwrap_or_else(|| self.started.clone()),
            Err(error) => return warn!("SIGHUP: the configuration stays as it was: {error}"),
        };
        let mut read = Vec::new();
        self.reload_access(&new, &mut read);
        self.reload_tls(&new, &mut read);
        self.files.watch.set_interval(new.settings.check_files());
        let read =
            if read.is_empty() { "nothing has changed".to_owned() } else { format!("read again: {}", read.join(", ")) };
        match self.started.differences(&new)[..] {
            [] => info!("SIGHUP: {read}"),
            ref fixed => info!("SIGHUP: {read}; needs a restart: {}", fixed.join(", ")),
        }
    }

    fn reload_access(&self, new: &Effective, read: &mut Vec<String>) {
        let options = new.settings.access_options();
        match &self.files.access {
            Some(access) => match access.reload(Some(options)) {
                Ok(()) => read.push("users and rules".to_owned()),
                Err(error) => warn!("SIGHUP: users and rules stay as they were: {error}"),
            },
            None if options.is_needed() => {
                warn!("SIGHUP: users and rules need a restart, since the broker was started without");
            }
            None => {}
        }
    }

    fn reload_tls(&self, new: &Effective, read: &mut Vec<String>) {
        let listeners = self.started.settings.listeners.iter().zip(&self.files.tls);
        for ((listener, tls), settings) in listeners.zip(self.started.tls_from(new)) {
            let Some(tls) = tls else { continue };
            let name = format!("the certificates of {}", listener.address);
            match tls.reload(settings) {
                Ok(true) => read.push(name),
                Ok(false) => {}
                Err(error) => warn!("SIGHUP: {name} stay as they were: {error}"),
            }
        }
    }
}
