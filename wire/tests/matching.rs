//! Topic names and filters: the legal strings, and the names that each filter matches.

mod common;

use common::{filter, topic};
use proptest::prelude::*;
use wisp_wire::{TopicError, TopicFilter, TopicName};

/// Matching as the standards define it, level by level.
fn matches_naively(filter: &[&str], name: &[&str]) -> bool {
    match (filter, name) {
        (["#"], _) | ([], []) => true,
        (["+", filter @ ..], [_, name @ ..]) => matches_naively(filter, name),
        ([level, filter @ ..], [part, name @ ..]) => level == part && matches_naively(filter, name),
        _ => false,
    }
}

fn matches_by_the_book(filter: &str, name: &str) -> bool {
    let mut filter: Vec<&str> = filter.split('/').collect();
    if filter[0] == "$share" && filter.len() > 2 {
        filter.drain(..2);
    }
    let name: Vec<&str> = name.split('/').collect();
    let hidden = name[0].starts_with('$') && ["+", "#"].contains(&filter[0]);
    !hidden && matches_naively(&filter, &name)
}

/// Legal filters as the standards define them.
fn is_filter_by_the_book(filter: &str) -> bool {
    let levels: Vec<&str> = filter.split('/').collect();
    let plain = |levels: &[&str]| {
        !levels.join("/").is_empty()
            && levels.iter().enumerate().all(|(index, level)| {
                let hash = !level.contains('#') || *level == "#" && index + 1 == levels.len();
                hash && (!level.contains('+') || *level == "+")
            })
    };
    !filter.contains('\0')
        && match levels[..] {
            ["$share", _, "$share", _, ..] | ["$share", _] => false,
            ["$share", share, ref rest @ ..] => !share.is_empty() && !share.contains(['+', '#']) && plain(rest),
            _ => plain(&levels),
        }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn matching_agrees_with_the_naive_model(filter in filter(), name in "[ab$/é]{1,8}") {
        let matched = TopicFilter::new(&filter).unwrap().matches(TopicName::new(&name).unwrap());
        prop_assert_eq!(matched, matches_by_the_book(&filter, &name));
    }

    /// Derives filters from the name, since random ones seldom match.
    #[test]
    fn a_filter_made_from_the_name_matches_unless_hidden(name in topic(), wild in any::<u32>(), hash in any::<bool>()) {
        let mut levels: Vec<&str> = name.split('/').collect();
        for (index, level) in levels.iter_mut().enumerate() {
            if wild >> (index % 32) & 1 == 1 {
                *level = "+";
            }
        }
        if hash {
            levels.truncate(wild as usize % levels.len());
            levels.push("#");
        }
        let filter = levels.join("/");
        prop_assume!(!filter.starts_with("$share/"));
        let matched = TopicFilter::new(&filter).unwrap().matches(TopicName::new(&name).unwrap());
        let hidden = name.starts_with('$') && filter.starts_with(['+', '#']);
        prop_assert_eq!(matched, !hidden);
    }

    #[test]
    fn a_filter_exists_only_if_it_is_legal(filter in "([$]share/)?[ab+#/\u{0}$]{0,6}|[$]share(/[$]?share|/a|/|[+]){0,4}") {
        prop_assert_eq!(TopicFilter::new(&filter).is_ok(), is_filter_by_the_book(&filter), "{}", filter);
    }

    #[test]
    fn a_name_exists_only_if_it_is_legal(name in "[ab+#/\u{0}$é]{0,12}") {
        let legal = !name.is_empty() && !name.contains(['+', '#', '\0']);
        prop_assert_eq!(TopicName::new(&name).is_ok(), legal);
    }
}

#[test]
fn the_examples_of_the_standard_hold() {
    let cases = [
        ("sport/tennis/player1/#", "sport/tennis/player1", true),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
        ("sport/#", "sport", true),
        ("sport/tennis/+", "sport/tennis/player1", true),
        ("sport/tennis/+", "sport/tennis/player1/ranking", false),
        ("sport/+", "sport", false),
        ("sport/+", "sport/", true),
        ("+/+", "/finance", true),
        ("/+", "/finance", true),
        ("+", "/finance", false),
        ("#", "$SYS/monitor/Clients", false),
        ("+/monitor/Clients", "$SYS/monitor/Clients", false),
        ("$SYS/#", "$SYS/monitor/Clients", true),
        ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
        ("ACCOUNTS", "Accounts", false),
        ("$share/consumer1/sport/tennis/+", "sport/tennis/player1", true),
        ("$share/consumer1/#", "$SYS/monitor", false),
        ("$share/consumer1//finance", "/finance", true),
    ];
    for (filter, name, expected) in cases {
        let matched = TopicFilter::new(filter).unwrap().matches(TopicName::new(name).unwrap());
        assert_eq!(matched, expected, "{filter} on {name}");
    }
}

#[test]
fn an_illegal_string_is_refused_for_its_reason() {
    let long = "a".repeat(65_536);
    assert_eq!(TopicName::new(""), Err(TopicError::Empty));
    assert_eq!(TopicName::new(&long), Err(TopicError::TooLong));
    assert_eq!(TopicName::new("a\0"), Err(TopicError::Nul));
    assert_eq!(TopicName::new("a/+"), Err(TopicError::Wildcard));
    assert_eq!(TopicFilter::new(""), Err(TopicError::Empty));
    assert_eq!(TopicFilter::new(&long), Err(TopicError::TooLong));
    assert_eq!(TopicFilter::new("\0"), Err(TopicError::Nul));
    assert_eq!(TopicFilter::new("sport/tennis#"), Err(TopicError::Hash));
    assert_eq!(TopicFilter::new("sport/tennis/#/ranking"), Err(TopicError::Hash));
    assert_eq!(TopicFilter::new("sport+"), Err(TopicError::Plus));
    for filter in ["$share/", "$share//a", "$share/g", "$share/g/", "$share/+/a", "$share/g#/a", "$share/g/$share/h/a"]
    {
        assert_eq!(TopicFilter::new(filter), Err(TopicError::Share), "{filter}");
    }
    assert_eq!(TopicFilter::new("$share/g/a#"), Err(TopicError::Hash));
    assert!(TopicFilter::new("$share").is_ok());
}

#[test]
fn a_shared_subscription_is_its_name_and_its_filter() {
    let (name, filter) = TopicFilter::new("$share/group/a/+").unwrap().shared().unwrap();
    assert_eq!((name, filter.as_str()), ("group", "a/+"));
    assert!(TopicFilter::new("a/$share/b").unwrap().shared().is_none());
    assert!(TopicFilter::new("$share").unwrap().shared().is_none());
}

#[test]
fn levels_may_be_empty() {
    let levels: Vec<&str> = TopicName::new("/a//").unwrap().levels().collect();
    assert_eq!(levels, ["", "a", "", ""]);
    assert!(TopicFilter::new("a/+/b").unwrap().has_wildcard());
    assert!(!TopicFilter::new("a/b").unwrap().has_wildcard());
}
