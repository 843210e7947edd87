//! The state behind the policy: the files as they were read, passwords known lately, and the rights of clients.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use tracing::warn;
use wisp_access::{Access, Client, Digest, DigestKey, Memory, PasswordHash};
use wisp_engine::sync::{AtomicU64, Mutex, Ordering, rank};
use wisp_engine::{ConnectRequest, Rights, Verdict};
use wisp_wire::ReasonCode;

use super::checker::{Check, Checker, Job};
use super::failures::Failures;
use super::files::Loaded;
use super::options::{AccessOptions, ListenerAccess};
use super::recent::Recent;
use super::refusals::{Reason, Refusals};
use crate::stamps::Stamps;

/// The state of the policy.
#[derive(Debug)]
pub(super) struct Inner {
    state: RwLock<Arc<State>>,
    /// Counts the states.
    pub(super) version: AtomicU64,
    pub(super) key: DigestKey,
    pub(super) listeners: OnceLock<Vec<ListenerAccess>>,
    pub(super) recent: Mutex<Recent, { rank::LEAF }>,
    pub(super) failures: Mutex<Failures, { rank::LEAF }>,
    pub(super) refusals: Refusals,
    pub(super) checker: Checker,
    /// Of the files as they were read last. Held while they are read.
    pub(super) stamps: std::sync::Mutex<Stamps>,
}

/// The files as they were read, and the options.
#[derive(Debug)]
pub(super) struct State {
    pub(super) options: AccessOptions,
    pub(super) loaded: Loaded,
}

impl Inner {
    pub(super) fn new(state: State, stamps: Stamps, key: DigestKey, threads: bool) -> Self {
        Self {
            state: RwLock::new(Arc::new(state)),
            version: AtomicU64::new(1),
            key,
            listeners: OnceLock::new(),
            recent: Mutex::default(),
            failures: Mutex::default(),
            refusals: Refusals::default(),
            checker: Checker::new(threads),
            stamps: std::sync::Mutex::new(stamps),
        }
    }

    /// Takes another state, and forgets the passwords that were known under the old one.
    pub(super) fn replace(&self, state: State) {
        let mut current = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(state);
        self.recent.lock().clear();
        self.version.fetch_add(1, Ordering::Release);
    }

    pub(super) fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a client may connect that nothing checks: one without a user name, or any if there are no users.
    pub(super) fn admits_unchecked(&self, state: &State, has_name: bool, listener: u16) -> bool {
        let listener = self.listeners.get().and_then(|listeners| listeners.get(usize::from(listener)));
        let has_users = state.loaded.users.is_some();
        let is_trusted =
            |listener: &ListenerAccess| listener.requires_certificate || listener.address.ip().is_loopback();
        let by_default = !has_users && listener.is_none_or(is_trusted);
        let said = listener.and_then(|listener| listener.allow_anonymous).or(state.options.allow_anonymous);
        (!has_name || !has_users) && said.unwrap_or(by_default)
    }

    pub(super) fn rights(self: &Arc<Self>, request: &ConnectRequest<'_>, login: Login) -> Arc<ClientRights> {
        Arc::new(ClientRights::new(Arc::clone(self), request.client_id, request.username, request.listener, login))
    }

    /// Remembers the result of a check, unless the users have changed since.
    fn remember(&self, state: &Arc<State>, digest: Digest, found: Option<&Arc<PasswordHash>>) {
        let current = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&current, state) {
            self.recent.lock().insert(digest, found.cloned());
        }
    }

    /// Whether the rules allow a client a topic.
    pub(super) fn allows(&self, client: &Client<'_>, access: Access, topic: &str) -> bool {
        self.state().loaded.rules.as_ref().is_none_or(|rules| rules.allow(client, access, topic))
    }
}

impl Check for Inner {
    fn checker(&self) -> &Checker {
        &self.checker
    }

    fn check(access: &Arc<Self>, job: &Job, memory: &mut Memory) -> Verdict {
        let state = access.state();
        let Some(users) = &state.loaded.users else {
            // The password file was taken away while the client waited. It may try again.
            return Verdict::Deny(ReasonCode::ServerBusy);
        };
        let found = match users.verify(&job.user, &job.password, &access.key, memory) {
            Ok(found) => found.cloned(),
            Err(error) => {
                warn!(user = &*job.user, "CONNECT refused: {error}");
                return Verdict::Deny(ReasonCode::ServerBusy);
            }
        };
        access.remember(&state, job.digest, found.as_ref());
        match found {
            Some(hash) => {
                let (id, user) = (&*job.client_id, Some(&*job.user));
                let rights = ClientRights::new(Arc::clone(access), id, user, job.listener, Login::Checked(hash));
                Verdict::AllowAs(Arc::new(rights))
            }
            None => {
                access.failures.lock().note(&job.origin, Instant::now());
                let reason = if users.hash(&job.user).is_some() { Reason::WrongPassword } else { Reason::UnknownUser };
                access.refusals.note_job(job, reason);
                Verdict::Deny(ReasonCode::NotAuthorized)
            }
        }
    }
}

/// The rights of one client. They change with the files.
#[derive(Debug)]
pub(super) struct ClientRights {
    access: Arc<Inner>,
    client_id: Box<str>,
    user: Option<Box<str>>,
    listener: u16,
    login: Login,
}

/// How the client was let in.
#[derive(Debug)]
pub(super) enum Login {
    /// Without a check, since it may be anonymous.
    Unchecked,
    /// By the password with this hash.
    Checked(Arc<PasswordHash>),
    /// By a certificate with its name in it, which was checked when it connected.
    Certificate,
}

impl ClientRights {
    pub(super) fn new(access: Arc<Inner>, client_id: &str, user: Option<&str>, listener: u16, login: Login) -> Self {
        Self { access, client_id: client_id.into(), user: user.map(Box::from), listener, login }
    }

    fn client(&self) -> Client<'_> {
        Client { user: self.user.as_deref(), id: &self.client_id }
    }
}

impl Rights for ClientRights {
    fn restricts_messages(&self) -> bool {
        self.access.state().loaded.rules.is_some()
    }

    fn may_publish(&self, topic: &str) -> bool {
        self.access.allows(&self.client(), Access::Write, topic)
    }

    fn may_receive(&self, topic: &str) -> bool {
        self.access.allows(&self.client(), Access::Read, topic)
    }

    /// A client stays if it could log in again with the same hash: a new hash of the same password
    /// ends it too.
    fn may_stay(&self) -> bool {
        let state = self.access.state();
        let admits_unchecked = || self.access.admits_unchecked(&state, self.user.is_some(), self.listener);
        match (&self.login, &self.user, &state.loaded.users) {
            (Login::Certificate, ..) => true,
            (Login::Checked(hash), Some(user), Some(users)) => users.hash(user).is_some_and(|known| known == hash),
            _ => admits_unchecked(),
        }
    }

    fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }
}
