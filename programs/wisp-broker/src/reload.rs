//! SIGHUP: the configuration is read again. Users, rules and the keys about them change at once; other keys are named.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::{info, warn};
use wisp_broker::Access;

use crate::args::Args;
use crate::effective::Effective;

/// The configuration in force, and where it comes from.
pub(crate) struct Reload {
    args: Args,
    current: Mutex<Effective>,
    access: Option<Arc<Access>>,
}

impl Reload {
    pub(crate) fn new(args: Args, effective: Effective, access: Option<Arc<Access>>) -> Self {
        Self { args, current: Mutex::new(effective), access }
    }

    /// Reads file and environment again. A fault changes nothing.
    pub(crate) fn run(&self) {
        match self.try_run() {
            Ok(()) => {}
            Err(error) => warn!("SIGHUP: the configuration stays as it was: {error}"),
        }
    }

    fn try_run(&self) -> Result<(), String> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let new = Effective::resolve_again(&self.args, |name| std::env::var_os(name))?;
        let new = new.unwrap_or_else(|| current.clone());
        let options = new.settings.access_options();
        match &self.access {
            Some(access) => access.reload(Some(options)).map_err(|error| error.to_string())?,
            None if options.is_needed() => {
                let text = "users and rules need a restart, since the broker was started without";
                return Err(text.to_owned());
            }
            None => {}
        }
        let done = if self.access.is_some() { "users and rules were read again" } else { "there are no users to read" };
        match current.differences(&new)[..] {
            [] => info!("SIGHUP: {done}"),
            ref fixed => info!("SIGHUP: {done}; needs a restart: {}", fixed.join(", ")),
        }
        *current = new;
        Ok(())
    }
}
