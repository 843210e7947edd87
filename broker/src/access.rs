//! Users and rights from mosquitto's files: a [`Policy`] that checks passwords off the workers and answers later.
//!
//! ```text
//!             known lately: at once                          address that keeps failing: not before its delay is over
//!  CONNECT ----------------------> verdict        CONNECT --------> [ waiting checks ] --------> a few threads -> verdict
//!                                                             full: server busy
//! ```
//!
//! On hosts without threads the workers check while they wait, for a quarter of the time at most.

mod checker;
mod failures;
mod files;
mod inner;
mod options;
mod recent;
mod refusals;

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use wisp_access::DigestKey;
use wisp_engine::sync::Ordering;
use wisp_engine::{ConnectRequest, Decision, Policy};
use wisp_wire::ReasonCode;

use self::checker::{Checker, Job};
use self::failures::Origin;
use self::files::Loaded;
use self::inner::{ClientRights, Inner, Login, State};
pub(crate) use self::options::ListenerAccess;
use self::options::check_listeners;
pub use self::options::{AccessError, AccessOptions};
use self::refusals::Reason;
use crate::stamps::Stamps;
use crate::watch::Watched;

/// Users and rights from mosquitto's files. Clone the [`Arc`] it comes in to [reload](Self::reload) it.
#[derive(Debug)]
pub struct Access {
    inner: Arc<Inner>,
}

impl Access {
    /// Reads the files. `threads`: whether the host has threads on which passwords can be checked.
    ///
    /// # Errors
    /// If a file cannot be read or has a line that mosquitto 2.1 refuses, or the host gives no random numbers.
    pub fn load(options: AccessOptions, threads: bool) -> Result<Arc<Self>, AccessError> {
        let mut random = [0; 32];
        getrandom::fill(&mut random)
            .map_err(|error| AccessError(format!("the host gives no random numbers: {error}")))?;
        let stamps = Stamps::of(options.files());
        let loaded = Loaded::read(&options)?;
        loaded.log(&options);
        loaded.log_counts();
        let inner = Inner::new(State { options, loaded }, stamps, DigestKey::new(random), threads);
        Ok(Arc::new(Self { inner: Arc::new(inner) }))
    }

    /// Reads the files again, or the files of other options. Within a second clients that may no longer be connected are
    /// disconnected, and subscriptions deliver by the new rules.
    ///
    /// # Errors
    /// As [`Access::load`], and if a listener beyond loopback would be open to everyone. Then nothing changes.
    pub fn reload(&self, options: Option<AccessOptions>) -> Result<(), AccessError> {
        // Two reloads at a time could leave the older of two files.
        let mut seen = self.inner.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        self.reload_as(options, &mut seen)
    }

    fn reload_as(&self, options: Option<AccessOptions>, seen: &mut Stamps) -> Result<(), AccessError> {
        let options = options.unwrap_or_else(|| self.inner.state().options.clone());
        let stamps = Stamps::of(options.files());
        let loaded = Loaded::read(&options)?;
        if let Some(listeners) = self.inner.listeners.get() {
            check_listeners(&options, listeners)?;
        }
        loaded.log(&options);
        *seen = stamps;
        self.inner.replace(State { options, loaded });
        Ok(())
    }

    /// Takes the listeners of the broker. A connection names its listener by number, so other listeners need users and rules
    /// of their own: one that is open must not open another of the same number.
    pub(crate) fn bind(&self, listeners: Vec<ListenerAccess>) -> Result<(), AccessError> {
        check_listeners(&self.inner.state().options, &listeners)?;
        if *self.inner.listeners.get_or_init(|| listeners.clone()) == listeners {
            Ok(())
        } else {
            Err(AccessError("an Access serves the listeners of one configuration: load another one".to_owned()))
        }
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        self.inner.checker.close();
    }
}

impl Policy for Access {
    fn connect(&self, request: &ConnectRequest<'_>) -> Decision {
        if let Some(name) = request.certificate_name {
            // As with mosquitto's use_identity_as_username, whatever user and password the client sends.
            let mut named = *request;
            named.username = Some(name);
            return Decision::AllowAs(self.inner.rights(&named, Login::Certificate));
        }
        let state = self.inner.state();
        let origin = Origin::of(request.peer, request.username);
        let refuse = |reason| {
            self.inner.refusals.note(&origin, request, reason);
            Decision::Deny(ReasonCode::NotAuthorized)
        };
        let (Some(user), Some(users)) = (request.username, &state.loaded.users) else {
            // Nothing checks the client.
            return match self.inner.admits_unchecked(&state, request.username.is_some(), request.listener) {
                true => Decision::AllowAs(self.inner.rights(request, Login::Unchecked)),
                false if request.username.is_some() => refuse(Reason::NoUsers),
                false => refuse(Reason::Anonymous),
            };
        };
        let Some(password) = request.password else { return refuse(Reason::NoPassword) };
        let digest = self.inner.key.digest(user, password);
        let known = self.inner.recent.lock().get(&digest);
        match known {
            Some(Some(hash)) if users.hash(user).is_some_and(|current| Arc::ptr_eq(current, &hash)) => {
                return Decision::AllowAs(self.inner.rights(request, Login::Checked(hash)));
            }
            Some(None) => return refuse(Reason::WrongPassword),
            _ => {}
        }
        let Some(not_before) = self.inner.failures.lock().admit(&origin, Instant::now()) else {
            self.inner.refusals.note(&origin, request, Reason::TooManyFailures);
            return Decision::Deny(ReasonCode::ServerBusy);
        };
        let job = Job::new(request, password, digest, origin, not_before);
        match Checker::submit(&self.inner, job) {
            Some(pending) => Decision::Later(pending),
            None => {
                self.inner.refusals.note(&Origin::of(request.peer, request.username), request, Reason::Busy);
                Decision::Deny(ReasonCode::ServerBusy)
            }
        }
    }

    fn restricts_messages(&self) -> bool {
        false
    }

    fn grants_rights(&self) -> bool {
        true
    }

    fn restored_rights(&self, client_id: &str, user: Option<&str>) -> Option<Arc<dyn wisp_engine::Rights>> {
        Some(Arc::new(ClientRights::new(Arc::clone(&self.inner), client_id, user, 0, Login::Unchecked)))
    }

    fn version(&self) -> u64 {
        self.inner.version.load(Ordering::Acquire)
    }
}

impl Watched for Access {
    fn refresh(&self) -> Option<Result<(), String>> {
        let mut seen = self.inner.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = Stamps::of(self.inner.state().options.files());
        if *seen == stamps {
            return None;
        }
        // Also if they are refused, so that each fault is told once.
        *seen = stamps;
        Some(self.reload_as(None, &mut seen).map_err(|error| error.to_string()))
    }
}

#[cfg(test)]
mod tests;
