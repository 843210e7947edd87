//! Before a run: connections that are connected and subscribed, dealt out over the threads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use wisp_client::{Client, ConnectOptions, Error, Parts, QoS, ServerUrl, SubscriptionOptions};
use wisp_net::SysStream;

use crate::drive::acks::{granted, window};
use crate::drive::cases::first_in_words;
use crate::drive::checker::{Checker, add_lost_by_all};
use crate::drive::inbound::Inbound;
use crate::drive::messages::Messages;
use crate::drive::nats;
use crate::drive::outgoing::{Outgoing, Template};
use crate::drive::patience::{self, PatientHost};
use crate::drive::pattern::Layout;
use crate::drive::payload::{Odd, Seal};
use crate::drive::protocol::Protocol;
use crate::drive::run::{Config, Watch};
use crate::drive::seen::Seen;
use crate::drive::sending::Sending;
use crate::drive::target::{NatsUrl, Target};
use crate::drive::topics::{Subscription, Topics};
use crate::drive::worker::{Link, look_every};

/// Descriptors beside one for each connection: standard streams, pollers, and some in reserve.
pub(crate) const DESCRIPTORS_EXTRA: u64 = 64;
/// How long one connection may take to come about.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(10);
/// How long all connections may take to come about, for each of them, beside what nothing may move: a broker that is slower is not
/// one to be measured, and many at the limit of one would take hours.
const CONNECT_EACH: Duration = Duration::from_millis(100);
/// How often it is looked at most, while others are connected, whether links have been silent for long.
const SILENCE_LOOK_EVERY_MIN: Duration = Duration::from_millis(100);
/// The silence that brokers are asked to put up with, in seconds: the longest that can be said.
const KEEP_ALIVE_S: u16 = u16::MAX;
/// How many filters one SUBSCRIBE has: brokers limit its length.
const FILTERS_AT_ONCE: usize = 32;

/// A connection that is ready for the run, and what came on it already.
pub(crate) struct Early {
    pub(crate) stream: SysStream,
    /// What was not looked at.
    pub(crate) bytes: Vec<u8>,
    /// Messages that came. Nothing was sent yet, so that they can only be strangers, such as a retained message.
    pub(crate) strangers: u64,
    /// How long the broker puts up with silence, if it has ordered something.
    pub(crate) keep_alive: Option<Duration>,
}

impl Early {
    fn of(client: Client<PatientHost>) -> Result<Self, Error> {
        // No run lasts as long as what was asked for.
        let keep_alive_s = Some(client.keep_alive_s()).filter(|seconds| (1..KEEP_ALIVE_S).contains(seconds));
        let Parts { stream, bytes, messages, .. } = client.into_parts()?;
        let keep_alive = keep_alive_s.map(|seconds| Duration::from_secs(seconds.into()));
        Ok(Self { stream, bytes, strangers: messages.len() as u64, keep_alive })
    }
}

/// What does not change during a run.
pub(crate) struct Plan<'a> {
    pub(crate) config: &'a Config,
    protocol: Protocol,
    /// Tells this run's messages from those of others.
    run: u32,
    pub(crate) seal: Seal,
    pub(crate) topics: Topics,
    /// What all receivers have got, where any of them may get any message.
    seen: Option<Arc<Seen>>,
    template: Template,
}

impl Plan<'_> {
    pub(crate) fn new(config: &Config, run: u32) -> Result<Plan<'_>, String> {
        let Config { pattern, senders, receivers, topics, messages, .. } = *config;
        let layout = Layout::new(pattern, senders, receivers, topics, messages)?;
        let protocol = Protocol::of(config)?;
        let naming = protocol.naming();
        let usual_prefix = || format!("loadgen{}{run:06x}", naming.separator);
        let prefix = config.topic_prefix.clone().unwrap_or_else(usual_prefix);
        let topics = Topics::new(&layout, &prefix, naming)?;
        let seal = Seal::new(run, config.size);
        let template = protocol.sent(&topics, &seal, config.qos)?;
        let seen = (pattern.is_shared() && receivers > 0).then(|| Arc::new(Seen::new(&layout.spread)));
        Ok(Plan { config, protocol, run, seal, topics, seen, template })
    }

    /// A thread's buffer of packets.
    pub(crate) fn outgoing(&self, buffer_bytes: usize) -> Outgoing {
        Outgoing::new(self.seal, self.topics.clone(), self.template.clone(), buffer_bytes)
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
    pub(crate) fn connect(&self, begun: Instant, watch: &dyn Watch) -> Result<(Vec<Link>, Vec<Link>), String> {
        let wanted = self.config.senders.saturating_add(self.config.receivers);
        allow_descriptors(u64::from(wanted) + DESCRIPTORS_EXTRA)?;
        let time_max = self.connecting_max(wanted);
        let why_not = || match begun.elapsed() {
            _ if watch.is_interrupted() => Some("interrupted before all were connected".to_owned()),
            elapsed if elapsed >= time_max => Some(format!("not all connected after {:.1} s", elapsed.as_secs_f64())),
            _ => None,
        };
        let connected = AtomicU32::new(0);
        let links = patience::unless(why_not, |host| self.connect_all(host, &connected));
        let links = links.map_err(|error| format!("the system lets no thread be started: {error}"))?;
        let connected = connected.load(Ordering::Relaxed);
        links
            .and_then(|links| links)
            .map_err(|why| if connected > 0 { format!("{why}; {connected} of {wanted} connected") } else { why })
    }

    /// How long connecting so many may take.
    fn connecting_max(&self, connections: u32) -> Duration {
        let each = CONNECT_EACH.saturating_mul(connections);
        let own = self.config.timeout.saturating_add(CONNECT_TIMEOUT_MAX).saturating_add(each);
        self.config.duration_max.map_or(own, |duration_max| duration_max.min(own))
    }

    /// Connects everybody, and tells meanwhile how many are `connected`. Gives receivers and senders.
    fn connect_all(&self, host: &PatientHost, connected: &AtomicU32) -> Result<(Vec<Link>, Vec<Link>), String> {
        let address = self.find_address(host)?;
        let outgoing = self.outgoing(0);
        let (mut links, mut looked) = (Vec::new(), Instant::now());
        let receivers = (0..self.config.receivers).map(|receiver| self.receiver(host, address, receiver));
        let senders = (0..self.config.senders).map(|sender| self.sender(host, address, sender, &outgoing));
        for link in receivers.chain(senders) {
            links.push(link?);
            connected.fetch_add(1, Ordering::Relaxed);
            keep_alive(&mut links, &mut looked);
        }
        let senders = links.split_off(self.config.receivers as usize);
        Ok((links, senders))
    }

    /// The first of the broker's addresses that answers.
    fn find_address(&self, host: &PatientHost) -> Result<SocketAddr, String> {
        let mut last = None;
        for address in self.config.target.resolve().map_err(|error| error.to_string())? {
            match self.try_address(host, address) {
                Ok(()) => return Ok(address),
                Err(error @ Error::Connect { .. }) => last = Some(error),
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(last.expect("resolve gives one address at least").to_string())
    }

    fn try_address(&self, host: &PatientHost, address: SocketAddr) -> Result<(), Error> {
        match &self.config.target {
            Target::Mqtt(url) => {
                let client = self.client(host, url, address, "first")?;
                // It has served its purpose, however it ends.
                let _ = client.disconnect();
            }
            Target::Nats(url) => {
                let (size, max) = (self.seal.size() as u64, self.nats(host, url, address)?.info().max_payload);
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
        host: &PatientHost,
        url: &ServerUrl,
        address: SocketAddr,
        name: &str,
    ) -> Result<Client<PatientHost>, Error> {
        let mut options = ConnectOptions::new(self.config.version).with_user_of(url);
        // At most 6 + 1 + 10 letters and digits, which every broker takes.
        options.client_id = format!("{:06x}{name}", self.run);
        // Nothing is pinged during a run, unless the broker orders it. 0 would say that, but not every broker takes it.
        options.keep_alive_s = KEEP_ALIVE_S;
        options.connect_timeout = self.connect_timeout();
        options.answer_timeout = options.connect_timeout;
        Client::connect_on(host, address, options)
    }

    fn nats(&self, host: &PatientHost, url: &NatsUrl, address: SocketAddr) -> Result<nats::Connection, Error> {
        nats::Connection::open(host, address, url.credentials(), self.connect_timeout())
    }

    fn connect_timeout(&self) -> Duration {
        self.config.timeout.min(CONNECT_TIMEOUT_MAX)
    }

    fn receiver(&self, host: &PatientHost, address: SocketAddr, receiver: u32) -> Result<Link, String> {
        let name = format!("receiver {receiver}");
        let early = match &self.config.target {
            Target::Mqtt(url) => self.client(host, url, address, &format!("r{receiver}")).and_then(|mut client| {
                self.subscribe(&mut client, receiver)?;
                Early::of(client)
            }),
            Target::Nats(url) => self.nats(host, url, address).and_then(|mut connection| {
                let subscriptions = self.topics.subscriptions(receiver);
                for (index, Subscription { filter, group }) in subscriptions.iter().enumerate() {
                    connection.subscribe(filter, *group, &nats::sid(index, subscriptions.len()))?;
                }
                Ok(connection.into_early())
            }),
        };
        let Early { stream, bytes, strangers, keep_alive } = early.map_err(|error| format!("{name}: {error}"))?;
        let (protocol, qos) = (self.protocol, self.config.qos);
        let first_topic = self.topics.layout().topics_of(receiver).start;
        let template = protocol.received(&self.topics, first_topic, &self.seal, qos)?;
        let mut checker = Checker::new(self.topics.layout(), receiver, self.seen.clone());
        for _ in 0..strangers {
            checker.odd(Odd::Foreign);
        }
        let messages = Messages::new(&template, self.seal, self.topics.clone(), qos, checker);
        let inbound = Inbound::messages(protocol, self.inbound_max(), bytes, messages);
        Ok(Link { stream, inbound, sending: None, name, keep_alive, has_sent: true })
    }

    /// Subscribes to all that a receiver gets.
    fn subscribe(&self, client: &mut Client<PatientHost>, receiver: u32) -> Result<(), Error> {
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
        host: &PatientHost,
        address: SocketAddr,
        sender: u32,
        outgoing: &Outgoing,
    ) -> Result<Link, String> {
        let name = format!("sender {sender}");
        let (protocol, qos) = (self.protocol, self.config.qos);
        let early = match &self.config.target {
            Target::Mqtt(url) => self.client(host, url, address, &format!("s{sender}")).and_then(|client| {
                let (qos_max, receive_max) = (client.qos_max(), client.receive_max());
                if qos > qos_max {
                    return Err(Error::Usage(format!("the broker takes QoS {} at most", qos_max as u8)));
                }
                let window = window(self.config.version, self.config.window, receive_max);
                Ok((Early::of(client)?, (qos > QoS::AtMostOnce).then_some(window)))
            }),
            Target::Nats(url) => self.nats(host, url, address).map(|connection| (connection.into_early(), None)),
        };
        let (Early { stream, bytes, keep_alive, .. }, window) = early.map_err(|error| format!("{name}: {error}"))?;
        let inbound = Inbound::acks(protocol, self.inbound_max(), bytes, sender, qos);
        let sending = Some(Sending::new(sender, outgoing, window, self.config.rate_per_s.is_some()));
        Ok(Link { stream, inbound, sending, name, keep_alive, has_sent: true })
    }

    fn inbound_max(&self) -> u32 {
        u32::try_from(self.packet_bytes_max()).unwrap_or(u32::MAX)
    }
}

/// Lets those links ping that have been silent for long, while others are still being connected.
fn keep_alive(links: &mut [Link], looked: &mut Instant) {
    // All are of one broker, so that the newest link knows what it orders.
    let Some(look_every) = look_every(links.last().into_iter()) else { return };
    if looked.elapsed() < look_every.max(SILENCE_LOOK_EVERY_MIN) {
        return;
    }
    *looked = Instant::now();
    for link in links {
        if link.ping_if_silent(true) {
            // What the socket does not take, or why it does not, is for the run to find.
            let _ = link.inbound.replies.send(&link.stream);
        }
    }
}

/// Makes sure that so many descriptors can be open at once.
pub(crate) fn allow_descriptors(needed: u64) -> Result<(), String> {
    let allowed =
        rlimit::increase_nofile_limit(needed).map_err(|error| format!("cannot ask for descriptors: {error}"))?;
    if allowed >= needed {
        return Ok(());
    }
    Err(format!("{needed} descriptors are needed, and the system allows {allowed} (see `ulimit -Hn`)"))
}

/// Deals `links` out in turn. Each of the `threads` gets one at least, if there are enough.
pub(crate) fn deal(links: Vec<Link>, threads: usize) -> Vec<Vec<Link>> {
    let mut hands: Vec<Vec<Link>> = (0..threads).map(|_| Vec::new()).collect();
    for (index, link) in links.into_iter().enumerate() {
        hands[index % threads].push(link);
    }
    hands
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
