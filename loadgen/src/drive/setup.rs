//! Before a run: connections that are connected and subscribed, dealt out over the threads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use wisp_client::{Client, ConnectOptions, Error, Parts, QoS, ServerUrl, SubscriptionOptions};
use wisp_net::SysStream;

use crate::drive::acks::{granted, window};
use crate::drive::apart;
use crate::drive::cases::first_in_words;
use crate::drive::checker::{Checker, add_lost_by_all};
use crate::drive::inbound::Inbound;
use crate::drive::messages::Messages;
use crate::drive::nats;
use crate::drive::outgoing::{Outgoing, Template};
use crate::drive::pattern::Layout;
use crate::drive::payload::{Odd, Seal};
use crate::drive::protocol::Protocol;
use crate::drive::run::{Config, Watch};
use crate::drive::seen::Seen;
use crate::drive::sending::Sending;
use crate::drive::target::{NatsUrl, Target};
use crate::drive::topics::{Subscription, Topics};
use crate::drive::worker::Link;

/// Descriptors beside one for each connection: standard streams, pollers, and some in reserve.
pub(crate) const DESCRIPTORS_EXTRA: u64 = 64;
/// How long one connection may take to come about.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(10);
/// Why there is no run.
const INTERRUPTED: &str = "interrupted before all were connected";
/// How many filters one SUBSCRIBE has: brokers limit its length.
const FILTERS_AT_ONCE: usize = 32;

/// A connection that is ready for the run, and what came on it already.
pub(crate) struct Early {
    pub(crate) stream: SysStream,
    /// What was not looked at.
    pub(crate) bytes: Vec<u8>,
    /// Messages that came. Nothing was sent yet, so that they can only be strangers, such as a retained message.
    pub(crate) strangers: u64,
}

impl From<Parts<SysStream>> for Early {
    fn from(parts: Parts<SysStream>) -> Self {
        Self { stream: parts.stream, bytes: parts.bytes, strangers: parts.messages.len() as u64 }
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

    /// Connects everybody: first the receivers, each subscribed to its topics, and then the senders.
    pub(crate) fn connect(&self, watch: &dyn Watch) -> Result<(Vec<Link>, Vec<Link>), String> {
        let unless_interrupted = || if watch.is_interrupted() { Err(INTERRUPTED.to_owned()) } else { Ok(()) };
        let connections = u64::from(self.config.senders) + u64::from(self.config.receivers);
        allow_descriptors(connections + DESCRIPTORS_EXTRA)?;
        let address = self.find_address(watch)?;
        let receivers = (0..self.config.receivers)
            .map(|receiver| unless_interrupted().and_then(|()| self.receiver(address, receiver, watch)));
        let receivers = receivers.collect::<Result<_, _>>()?;
        let outgoing = self.outgoing(0);
        let senders = (0..self.config.senders)
            .map(|sender| unless_interrupted().and_then(|()| self.sender(address, sender, &outgoing, watch)));
        Ok((receivers, senders.collect::<Result<_, _>>()?))
    }

    /// The first of the broker's addresses that answers.
    fn find_address(&self, watch: &dyn Watch) -> Result<SocketAddr, String> {
        let mut last = None;
        for address in self.config.target.resolve().map_err(|error| error.to_string())? {
            match self.try_address(address, watch) {
                Ok(()) => return Ok(address),
                Err(error @ Error::Connect { .. }) => last = Some(error),
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(last.expect("resolve gives one address at least").to_string())
    }

    fn try_address(&self, address: SocketAddr, watch: &dyn Watch) -> Result<(), Error> {
        match &self.config.target {
            Target::Mqtt(url) => {
                let client = self.client(url, address, "first", watch)?;
                // It has served its purpose, however it ends.
                let _ = client.disconnect();
            }
            Target::Nats(url) => {
                let (size, max) = (self.seal.size() as u64, self.nats(url, address, watch)?.info().max_payload);
                if max > 0 && size > max {
                    let why = format!("the server takes payloads of {max} bytes at most, and not of {size}");
                    return Err(Error::Usage(why));
                }
            }
        }
        Ok(())
    }

    fn client(&self, url: &ServerUrl, address: SocketAddr, name: &str, watch: &dyn Watch) -> Result<Client, Error> {
        let mut options = ConnectOptions::new(self.config.version).with_user_of(url);
        // At most 6 + 1 + 10 letters and digits, which every broker takes.
        options.client_id = format!("{:06x}{name}", self.run);
        // Nothing is pinged during a run. 0 would say that, but not every broker takes it.
        options.keep_alive_s = u16::MAX;
        options.connect_timeout = self.connect_timeout();
        options.answer_timeout = options.connect_timeout;
        apart::unless_interrupted(watch, move |_| Client::connect(address, options)).unwrap_or_else(interrupted)
    }

    fn nats(&self, url: &NatsUrl, address: SocketAddr, watch: &dyn Watch) -> Result<nats::Connection, Error> {
        let (url, timeout) = (url.clone(), self.connect_timeout());
        let open = move |_: &dyn Watch| nats::Connection::open(address, url.credentials(), timeout);
        apart::unless_interrupted(watch, open).unwrap_or_else(interrupted)
    }

    fn connect_timeout(&self) -> Duration {
        self.config.timeout.min(CONNECT_TIMEOUT_MAX)
    }

    fn receiver(&self, address: SocketAddr, receiver: u32, watch: &dyn Watch) -> Result<Link, String> {
        let name = format!("receiver {receiver}");
        let early = match &self.config.target {
            Target::Mqtt(url) => self.client(url, address, &format!("r{receiver}"), watch).and_then(|mut client| {
                self.subscribe(&mut client, receiver)?;
                client.into_parts().map(Early::from)
            }),
            Target::Nats(url) => self.nats(url, address, watch).and_then(|mut connection| {
                let subscriptions = self.topics.subscriptions(receiver);
                for (index, Subscription { filter, group }) in subscriptions.iter().enumerate() {
                    connection.subscribe(filter, *group, &nats::sid(index, subscriptions.len()))?;
                }
                Ok(connection.into_early())
            }),
        };
        let Early { stream, bytes, strangers } = early.map_err(|error| format!("{name}: {error}"))?;
        let (protocol, qos) = (self.protocol, self.config.qos);
        let first_topic = self.topics.layout().topics_of(receiver).start;
        let template = protocol.received(&self.topics, first_topic, &self.seal, qos)?;
        let mut checker = Checker::new(self.topics.layout(), receiver, self.seen.clone());
        for _ in 0..strangers {
            checker.odd(Odd::Foreign);
        }
        let messages = Messages::new(&template, self.seal, self.topics.clone(), qos, checker);
        let inbound = Inbound::messages(protocol, self.inbound_max(), bytes, messages);
        Ok(Link { stream, inbound, sending: None, name })
    }

    /// Subscribes to all that a receiver gets.
    fn subscribe(&self, client: &mut Client, receiver: u32) -> Result<(), Error> {
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

    fn sender(&self, address: SocketAddr, sender: u32, outgoing: &Outgoing, watch: &dyn Watch) -> Result<Link, String> {
        let name = format!("sender {sender}");
        let (protocol, qos) = (self.protocol, self.config.qos);
        let early = match &self.config.target {
            Target::Mqtt(url) => self.client(url, address, &format!("s{sender}"), watch).and_then(|client| {
                let (qos_max, receive_max) = (client.qos_max(), client.receive_max());
                if qos > qos_max {
                    return Err(Error::Usage(format!("the broker takes QoS {} at most", qos_max as u8)));
                }
                let window = window(self.config.version, self.config.window, receive_max);
                Ok((client.into_parts()?.into(), (qos > QoS::AtMostOnce).then_some(window)))
            }),
            Target::Nats(url) => self.nats(url, address, watch).map(|connection| (connection.into_early(), None)),
        };
        let (Early { stream, bytes, .. }, window) = early.map_err(|error| format!("{name}: {error}"))?;
        let inbound = Inbound::acks(protocol, self.inbound_max(), bytes, sender, qos);
        let sending = Some(Sending::new(sender, outgoing, window, self.config.rate_per_s.is_some()));
        Ok(Link { stream, inbound, sending, name })
    }

    fn inbound_max(&self) -> u32 {
        u32::try_from(self.packet_bytes_max()).unwrap_or(u32::MAX)
    }
}

fn interrupted<T>() -> Result<T, Error> {
    Err(Error::Usage(INTERRUPTED.to_owned()))
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
