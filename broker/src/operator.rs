//! What an operator sees of a running broker, and does to it: the engine's lists, the listeners, and actions on their way to a
//! worker.

use wisp_engine::{
    Action, InvalidCursor, List, ListQuery, Mail, Order, PendingAction, Presence, QueueRow, RetainedMessage,
    RetainedRow, SessionRow, SubscriptionRow,
};
use wisp_net::Host;

use crate::listener_rows::ListenerRow;
use crate::mailbox::WorkerMessage;
use crate::server::Control;

#[cfg(feature = "admin")]
impl<H: Host> crate::admin::Running for crate::state::Server<H> {
    fn listeners(&self) -> Vec<ListenerRow> {
        self.listener_rows()
    }

    fn log_refused(&self, reason: &'static str) {
        self.log.admin_refused(reason, self.now_ms());
    }
}

/// Lists come a page at a time. A page takes a bounded time, however many clients there are, and no thread of the broker waits for it.
impl<H: Host> Control<H> {
    /// A page of the sessions of clients that are connected, or away, in no particular order. Empty if
    /// [`ConfigBuilder::lists_sessions`](crate::ConfigBuilder::lists_sessions) is off.
    ///
    /// # Errors
    /// If the query continues a page that there was not.
    pub fn sessions(&self, query: &ListQuery<'_>, wanted: Presence) -> Result<List<SessionRow>, InvalidCursor> {
        self.0.engine.list_sessions(query, wanted)
    }

    /// The session of a client, connected or away.
    pub fn session(&self, client_id: &str) -> Option<SessionRow> {
        self.0.engine.find_session_row(client_id)
    }

    /// A page of all subscriptions, by client. Empty if
    /// [`ConfigBuilder::lists_sessions`](crate::ConfigBuilder::lists_sessions) is off.
    ///
    /// # Errors
    /// If the query continues a page that there was not.
    pub fn subscriptions(&self, query: &ListQuery<'_>) -> Result<List<SubscriptionRow>, InvalidCursor> {
        self.0.engine.list_subscriptions(query)
    }

    /// A page of the subscriptions of a client, by filter. `None` if it has no session.
    pub fn subscriptions_of(&self, client_id: &str, query: &ListQuery<'_>) -> Option<List<SubscriptionRow>> {
        self.0.engine.list_subscriptions_of(client_id, query)
    }

    /// A page of the topic queues and the groups of shared subscriptions, by name.
    pub fn queues(&self, query: &ListQuery<'_>) -> List<QueueRow> {
        self.0.engine.list_queues(query)
    }

    /// A page of the retained messages, by topic. The broker's own are there if the prefix begins with `$`.
    pub fn retained(&self, query: &ListQuery<'_>) -> List<RetainedRow> {
        self.0.engine.list_retained(query)
    }

    /// The retained message of a topic.
    pub fn retained_message(&self, topic: &str) -> Option<RetainedMessage> {
        self.0.engine.retained_message(topic)
    }

    /// The listeners, in the order of the configuration, the admin listener last.
    pub fn listeners(&self) -> Vec<ListenerRow> {
        self.0.listener_rows()
    }

    /// Takes another token for the API of the admin listener, as [`ConfigBuilder::admin_token`](crate::ConfigBuilder::admin_token) does.
    /// True if it was another one.
    ///
    /// # Errors
    /// If the token is too short. Then nothing changes.
    #[cfg(feature = "admin")]
    pub fn set_admin_token(&self, token: impl Into<Option<Box<str>>>) -> Result<bool, crate::ConfigError> {
        let token = token.into();
        crate::config::check_token(token.as_deref())?;
        Ok(self.0.pages.get().is_some_and(|pages| pages.set_token(token)))
    }

    /// Begins an action. A worker carries it out in its next turns, without asking the policy.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wisp_broker::{Action, Broker, Config, Done, NewMessage, QoS};
    ///
    /// let broker = Broker::start(Config::builder().listener(([127, 0, 0, 1], 0)).build()?)?;
    /// let message = NewMessage { topic: "a".into(), payload: b"1".to_vec(), qos: QoS::AtLeastOnce, retain: true };
    /// let done = broker.control().act(Action::Publish(message)).wait(Duration::from_secs(10));
    /// assert_eq!(done, Some(Ok(Done::Published { has_receivers: false })));
    /// assert_eq!(broker.control().retained_message("a").unwrap().payload, b"1");
    /// broker.shutdown()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn act(&self, action: Action) -> PendingAction {
        let (order, pending) = Order::new(action);
        if self.0.is_stopping() {
            // No worker looks any more.
            return pending;
        }
        self.0.mailboxes[0].send(WorkerMessage::Mail(Mail::Order(order)));
        pending
    }
}
