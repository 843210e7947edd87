//! What an operator sees and does: lists a page at a time, and actions that a worker carries out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use wisp_engine::{
    Action, Done, EndReason, Limits, ListQuery, Mail, NewMessage, Options, Order, OrderError, Presence, QueueSettings,
    SessionRow,
};
use wisp_wire::{QoS, ReasonCode, SubscriptionId, SubscriptionOptions};

use crate::crash::store::{MirrorStore, Objects};
use crate::doors::commit;
use crate::events::Event;
use crate::packets::{QOS_0, QOS_1, STAYS, message, message_with, subscribe_at};
use crate::support::{V3, V5, World, subscribe_with};

fn world() -> World {
    World::with_options(Limits::DEFAULT, Options { lists_sessions: true, ..Options::default() })
}

/// The result of an action after some turns.
fn act(world: &mut World, action: Action) -> Option<Result<Done, OrderError>> {
    let (order, pending) = Order::new(action);
    world.worker.handle_mail(world.now_ms, Mail::Order(order));
    world.run();
    pending.poll()
}

fn publish(topic: &str, qos: QoS, retain: bool) -> Action {
    Action::Publish(NewMessage { topic: topic.to_owned(), payload: b"x".to_vec(), qos, retain })
}

/// The client identifiers on all pages, and the number of pages.
fn all_sessions(world: &World, query: ListQuery<'_>, wanted: Presence) -> (Vec<String>, usize) {
    let (mut ids, mut after, mut pages) = (Vec::new(), None::<String>, 0);
    loop {
        let page = world.shared.list_sessions(&ListQuery { after: after.as_deref(), ..query }, wanted).unwrap();
        assert!(page.items.len() <= query.most);
        ids.extend(page.items.iter().map(|row| row.client_id.to_string()));
        pages += 1;
        after = page.next;
        if after.is_none() {
            return (ids, pages);
        }
    }
}

fn row(world: &World, client_id: &str) -> SessionRow {
    world.shared.find_session_row(client_id).unwrap()
}

#[test]
fn pages_of_sessions_have_each_one_once_while_others_come_and_go() {
    let mut world = world();
    let mut peers: Vec<_> = (0..1000).map(|number| world.connected(V3, &format!("c{number}"))).collect();
    let (ids, pages) = all_sessions(&world, ListQuery { most: 64, ..ListQuery::default() }, Presence::Connected);
    assert_eq!((ids.len(), ids.iter().collect::<BTreeSet<_>>().len()), (1000, 1000));
    assert!((16..=17).contains(&pages), "{pages}");
    let (found, _) = all_sessions(&world, ListQuery { prefix: "c99", ..ListQuery::default() }, Presence::Connected);
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 11);
    // Of the sessions that end between two pages none is needed to continue.
    let first = ListQuery { most: 500, ..ListQuery::default() };
    let page = world.shared.list_sessions(&first, Presence::Connected).unwrap();
    for peer in &mut peers[..700] {
        world.close(peer, EndReason::Closed);
    }
    let _late = world.connected(V3, "late");
    let after = page.next.as_deref();
    let rest = world.shared.list_sessions(&ListQuery { after, most: 1000, ..first }, Presence::Connected).unwrap();
    let mut seen: BTreeSet<_> = page.items.into_iter().chain(rest.items).map(|row| row.client_id).collect();
    seen.remove("late");
    assert!((700..1000).all(|number| seen.contains(&*format!("c{number}"))));
    assert!(world.shared.list_sessions(&ListQuery { after: Some("x"), ..first }, Presence::Connected).is_err());
}

#[test]
fn a_session_has_the_facts_of_its_connection_and_its_messages() {
    let mut world = world();
    world.now_ms = 5_000;
    let mut client = world.connected(V5, "plain");
    let (mut kept, _) = world.returns("kept", &[STAYS]);
    world.feed(&mut kept, &subscribe_at(QOS_1, &["t", "u/#"]));
    let connected = row(&world, "plain");
    let facts = connected.connection.as_ref().unwrap();
    assert_eq!((facts.version, facts.listener, facts.clean_start, facts.peer), (V5, 0, true, None));
    assert_eq!((connected.connected_since_ms, connected.away_since_ms), (Some(5_000), None));
    world.pass_ms(1_000);
    world.close(&mut kept, EndReason::Closed);
    for id in 1..=3 {
        world.feed(&mut client, &message_with(QOS_1, id, "t", "x", false, &[]));
    }
    let away = row(&world, "kept");
    assert_eq!((away.is_connected, away.subscriptions, away.inflight, away.waiting), (false, 2, 0, 3));
    assert_eq!((away.stored.messages, away.connected_since_ms, away.away_since_ms), (3, None, Some(6_000)));
    let query = ListQuery::default();
    assert_eq!(all_sessions(&world, query, Presence::Away).0, ["kept"]);
    assert_eq!(all_sessions(&world, query, Presence::Connected).0, ["plain"]);
    let (mut kept, _) = world.returns("kept", &[STAYS]);
    assert_eq!(kept.payloads(), ["x"; 3]);
    let back = row(&world, "kept");
    assert_eq!((back.is_connected, back.inflight, back.waiting), (true, 3, 0));
    assert_eq!(world.shared.find_session_row("nobody"), None);
}

#[test]
fn without_the_option_nothing_is_listed_but_a_session_is_found() {
    let mut world = World::new(Limits::DEFAULT);
    let _client = world.connected(V3, "c");
    let query = ListQuery::default();
    assert_eq!(all_sessions(&world, query, Presence::Connected).0, [""; 0]);
    assert_eq!(world.shared.list_subscriptions(&query).unwrap().items, []);
    assert_eq!((row(&world, "c").is_connected, row(&world, "c").connection), (true, None));
}

#[test]
fn subscriptions_are_listed_with_their_options() {
    let mut world = world();
    let mut one = world.connected(V5, "one");
    let mut two = world.connected(V5, "two");
    let options = SubscriptionOptions { no_local: true, ..SubscriptionOptions::new(QoS::ExactlyOnce) };
    let id = SubscriptionId::new(7);
    let property = wisp_wire::Property::SubscriptionIdentifier(id.unwrap());
    world.feed(&mut one, &subscribe_with(V5, &["a/+", "b/#", "#", "c"], options, &[property]));
    world.feed(&mut two, &subscribe_at(QOS_1, &["$share/g/a", "$queue/q"]));
    let many: Vec<String> = (0..100).map(|number| format!("m/{number:02}")).collect();
    world.feed(&mut two, &subscribe_at(QOS_0, &many.iter().map(String::as_str).collect::<Vec<_>>()));
    let (mut rows, mut after) = (Vec::new(), None::<String>);
    loop {
        let query = ListQuery { after: after.as_deref(), most: 7, prefix: "" };
        let page = world.shared.list_subscriptions(&query).unwrap();
        rows.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let keys: BTreeSet<_> = rows.iter().map(|row| (row.client_id.to_string(), row.filter.to_string())).collect();
    assert_eq!((rows.len(), keys.len()), (106, 106));
    let plain = rows.iter().find(|row| &*row.filter == "b/#").unwrap();
    assert_eq!((plain.qos, plain.no_local, plain.id), (QoS::ExactlyOnce, true, id));
    let group = rows.iter().find(|row| &*row.filter == "$share/g/a").unwrap();
    assert_eq!((group.qos, group.no_local, &*group.client_id), (QOS_1, false, "two"));
    let query = ListQuery { after: Some("m/97"), prefix: "m/", ..ListQuery::default() };
    let of_two = world.shared.list_subscriptions_of("two", &query).unwrap();
    assert_eq!(of_two.items.iter().map(|row| &*row.filter).collect::<Vec<_>>(), ["m/98", "m/99"]);
    assert_eq!(world.shared.list_subscriptions_of("nobody", &query), None);
}

#[test]
fn queues_and_retained_messages_are_listed_by_name() {
    let mut queue = QueueSettings::new("jobs", &Limits::DEFAULT);
    queue.deliveries_max = Some(1);
    let mut world = World::with_options(Limits::DEFAULT, Options { queues: vec![queue], ..Options::default() });
    let mut sender = world.sender();
    for (id, topic) in [(1, "$queue/jobs"), (2, "$queue/jobs"), (3, "$queue/other")] {
        world.feed(&mut sender, &message(QOS_1, id, topic, "x"));
    }
    for (id, topic) in [(4, "a/1"), (5, "a/2"), (6, "b"), (7, "$own/c")] {
        world.feed(&mut sender, &message_with(QOS_1, id, topic, "12", true, &[]));
    }
    let (mut worker, _) = world.returns("w", &[]);
    world.feed(&mut worker, &subscribe_at(QOS_1, &["$queue/jobs"]));
    let page = world.shared.list_queues(&ListQuery { most: 1, ..ListQuery::default() });
    let jobs = &page.items[0];
    assert_eq!((&*jobs.name, jobs.is_configured, jobs.depth.messages, jobs.waiting), ("$queue/jobs", true, 2, 0));
    assert_eq!((jobs.on_loan, jobs.consumers, jobs.dead_letters), (2, 1, 0));
    world.close(&mut worker, EndReason::Closed);
    assert_eq!(world.shared.find_queue("$queue/jobs").unwrap().dead_letters, 2);
    let next = world.shared.list_queues(&ListQuery { after: page.next.as_deref(), ..ListQuery::default() });
    assert_eq!((next.items.len(), &*next.items[0].name, next.next), (1, "$queue/other", None));
    let topics = |query| -> Vec<String> {
        world.shared.list_retained(&query).items.iter().map(|row| row.topic.to_string()).collect()
    };
    assert_eq!(topics(ListQuery { prefix: "a/", ..ListQuery::default() }), ["a/1", "a/2"]);
    assert_eq!(topics(ListQuery { after: Some("a/1"), most: 2, ..ListQuery::default() }), ["a/2", "b"]);
    let found = world.shared.retained_message("b").unwrap();
    assert_eq!((&found.payload[..], found.row.payload_bytes, found.row.qos), (&b"12"[..], 2, QOS_1));
    assert_eq!(world.shared.retained_message("c"), None);
}

#[test]
fn an_operator_ends_a_connection_and_the_client_is_told() {
    let mut world = world();
    let (client, _) = world.returns("c", &[STAYS]);
    let disconnect = || Action::Disconnect { client_id: "c".to_owned() };
    assert_eq!(act(&mut world, disconnect()), Some(Ok(Done::Disconnected)));
    assert_eq!(client.end(), Some(EndReason::Administrative));
    assert_eq!(EndReason::Administrative.code(), Some(ReasonCode::AdministrativeAction));
    assert_eq!(act(&mut world, disconnect()), Some(Err(OrderError::NotConnected)));
    assert!(!row(&world, "c").is_connected, "the session stays");
}

#[test]
fn waiting_messages_are_purged_a_part_in_each_turn() {
    let mut world = world();
    let (mut receiver, _) = world.returns("r", &[STAYS]);
    world.feed(&mut receiver, &subscribe_at(QOS_1, &["t"]));
    world.close(&mut receiver, EndReason::Closed);
    let mut sender = world.sender();
    for id in 1..=2_500 {
        world.feed(&mut sender, &message(QOS_1, id, "$queue/q", "x"));
        world.feed(&mut sender, &message(QOS_1, id, "t", "x"));
    }
    let queue = Action::PurgeQueue { name: "$queue/q".to_owned() };
    let (order, pending) = Order::new(queue.clone());
    world.worker.handle_mail(world.now_ms, Mail::Order(order));
    world.turn();
    assert_eq!((pending.poll(), world.shared.find_queue("$queue/q").unwrap().waiting), (None, 1_500));
    world.run();
    world.turn();
    assert_eq!(pending.poll(), Some(Ok(Done::Purged { messages: 2_500 })));
    assert_eq!(act(&mut world, queue), Some(Ok(Done::Purged { messages: 0 })));
    let session = Action::PurgeSession { client_id: "r".to_owned() };
    let (order, pending) = Order::new(session);
    world.worker.handle_mail(world.now_ms, Mail::Order(order));
    for _ in 0..4 {
        world.turn();
    }
    assert_eq!(pending.poll(), Some(Ok(Done::Purged { messages: 2_500 })));
    assert_eq!((world.stats().messages_purged, world.stats().stored_bytes), (5_000, 0));
    let missing = Action::PurgeQueue { name: "$queue/none".to_owned() };
    assert_eq!(act(&mut world, missing), Some(Err(OrderError::NoQueue)));
    let missing = Action::PurgeSession { client_id: "nobody".to_owned() };
    assert_eq!(act(&mut world, missing), Some(Err(OrderError::NoSession)));
}

#[test]
fn the_broker_publishes_retains_and_clears() {
    let mut world = world();
    let (mut receiver, _) = world.returns("r", &[]);
    world.feed(&mut receiver, &subscribe_at(QOS_1, &["t"]));
    let published = |has_receivers| Some(Ok(Done::Published { has_receivers }));
    assert_eq!(act(&mut world, publish("t", QOS_1, true)), published(true));
    assert_eq!(act(&mut world, publish("u", QOS_0, false)), published(false));
    assert_eq!(receiver.payloads(), ["x"]);
    assert_eq!(world.shared.retained_message("t").unwrap().row.sender.as_deref(), Some(""));
    let clear = |topic: &str| Action::ClearRetained { topic: topic.to_owned() };
    assert_eq!(act(&mut world, clear("t")), Some(Ok(Done::Cleared)));
    assert_eq!(act(&mut world, clear("t")), Some(Err(OrderError::NotRetained)));
    for (topic, error) in [("a/+", OrderError::Topic), ("", OrderError::Topic), ("$SYS/x", OrderError::Reserved)] {
        assert_eq!(act(&mut world, publish(topic, QOS_1, false)), Some(Err(error)), "{topic}");
    }
    let long = NewMessage { topic: "t".to_owned(), payload: vec![0; 17 << 20], qos: QOS_0, retain: false };
    assert_eq!(act(&mut world, Action::Publish(long)), Some(Err(OrderError::TooLong)));
    assert!(receiver.payloads().is_empty());
}

#[test]
fn a_message_of_the_broker_waits_for_a_full_receiver_and_is_refused_in_time() {
    let limits = Limits::DEFAULT.with(|limits| {
        limits.queue_messages_max = 1;
        limits.stall_ms_max = Some(60_000);
        limits.stall_policy = wisp_engine::StallPolicy::Hold;
    });
    let mut world = World::with_options(limits, Options::default());
    let (mut receiver, _) = world.returns("r", &[crate::packets::receive_maximum(1)]);
    world.feed(&mut receiver, &subscribe_at(QOS_1, &["t"]));
    let mut orders = Vec::new();
    while orders.len() < 10 {
        let (order, pending) = Order::new(publish("t", QOS_1, false));
        world.worker.handle_mail(world.now_ms, Mail::Order(order));
        world.run();
        orders.push(pending);
        if orders.last().unwrap().poll().is_none() {
            break;
        }
    }
    assert!(orders.len() < 10, "the receiver is full");
    let last = orders.pop().unwrap();
    for _ in 0..30 {
        world.pass_ms(100);
    }
    assert_eq!(last.poll(), Some(Err(OrderError::HeldBack)));
    assert_eq!(last.wait(Duration::ZERO), Some(Err(OrderError::Stopped)), "there is one result");
}

#[test]
fn actions_are_done_when_the_store_has_committed_them() {
    let store = MirrorStore::new(Objects::default());
    let options = Options { store: Arc::clone(&store) as _, ..Options::default() };
    let mut world = World::with_options(Limits::DEFAULT, options);
    let actions = [
        (publish("r", QOS_1, true), Done::Published { has_receivers: false }),
        (publish("$queue/q", QOS_1, false), Done::Published { has_receivers: true }),
        (Action::ClearRetained { topic: "r".to_owned() }, Done::Cleared),
        (Action::PurgeQueue { name: "$queue/q".to_owned() }, Done::Purged { messages: 1 }),
    ];
    for (action, done) in actions {
        let (order, pending) = Order::new(action);
        world.worker.handle_mail(world.now_ms, Mail::Order(order));
        world.run();
        assert_eq!(pending.poll(), None, "{done:?}");
        commit(&mut world, &store);
        world.run();
        assert_eq!(pending.poll(), Some(Ok(done)));
    }
    assert_eq!(world.stats().stored_bytes, 0);
    let mut late = world.sender();
    world.feed(&mut late, &message(QOS_0, 0, "t", "x"));
    assert_eq!(late.events(), [] as [Event; 0]);
}
