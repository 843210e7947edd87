//! The probe: a publisher of 100 small messages a second at QoS 1 and its subscriber, which take no part in the attack.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use wisp_wire::QoS;

use super::clock::Clock;
use super::publishers::{Plan, Publishers};
use super::receivers::Receivers;
use crate::client::{Acks, Client, Options};

const TOPIC: &str = "probe";
const RATE_PER_S: f64 = 100.0;
const TICK: Duration = Duration::from_millis(1);
const PAYLOAD_BYTES: usize = 64;

/// The pair of clients.
#[derive(Debug)]
pub(crate) struct Probe {
    publisher: Publishers,
    receiver: Receivers,
}

impl Probe {
    /// Connects both and begins.
    pub(crate) fn start(address: SocketAddr, clock: Clock) -> io::Result<Self> {
        let mut subscriber = Client::connect(address, "probe-receiver", &Options::default())?;
        subscriber.subscribe(&[TOPIC], QoS::AtLeastOnce)?;
        let receiver = Receivers::start(vec![subscriber], clock, Acks::All)?;
        let plan = Plan {
            count: 1,
            name: "probe-publisher",
            rate_per_s: Some(RATE_PER_S),
            tick: TICK,
            qos: QoS::AtLeastOnce,
            payload_bytes: PAYLOAD_BYTES,
            topic: Box::new(|_, _| TOPIC.to_owned()),
        };
        Ok(Self { publisher: Publishers::start(address, plan, clock)?, receiver })
    }

    /// Forgets the latencies so far, which belong to the preparation of a case.
    pub(crate) fn forget(&self) {
        self.receiver.forget_latencies();
    }

    /// Ends both and returns the latencies, sorted.
    pub(crate) fn finish(self) -> io::Result<Vec<u32>> {
        let published = self.publisher.finish()?;
        self.receiver.wait_for(published.sent, Duration::from_secs(5));
        Ok(self.receiver.finish()?.latencies_us)
    }
}
