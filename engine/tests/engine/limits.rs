//! Limits in their ranges, and out of them.

use wisp_engine::{InvalidOptions, LIMITS, Limits, Options, Shared, TOPIC_LEVELS_CEILING};

use crate::support::{V5, World, connect, publish, subscribe};

#[test]
fn a_broker_with_a_limit_out_of_range_does_not_start() {
    for limit in &LIMITS {
        let mut limits = Limits::DEFAULT;
        limit.set(&mut limits, *limit.range.end()).unwrap();
        assert!(Shared::with_options(limits, Options::default(), 1).is_ok(), "{}", limit.name);
    }
    // With so many levels one SUBSCRIBE and one PUBLISH would overflow the stack.
    let limits = Limits::DEFAULT.with(|limits| limits.topic_levels_max = 65_535);
    let error = Shared::with_options(limits, Options::default(), 1).unwrap_err();
    assert!(matches!(&error, InvalidOptions::Limit(limit) if limit.limit == "topic-levels-max"), "{error:?}");
    assert_eq!(error.to_string(), "topic-levels-max = 65535: not a number from 1 to 1024");
}

#[test]
fn a_topic_of_as_many_levels_as_can_be_allowed_is_routed() {
    let mut world = World::new(Limits::DEFAULT.with(|limits| limits.topic_levels_max = TOPIC_LEVELS_CEILING));
    let topic = "/".repeat(usize::from(TOPIC_LEVELS_CEILING) - 1);
    let mut client = world.connected(V5, "client");
    world.feed(&mut client, &subscribe(V5, &[&topic]));
    world.feed(&mut client, &publish(V5, &topic, b"x"));
    assert_eq!(client.messages(), [(topic.clone(), b"x".to_vec())]);
    let mut deeper = world.accept();
    world.feed(&mut deeper, &connect(V5, "deeper"));
    let outcome = world.feed(&mut deeper, &subscribe(V5, &[&format!("{topic}/")]));
    assert!(outcome.replies.ends_with(&[0x8f]) || outcome.end.is_some(), "{outcome:?}");
}
