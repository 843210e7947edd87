//! SIGHUP: the configuration is read again. Users, rules, certificates, the keys about them and the limits of connections to come
//! change at once; other keys are named.

use std::sync::Arc;

use tracing::{info, warn};
use wisp_broker::{Access, Control, FileWatch, Tls};

use crate::args::Args;
use crate::effective::Effective;

/// The parts of a running broker that come from files.
pub(crate) struct Files {
    pub(crate) access: Option<Arc<Access>>,
    /// Of each table of a listener.
    pub(crate) tls: Vec<Option<Arc<Tls>>>,
    pub(crate) watch: FileWatch,
    /// The number of the table of each listener of the broker, if it has one.
    pub(crate) tables: Vec<Option<usize>>,
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
    pub(crate) fn run(&self, control: &Control) {
        let new = match Effective::resolve_again(&self.args, |name| std::env::var_os(name)) {
            Ok(new) => new.unwrap_or_else(|| self.started.clone()),
            Err(error) => return warn!("SIGHUP: the configuration stays as it was: {error}"),
        };
        let mut read = Vec::new();
        self.reload_access(&new, &mut read);
        self.reload_listeners(&new, control, &mut read);
        Self::reload_token(&new, control, &mut read);
        match control.set_limits(&new.settings.limits) {
            Ok(changed) => read.extend(changed.into_iter().map(str::to_owned)),
            Err(error) => warn!("SIGHUP: the limits stay as they were: {error}"),
        }
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

    fn reload_token(new: &Effective, control: &Control, read: &mut Vec<String>) {
        let token = new.admin_token();
        match token.and_then(|token| control.set_admin_token(token).map_err(|error| error.to_string())) {
            Ok(true) => read.push("the token of the admin listener".to_owned()),
            Ok(false) => {}
            Err(error) => warn!("SIGHUP: the token of the admin listener stays as it was: {error}"),
        }
    }

    fn reload_listeners(&self, new: &Effective, control: &Control, read: &mut Vec<String>) {
        let new = self.started.listeners_from(new);
        for (listener, tls) in new.iter().zip(&self.files.tls) {
            let Some(tls) = tls else { continue };
            let name = format!("the certificates of {}", listener.address);
            match tls.reload(listener.tls()) {
                Ok(true) => read.push(name),
                Ok(false) => {}
                Err(error) => warn!("SIGHUP: {name} stay as they were: {error}"),
            }
        }
        for (index, table) in self.files.tables.iter().enumerate() {
            if let Some(listener) = table.map(|table| new[table])
                && control.set_listener_connections_max(index, listener.connections_max())
            {
                read.push(format!("connections-max of {}", listener.address));
            }
        }
    }
}
