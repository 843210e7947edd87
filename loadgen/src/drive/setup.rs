//! Before a run: connections that are connected and subscribed, dealt out over the threads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use wisp_client::{Client, ConnectOptions, Error, QoS, ServerUrl, SubscriptionOptions, Transport};

use crate::drive::acks::{granted, window};
use crate::drive::cases::first_in_words;
use crate::drive::checker::{Checker, add_lost_by_all};
use crate::drive::config::Config;
use crate::drive::connection::{ClientConnection, silence_check_interval};
use crate::drive::deadline::{self, InterruptibleHost};
use crate::drive::error::{DescriptorError, RunError};
use crate::drive::inbound::Inbound;
use crate::drive::messages::Messages;
use crate::drive::nats;
use crate::drive::opened::{KEEP_ALIVE_S, OpenedConnection};
use crate::drive::outgoing::{Outgoing, Template};
use crate::drive::pattern::Layout;
use crate::drive::payload::{PayloadError, PayloadFormat};
use crate::drive::protocol::Protocol;
use crate::drive::seen::Seen;
use crate::drive::sending::Sending;
use crate::drive::target::{NatsUrl, Target};
use crate::drive::topics::{Subscription, Topics};
use crate::drive::watch::Watch;

/// Descriptors beside one for each connection: standard streams, pollers, and some in reserve.
pub const DESCRIPTORS_EXTRA: u64 = 64;
/// How long one connection may take to come about.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(10);
/// The time for connecting, for each connection, in addition to the timeout. A slower broker is not worth measuring,
/// and many connections at their own timeouts would take hours.
const CONNECT_EACH: Duration = Duration::from_millis(100);
/// How often it is looked at most, while others are connected, whether connections have been silent for long.
const SILENCE_LOOK_EVERY_MIN: Duration = Duration::from_millis(100);
/// How long sessions that outlive their connections do so.
const KEPT_S: u32 = 3600;
/// How many filters one SUBSCRIBE has: brokers limit its length.
const FILTERS_AT_ONCE: usize = 32;

/// The parts of a run that do not change.
pub(crate) struct Plan<'a> {
    pub(crate) config: &'a Config,
    transport: Transport,
    protocol: Protocol,
    /// The run's number, which tells its messages from those of other runs.
    run: u32,
    pub(crate) payloads: PayloadFormat,
    pub(crate) topics: Topics,
    /// The messages that any receiver has got, for shared subscriptions.
    seen: Option<Arc<Seen>>,
    template: Template,
}

impl Plan<'_> {
    pub(crate) fn new(config: &Config, run: u32) -> Result<Plan<'_>, RunError> {
        let Config { pattern, senders, receivers, topics, messages, .. } = *config;
        let layout = Layout::new(pattern, senders, receivers, topics, messages)?;
        let protocol = Protocol::of(config)?;
        let transport = config.target.transport(&config.tls)?;
        let naming = protocol.naming();
        let usual_prefix = || format!("loadgen{}{run:06x}", naming.separator);
        let prefix = config.topic_prefix.clone().unwrap_or_else(usual_prefix);
        let topics = Topics::new(&layout, &prefix, naming)?;
        let payloads = PayloadFormat::new(run, config.size);
        let template = protocol.sent(&topics, &payloads, config.qos)?;
        let seen = (pattern.is_shared() && receivers > 0).then(|| Arc::new(Seen::new(&layout.spread)));
        Ok(Plan { config, transport, protocol, run, payloads, topics, seen, template })
    }

    /// A thread's buffer of packets.
    pub(crate) fn outgoing(&self, buffer_bytes: usize) -> Outgoing {
        Outgoing::new(self.payloads, self.topics.clone(), self.template.clone(), buffer_bytes)
    }

    /// The first faults that all receivers' checkers have found, of the messages that were `sent` by each sender.
    pub(crate) fn first_faults(&self, checkers: &[Checker], sent: &[u64]) -> Vec<String> {
        let mut cases = Vec::new();
        for checker in checkers {
            cases.extend_from_slice(checker.cases());
            checker.add_lost(sent, &mut cases);
        }
        if let Some(seen) = &self.seen {
            add_lost_by_all(seen, sent, &mut cases);
        }
        first_in_words(cases, &self.topics)
    }

    /// The largest packet that is accepted: properties of the broker may make one longer than it was sent.
    pub(crate) fn packet_bytes_max(&self) -> usize {
        self.template.packet_bytes() + 64 * 1024
    }

    /// Connects everybody: the receivers, each subscribed to its topics, and the senders. Until that is done it is looked
    /// whether somebody interrupts, and whether the time of the run, which has `begun`, is over.
    pub(crate) fn connect(
        &self,
        begun: Instant,
        watch: &dyn Watch,
    ) -> Result<(Vec<ClientConnection>, Vec<ClientConnection>), RunError> {
        let wanted = self.config.senders.saturating_add(self.config.receivers);
        allow_descriptors(u64::from(wanted) + DESCRIPTORS_EXTRA)?;
        let time_max = self.connecting_max(wanted);
        let why_not = || match begun.elapsed() {
            _ if watch.is_interrupted() => Some(RunError::Interrupted),
            elapsed if elapsed >= time_max => Some(RunError::ConnectTimeout(elapsed.as_secs_f64())),
            _ => None,
        };
        let connected = AtomicU32::new(0);
        let connections = deadline::unless(why_not, |host| self.connect_all(host, &connected));
        let connections = connections.map_err(RunError::NoThread)?;
        let connected = connected.load(Ordering::Relaxed);
        connections.and_then(|connections| connections).map_err(|cause| match connected {
            0 => cause,
            _ => RunError::Incomplete { cause: Box::new(cause), connected, wanted },
        })
    }

    /// The longest time that connecting may take.
    fn connecting_max(&self, connections: u32) -> Duration {
        let each = CONNECT_EACH.saturating_mul(connections);
        let own = self.config.timeout.saturating_add(CONNECT_TIMEOUT_MAX).saturating_add(each);
        self.config.duration_max.map_or(own, |duration_max| duration_max.min(own))
    }

    /// Connects everybody, and tells meanwhile how many are `connected`. Gives receivers and senders.
    fn connect_all(
        &self,
        host: &InterruptibleHost,
        connected: &AtomicU32,
    ) -> Result<(Vec<ClientConnection>, Vec<ClientConnection>), RunError> {
        let address = self.find_address(host)?;
        let outgoing = self.outgoing(0);
        let (mut connections, mut looked) = (Vec::new(), Instant::now());
        let receivers = (0..self.config.receivers).map(|receiver| self.receiver(host, address, receiver));
        let senders = (0..self.config.senders).map(|sender| self.sender(host, address, sender, &outgoing));
        for connection in receivers.chain(senders) {
            connections.push(connection?);
            connected.fetch_add(1, Ordering::Relaxed);
            keep_alive(&mut connections, &mut looked);
        }
        let senders = connections.split_off(self.config.receivers as usize);
        Ok((connections, senders))
    }

    /// The first of the broker's addresses that answers.
    fn find_address(&self, host: &InterruptibleHost) -> Result<SocketAddr, RunError> {
        let mut last = None;
        for address in self.config.target.resolve()? {
            match self.try_address(host, address) {
                Ok(()) => return Ok(address),
                Err(error @ Error::Connect { .. }) => last = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        Err(last.expect("resolve gives one address at least").into())
    }

    fn try_address(&self, host: &InterruptibleHost, address: SocketAddr) -> Result<(), Error> {
        match &self.config.target {
            Target::Mqtt(url) => {
                let client = self.client(host, url, address, "first", false)?;
                // It has served its purpose, however it ends.
                let _ = client.disconnect();
            }
            Target::Nats(url) => {
                let (size, max) = (self.payloads.size() as u64, self.nats(host, url, address)?.info().max_payload);
                if max > 0 && size > max {
                    let why = format!("the server takes payloads of {max} bytes at most, and not of {size}");
                    return Err(Error::Usage(why));
                }
            }
        }
        Ok(())
    }

    fn client(
        &self,
        host: &InterruptibleHost,
        url: &ServerUrl,
        address: SocketAddr,
        name: &str,
        is_kept: bool,
    ) -> Result<Client<InterruptibleHost>, Error> {
        let mut options = ConnectOptions::new(self.config.version).with_user_of(url);
        options.transport = self.transport.clone();
        // At most 6 + 1 + 10 letters and digits, which every broker takes.
        options.client_id = format!("{:06x}{name}", self.run);
        if is_kept {
            // The number of the run is new, so nobody has this session already.
            options.clean_start = false;
            if self.config.version.is_v5() {
                options.session_expiry_s = KEPT_S;
            }
        }
        // Nothing is pinged during a run, unless the broker orders it. 0 would say that, but not every broker takes it.
        options.keep_alive_s = KEEP_ALIVE_S;
        options.connect_timeout = self.connect_timeout();
        options.answer_timeout = options.connect_timeout;
        Client::connect_on(host, address, options)
    }

    fn nats(&self, host: &InterruptibleHost, url: &NatsUrl, address: SocketAddr) -> Result<nats::Connection, Error> {
        nats::Connection::open(host, address, url.credentials(), self.connect_timeout())
    }

    fn connect_timeout(&self) -> Duration {
        self.config.timeout.min(CONNECT_TIMEOUT_MAX)
    }

    fn receiver(
        &self,
        host: &InterruptibleHost,
        address: SocketAddr,
        receiver: u32,
    ) -> Result<ClientConnection, RunError> {
        let name = format!("receiver {receiver}");
        let early = match &self.config.target {
            Target::Mqtt(url) => self
                .client(host, url, address, &format!("r{receiver}"), self.config.kept_sessions)
                .and_then(|mut client| {
                    self.subscribe(&mut client, receiver)?;
                    OpenedConnection::of(client)
                }),
            Target::Nats(url) => self.nats(host, url, address).and_then(|mut connection| {
                let subscriptions = self.topics.subscriptions(receiver);
                for (index, Subscription { filter, group }) in subscriptions.iter().enumerate() {
                    connection.subscribe(filter, *group, &nats::sid(index, subscriptions.len()))?;
                }
                Ok(connection.into_opened())
            }),
        };
        let OpenedConnection { stream, bytes, unsent, strangers, keep_alive } =
            early.map_err(|cause| RunError::Client { client: name.clone(), cause })?;
        let (protocol, qos) = (self.protocol, self.config.qos);
        let first_topic = self.topics.layout().topics_of(receiver).start;
        let template = protocol.received(&self.topics, first_topic, &self.payloads, qos)?;
        let mut checker = Checker::new(self.topics.layout(), receiver, self.seen.clone());
        for _ in 0..strangers {
            checker.reject(PayloadError::Foreign);
        }
        let messages = Messages::new(&template, self.payloads, self.topics.clone(), qos, checker);
        let mut inbound = Inbound::messages(protocol, self.inbound_max(), bytes, messages);
        inbound.replies.push_bytes(&unsent);
        Ok(ClientConnection { stream, inbound, sending: None, name, keep_alive, has_sent: true })
    }

    /// Subscribes to all that a receiver gets.
    fn subscribe(&self, client: &mut Client<InterruptibleHost>, receiver: u32) -> Result<(), Error> {
        let options = SubscriptionOptions::new(self.config.qos);
        let filters =
            self.topics.subscriptions(receiver).into_iter().map(|Subscription { filter, group }| match group {
                Some(group) => format!("$share/{group}/{filter}"),
                None => filter,
            });
        let filters: Vec<_> = filters.collect();
        for some in filters.chunks(FILTERS_AT_ONCE) {
            let with_options: Vec<_> = some.iter().map(|filter| (filter.as_str(), options)).collect();
            for (filter, code) in some.iter().zip(client.subscribe_with(&with_options, None)?) {
                if code.is_error() {
                    return Err(Error::Usage(format!("the broker refused the subscription to {filter}: {code}")));
                }
                // A lower QoS would be another measurement.
                if code != granted(self.config.qos) {
                    let qos = self.config.qos as u8;
                    return Err(Error::Usage(format!("the broker granted less than QoS {qos}: {code}")));
                }
            }
        }
        Ok(())
    }

    fn sender(
        &self,
        host: &InterruptibleHost,
        address: SocketAddr,
        sender: u32,
        outgoing: &Outgoing,
    ) -> Result<ClientConnection, RunError> {
        let name = format!("sender {sender}");
        let (protocol, qos) = (self.protocol, self.config.qos);
        let early = match &self.config.target {
            Target::Mqtt(url) => self.client(host, url, address, &format!("s{sender}"), false).and_then(|client| {
                let (qos_max, receive_max) = (client.qos_max(), client.receive_max());
                if qos > qos_max {
                    return Err(Error::Usage(format!("the broker takes QoS {} at most", qos_max as u8)));
                }
                let window = window(self.config.version, self.config.window, receive_max);
                Ok((OpenedConnection::of(client)?, (qos > QoS::AtMostOnce).then_some(window)))
            }),
            Target::Nats(url) => self.nats(host, url, address).map(|connection| (connection.into_opened(), None)),
        };
        let (OpenedConnection { stream, bytes, keep_alive, .. }, window) =
            early.map_err(|cause| RunError::Client { client: name.clone(), cause })?;
        let inbound = Inbound::acks(protocol, self.inbound_max(), bytes, sender, qos);
        let sending = Some(Sending::new(sender, outgoing, window, self.config.rate_per_s.is_some()));
        Ok(ClientConnection { stream, inbound, sending, name, keep_alive, has_sent: true })
    }

    fn inbound_max(&self) -> u32 {
        u32::try_from(self.packet_bytes_max()).unwrap_or(u32::MAX)
    }
}

/// Pings on connections that have been silent for long, while others are still being connected.
fn keep_alive(connections: &mut [ClientConnection], looked: &mut Instant) {
    // All connections are to one broker, so the newest one knows its keep-alive.
    let Some(silence_check_every) = silence_check_interval(connections.last().into_iter()) else { return };
    if looked.elapsed() < silence_check_every.max(SILENCE_LOOK_EVERY_MIN) {
        return;
    }
    *looked = Instant::now();
    for connection in connections {
        if connection.ping_if_silent(true) {
            // If sending fails, the run will notice.
            let _ = connection.inbound.replies.send(&mut connection.stream);
        }
    }
}

/// Raises the limit of open descriptors to at least `needed`.
///
/// # Errors
/// If the system does not allow it.
pub fn allow_descriptors(needed: u64) -> Result<(), DescriptorError> {
    let allowed = rlimit::increase_nofile_limit(needed)?;
    if allowed >= needed { Ok(()) } else { Err(DescriptorError::TooFew { needed, allowed }) }
}

/// Deals `connections` out in turn. Each of the `threads` gets one at least, if there are enough.
pub(crate) fn split_evenly(connections: Vec<ClientConnection>, threads: usize) -> Vec<Vec<ClientConnection>> {
    let mut groups: Vec<Vec<ClientConnection>> = (0..threads).map(|_| Vec::new()).collect();
    for (index, connection) in connections.into_iter().enumerate() {
        groups[index % threads].push(connection);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connecting_has_a_bound_that_grows_with_connections_and_ends_with_the_run() {
        let config = Config { timeout: Duration::from_secs(5), ..Config::new("mqtt://127.0.0.1:1".parse().unwrap()) };
        let seconds =
            |config: &Config, connections| Plan::new(config, 1).unwrap().connecting_max(connections).as_secs();
        assert_eq!((seconds(&config, 10), seconds(&config, 2000)), (16, 215));
        let config = Config { duration_max: Some(Duration::from_secs(60)), ..config };
        assert_eq!((seconds(&config, 10), seconds(&config, 2000)), (16, 60));
    }
}
