//! Sessions, rights and limits hold for clients in the process as for any others.

use std::sync::{Arc, Mutex};

use wisp_broker::{
    Broker, ClientEnd, ClientError, ClientOptions, ConnectRequest, Decision, Event, Policy, Publication,
    PublishRequest, QoS, ReasonCode, Subscription,
};

use crate::support::{
    PATIENT, Peer, client, client_with, config, deliver, number, numbered, receive, start, subscribe, wait_until,
};

#[test]
fn a_client_takes_the_session_of_a_socket_and_a_socket_that_of_a_client() {
    let broker = start();
    let socket = Peer::of(&broker, "same");
    let first = client(&broker, "same");
    assert_eq!(socket.end(), Some(ReasonCode::SessionTakenOver as u8));
    let second = client(&broker, "same");
    let taken_over = ClientEnd::ByBroker(ReasonCode::SessionTakenOver);
    assert!(first.messages().recv().is_err(), "the channel ends");
    assert_eq!(first.end(), Some(taken_over));
    assert_eq!(first.publish(&Publication::new("t", "")).unwrap_err(), ClientError::Ended(taken_over));
    let _socket = Peer::of(&broker, "same");
    assert!(second.messages().recv().is_err());
    assert_eq!(second.end(), Some(taken_over));
}

#[test]
fn a_kept_session_has_the_messages_that_came_meanwhile_and_those_that_were_not_acknowledged() {
    let broker = start();
    let options =
        || ClientOptions::builder("kept").clean_start(false).session_expiry_s(u32::MAX).manual_acknowledgement(true);
    let first = client_with(&broker, options());
    assert!(!first.session_present());
    subscribe(&first, "t", QoS::ExactlyOnce);
    let sender = client(&broker, "sender");
    let publish = |n, qos| deliver(&sender, &numbered("t", n, 4, qos));
    for n in 0..4 {
        publish(n, if n % 2 == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce });
    }
    receive(&first).acknowledge();
    receive(&first).acknowledge();
    drop(receive(&first));
    first.disconnect();
    publish(4, QoS::AtLeastOnce);
    let second = client_with(&broker, options());
    assert!(second.session_present());
    for (n, dup) in [(2, true), (3, true), (4, false)] {
        let message = receive(&second);
        assert_eq!((number(message.payload()), message.dup()), (n, dup));
        message.acknowledge();
    }
    second.disconnect();
    let third = client_with(&broker, options());
    publish(5, QoS::AtLeastOnce);
    assert_eq!(number(receive(&third).payload()), 5, "all others were acknowledged");
}

#[test]
fn messages_that_the_program_has_not_taken_stay_with_the_session() {
    let broker = start();
    let options = || ClientOptions::builder("kept").clean_start(false).session_expiry_s(u32::MAX);
    let first = client_with(&broker, options());
    subscribe(&first, "t", QoS::AtLeastOnce);
    let sender = client(&broker, "sender");
    (0..10).for_each(|n| deliver(&sender, &numbered("t", n, 4, QoS::AtLeastOnce)));
    (0..3).for_each(|n| assert_eq!(number(receive(&first).payload()), n));
    wait_until("the others", || first.messages().len() == 7);
    first.disconnect();
    let second = client_with(&broker, options());
    (3..10).for_each(|n| assert_eq!(number(receive(&second).payload()), n));
}

/// Refuses clients by their names, and messages to one topic.
#[derive(Debug, Default)]
struct Strict {
    in_process: Mutex<Vec<(String, bool)>>,
}

impl Policy for Strict {
    fn connect(&self, request: &ConnectRequest<'_>) -> Decision {
        self.in_process.lock().unwrap().push((request.client_id.to_owned(), request.is_in_process()));
        let is_known = request.username == Some("user") && request.password == Some(b"password");
        if is_known || !request.is_in_process() { Decision::Allow } else { Decision::Deny(ReasonCode::NotAuthorized) }
    }

    fn publish(&self, request: &PublishRequest<'_>) -> Decision {
        if request.topic == "secret" { Decision::Deny(ReasonCode::NotAuthorized) } else { Decision::Allow }
    }
}

#[test]
fn the_policy_tells_clients_in_the_process_and_refuses_them_and_their_messages() {
    let policy = Arc::new(Strict::default());
    let broker = Broker::start(config().policy(Arc::clone(&policy) as _).build().unwrap()).unwrap();
    let stranger = ClientOptions::builder("stranger").build().unwrap();
    assert_eq!(broker.client(&stranger).unwrap_err(), ClientError::Refused(ReasonCode::NotAuthorized));
    let known = client_with(&broker, ClientOptions::builder("known").username("user").password(&b"password"[..]));
    let _peer = Peer::of(&broker, "peer");
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let refused = known.publish(&Publication::new("secret", "").qos(qos)).unwrap();
        assert_eq!(refused.wait(), Err(ClientError::Refused(ReasonCode::NotAuthorized)));
        deliver(&known, &Publication::new("public", "").qos(qos));
    }
    let asked = policy.in_process.lock().unwrap().clone();
    let expected = [("stranger", true), ("known", true), ("peer", false)];
    assert!(asked.iter().map(|(id, is)| (id.as_str(), *is)).eq(expected), "{asked:?}");
}

#[test]
fn connections_max_holds_for_clients_in_the_process() {
    let limits = PATIENT.with(|limits| limits.connections_count_max = 2);
    let broker = Broker::start(config().limits(limits).build().unwrap()).unwrap();
    let one = client(&broker, "one");
    let _peer = Peer::of(&broker, "peer");
    let options = ClientOptions::builder("other").build().unwrap();
    assert_eq!(broker.client(&options).unwrap_err(), ClientError::TooManyConnections);
    assert_eq!(broker.stats().connections_refused, 1);
    one.disconnect();
    wait_until("its place", || broker.client(&options).is_ok());
}

#[test]
fn the_keep_alive_of_the_broker_does_not_end_clients_in_the_process() {
    let limits = PATIENT.with(|limits| limits.keep_alive_s_max = 1);
    let keep_alives = Arc::new(Mutex::new(Vec::new()));
    let observer = {
        let keep_alives = Arc::clone(&keep_alives);
        move |event: &Event| {
            if let Event::Connected { keep_alive_s, origin, .. } = event {
                keep_alives.lock().unwrap().push((*keep_alive_s, origin.is_in_process()));
            }
        }
    };
    let broker = Broker::start(config().limits(limits).observer(observer).build().unwrap()).unwrap();
    let client = client(&broker, "here");
    let _peer = Peer::of(&broker, "peer");
    wait_until("both events", || {
        let keep_alives = keep_alives.lock().unwrap();
        keep_alives.contains(&(0, true)) && keep_alives.contains(&(1, false))
    });
    assert_eq!(client.subscribe(&[Subscription::new("t", QoS::AtMostOnce)]), Ok(vec![ReasonCode::Success]));
}
