//! Before a run: connections that are connected and subscribed, dealt out over the threads.

use std::net::SocketAddr;
use std::time::Duration;

use wisp_client::{Client, ConnectOptions, Error, Parts, QoS, SubscriptionOptions};
use wisp_net::SysStream;

use crate::drive::acks::{granted, window};
use crate::drive::checker::Checker;
use crate::drive::inbound::Inbound;
use crate::drive::outgoing::{Outgoing, Template, Topics};
use crate::drive::run::{Config, Watch};
use crate::drive::sending::Sending;
use crate::drive::spread::Spread;
use crate::drive::worker::Link;

/// Descriptors beside one for each connection: standard streams, pollers, and some in reserve.
pub(crate) const DESCRIPTORS_EXTRA: u64 = 64;
/// How long one connection may take to come about.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// What does not change during a run.
pub(crate) struct Plan<'a> {
    pub(crate) config: &'a Config,
    /// Tells this run's messages from those of others.
    pub(crate) run: u32,
    pub(crate) spread: Spread,
    pub(crate) topics: Topics,
    pub(crate) template: Template,
}

impl Plan<'_> {
    pub(crate) fn new(config: &Config, run: u32) -> Result<Plan<'_>, String> {
        let count = config.receivers.max(1);
        let spread = Spread { senders: config.senders, topics: count, messages: config.messages };
        let prefix = config.topic_prefix.clone().unwrap_or_else(|| format!("loadgen/{run:08x}"));
        let topics = Topics::new(&prefix, count)?;
        let template = Template::new(&topics, 0, config.size, config.version, config.qos)?;
        Ok(Plan { config, run, spread, topics, template })
    }

    /// A thread's buffer of packets.
    pub(crate) fn outgoing(&self, buffer_bytes: usize) -> Outgoing {
        Outgoing::new(self.run, self.spread, &self.topics, self.template.clone(), buffer_bytes)
    }

    /// The largest packet that is accepted: properties of the broker may make one longer than it was sent.
    pub(crate) fn packet_bytes_max(&self) -> usize {
        self.template.packet_bytes() + 64 * 1024
    }

    /// Connects everybody: first the receivers, each subscribed to its topic, and then the senders.
    pub(crate) fn connect(&self, watch: &dyn Watch) -> Result<(Vec<Link>, Vec<Link>), String> {
        let unless_interrupted =
            || if watch.is_interrupted() { Err("interrupted before all were connected".to_owned()) } else { Ok(()) };
        let connections = u64::from(self.config.senders) + u64::from(self.config.receivers);
        allow_descriptors(connections + DESCRIPTORS_EXTRA)?;
        let address = self.find_address()?;
        let receivers =
            (0..self.config.receivers).map(|topic| unless_interrupted().and_then(|()| self.receiver(address, topic)));
        let receivers = receivers.collect::<Result<_, _>>()?;
        let outgoing = self.outgoing(0);
        let senders = (0..self.config.senders)
            .map(|sender| unless_interrupted().and_then(|()| self.sender(address, sender, &outgoing)));
        Ok((receivers, senders.collect::<Result<_, _>>()?))
    }

    /// The first of the broker's addresses that answers.
    fn find_address(&self) -> Result<SocketAddr, String> {
        let mut last = None;
        for address in self.config.url.resolve().map_err(|error| error.to_string())? {
            match self.client(address, "first") {
                Ok(client) => {
                    // It has served its purpose, however it ends.
                    let _ = client.disconnect();
                    return Ok(address);
                }
                Err(error @ Error::Connect { .. }) => last = Some(error),
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(last.expect("resolve gives one address at least").to_string())
    }

    fn client(&self, address: SocketAddr, name: &str) -> Result<Client, Error> {
        let mut options = ConnectOptions::new(self.config.version).with_user_of(&self.config.url);
        // At most 8 + 1 + 10 letters and digits, which every broker takes.
        options.client_id = format!("{:08x}{name}", self.run);
        // Nothing is pinged during a run. 0 would say that, but not every broker takes it.
        options.keep_alive_s = u16::MAX;
        options.connect_timeout = self.config.timeout.min(CONNECT_TIMEOUT_MAX);
        options.answer_timeout = options.connect_timeout;
        Client::connect(address, options)
    }

    fn receiver(&self, address: SocketAddr, topic: u32) -> Result<Link, String> {
        let name = format!("receiver {topic}");
        let filter = self.topics.name(topic);
        let subscribe = || -> Result<Parts<SysStream>, Error> {
            let mut client = self.client(address, &format!("r{topic}"))?;
            let options = SubscriptionOptions::new(self.config.qos);
            match client.subscribe_with(&[(&filter, options)], None)?.first() {
                Some(code) if code.is_error() => {
                    Err(Error::Usage(format!("the broker refused the subscription to {filter}: {code}")))
                }
                // A lower QoS would be another measurement.
                Some(code) if *code != granted(self.config.qos) => {
                    Err(Error::Usage(format!("the broker granted less than QoS {}: {code}", self.config.qos as u8)))
                }
                _ => client.into_parts(),
            }
        };
        let parts = subscribe().map_err(|error| format!("{name}: {error}"))?;
        let Config { size, version, qos, .. } = *self.config;
        let template = Template::new(&self.topics, topic, size, version, qos)?;
        let mut checker = Checker::new(self.run, &self.spread, topic);
        // Nothing was sent yet, so that they can only be strangers, such as a retained message.
        for _ in &parts.messages {
            checker.check_odd(None);
        }
        let inbound = Inbound::messages(version, self.inbound_max(), parts.bytes, &template, qos, checker);
        Ok(Link { stream: parts.stream, inbound, sending: None, name })
    }

    fn sender(&self, address: SocketAddr, sender: u32, outgoing: &Outgoing) -> Result<Link, String> {
        let name = format!("sender {sender}");
        let Config { version, qos, rate_per_s, .. } = *self.config;
        let failed = |error: Error| format!("{name}: {error}");
        let client = self.client(address, &format!("s{sender}")).map_err(failed)?;
        if qos > client.qos_max() {
            return Err(format!("{name}: the broker takes QoS {} at most", client.qos_max() as u8));
        }
        let window = (qos > QoS::AtMostOnce).then(|| window(version, self.config.window, client.receive_max()));
        let parts = client.into_parts().map_err(failed)?;
        let inbound = Inbound::acks(version, self.inbound_max(), parts.bytes, sender, qos);
        let sending = Some(Sending::new(sender, outgoing, window, rate_per_s.is_some()));
        Ok(Link { stream: parts.stream, inbound, sending, name })
    }

    fn inbound_max(&self) -> u32 {
        u32::try_from(self.packet_bytes_max()).unwrap_or(u32::MAX)
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
