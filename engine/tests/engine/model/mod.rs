//! Random operations of several clients, compared with the simplest possible broker.
//!
//! ```text
//!                 .-> engine (the World) --> packets on the wire --.
//!   operations ---|                                                |--> nothing but what the model expects
//!                 '-> model (Broker) -----> what may be sent ------'
//!                                          clients, who see the packets later, or never
//! ```
//!
//! The model has no locks and no limits: it has the next messages of each session. Clients follow the standard, at any
//! time they like. They see packets late, acknowledge in any order or not at all, lose packets with their connection,
//! and send them again on the next one.

mod at_most_once;
mod broker;
mod check;
mod client;
mod run;

use proptest::prelude::*;
use wisp_wire::{QoS, RetainHandling};

use self::run::Run;

pub(crate) const CLIENTS: usize = 4;
const TOPICS: [&str; 8] = ["a", "a/b", "b", "$s/a", "$g/a", "$g/b/c", "$queue/q", "$queue/q"];
const FILTERS: [&str; 11] =
    ["a", "a/b", "#", "+", "a/#", "+/b", "$s/+", "$share/one/$g/a", "$share/two/$g/b/#", "$queue/q", "$queue/dead"];

/// An action of one client, or a number of seconds that pass.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// Takes the session over if the client is connected.
    Connect {
        client: usize,
        asks: Asks,
    },
    Subscribe {
        client: usize,
        wanted: Vec<(&'static str, Wish)>,
    },
    Unsubscribe {
        client: usize,
        filter: &'static str,
    },
    /// In one read. If it is lost, so is the connection.
    Publish {
        client: usize,
        letters: Vec<Letter>,
        lost: bool,
    },
    /// Sees some of the received packets.
    See {
        client: usize,
        most: usize,
    },
    /// Sends the answer to one of the packets it has seen, or all answers.
    Answer {
        client: usize,
        pick: usize,
        all: bool,
        refuse: bool,
        lost: bool,
    },
    Disconnect {
        client: usize,
        with_will: bool,
        expiry_s: Option<u32>,
    },
    Vanish {
        client: usize,
    },
    Pass {
        seconds: u64,
    },
}

/// The options of a CONNECT.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asks {
    pub(crate) five: bool,
    pub(crate) clean_start: bool,
    pub(crate) expiry_s: u32,
    pub(crate) receive_maximum: Option<u16>,
    pub(crate) aliases: u16,
    pub(crate) will: Option<(Letter, u32)>,
}

/// The options of a subscription.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) qos: QoS,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) handling: RetainHandling,
    pub(crate) id: Option<u32>,
}

/// A message to publish.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Letter {
    pub(crate) topic: &'static str,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) empty: bool,
    pub(crate) expiry_s: Option<u32>,
}

fn qos() -> impl Strategy<Value = QoS> {
    prop::sample::select(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::ExactlyOnce][..])
}

fn letter() -> impl Strategy<Value = Letter> {
    let expiry = prop_oneof![3 => Just(None), 1 => prop::sample::select(&[1, 3][..]).prop_map(Some)];
    (prop::sample::select(&TOPICS[..]), qos(), prop::bool::weighted(0.2), prop::bool::weighted(0.1), expiry).prop_map(
        |(topic, qos, retain, empty, expiry_s)| {
            // The payload distinguishes messages from queues.
            let empty = empty && !topic.starts_with("$g/") && !topic.starts_with("$queue/");
            Letter { topic, qos, retain, empty, expiry_s }
        },
    )
}

fn wish() -> impl Strategy<Value = Wish> {
    let handling = prop::sample::select(
        &[RetainHandling::Send, RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend][..],
    );
    let id = prop_oneof![Just(None), (1..4_u32).prop_map(Some)];
    (qos(), prop::bool::weighted(0.2), any::<bool>(), handling, id).prop_map(
        |(qos, no_local, retain_as_published, handling, id)| Wish { qos, no_local, retain_as_published, handling, id },
    )
}

fn asks() -> impl Strategy<Value = Asks> {
    let will = prop_oneof![2 => Just(None), 1 => (letter(), prop::sample::select(&[0, 2, 9][..])).prop_map(Some)];
    (
        prop::bool::weighted(0.7),
        prop::bool::weighted(0.25),
        prop::sample::select(&[0, 2, 5, 5, u32::MAX][..]),
        prop::sample::select(&[None, Some(1), Some(2), Some(9)][..]),
        0..3_u16,
        will,
    )
        .prop_map(|(five, clean_start, expiry_s, receive_maximum, aliases, will)| Asks {
            five,
            clean_start,
            expiry_s,
            receive_maximum,
            aliases,
            will,
        })
}

fn operation() -> impl Strategy<Value = Operation> {
    use prop::collection::vec;
    use prop::sample::select;
    let client = 0..CLIENTS;
    let rarely = || prop::bool::weighted(0.1);
    prop_oneof![
        4 => (client.clone(), asks()).prop_map(|(client, asks)| Operation::Connect { client, asks }),
        5 => (client.clone(), vec((select(&FILTERS[..]), wish()), 1..4))
            .prop_map(|(client, wanted)| Operation::Subscribe { client, wanted }),
        1 => (client.clone(), select(&FILTERS[..]))
            .prop_map(|(client, filter)| Operation::Unsubscribe { client, filter }),
        9 => (client.clone(), vec(letter(), 1..5), rarely())
            .prop_map(|(client, letters, lost)| Operation::Publish { client, letters, lost }),
        7 => (client.clone(), select(&[1, 2, 99][..])).prop_map(|(client, most)| Operation::See { client, most }),
        7 => (client.clone(), any::<usize>(), any::<bool>(), rarely(), rarely())
            .prop_map(|(client, pick, all, refuse, lost)| Operation::Answer { client, pick, all, refuse, lost }),
        1 => (client.clone(), any::<bool>(), select(&[None, Some(0), Some(3)][..]))
            .prop_map(|(client, with_will, expiry_s)| Operation::Disconnect { client, with_will, expiry_s }),
        2 => client.prop_map(|client| Operation::Vanish { client }),
        1 => select(&[1, 2, 4, 20][..]).prop_map(|seconds| Operation::Pass { seconds }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases * 64))]

    #[test]
    fn the_engine_agrees_with_the_model(operations in prop::collection::vec(operation(), 1..90)) {
        let mut run = Run::new();
        // Otherwise the first half of each run would only connect clients.
        for client in 0..CLIENTS {
            let asks = Asks {
                five: client % 2 == 0,
                clean_start: false,
                expiry_s: 5,
                receive_maximum: None,
                aliases: 0,
                will: None,
            };
            run.apply(Operation::Connect { client, asks })?;
        }
        for operation in operations {
            run.apply(operation)?;
        }
        run.finish()?;
    }
}
