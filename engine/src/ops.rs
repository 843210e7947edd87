//! Verbs over the shared state: route, deliver, attach, expire, replay. Only these files know all of [`crate::state`].

pub(crate) mod dispatch;
pub(crate) mod eviction;
pub(crate) mod expire;
pub(crate) mod fullest;
pub(crate) mod lists;
pub(crate) mod queues;
pub(crate) mod replay;
pub(crate) mod restore;
pub(crate) mod routes;
pub(crate) mod sessions;
pub(crate) mod subscriptions;
pub(crate) mod sys;
