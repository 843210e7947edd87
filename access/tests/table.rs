//! The behaviour of real mosquitto 2.1.2, as it was measured: rules, matching, patterns, the format of the file.

use wisp_access::{Access, Client, Rules};

const ANONYMOUS: Client<'static> = Client { user: None, id: "cl" };
const JOE: Client<'static> = Client { user: Some("joe"), id: "cl" };

fn rules(text: &str) -> Rules {
    Rules::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn reads(rules: &Rules, client: Client<'_>, topic: &str) -> bool {
    rules.allow(&client, Access::Read, topic)
}

fn writes(rules: &Rules, client: Client<'_>, topic: &str) -> bool {
    rules.allow(&client, Access::Write, topic)
}

/// The rights of joe: r, w, both or none.
fn of_joe(lines: &str, topic: &str) -> &'static str {
    let rules = rules(&format!("user joe\n{lines}\n"));
    match (reads(&rules, JOE, topic), writes(&rules, JOE, topic)) {
        (true, true) => "rw",
        (true, false) => "r",
        (false, true) => "w",
        (false, false) => "-",
    }
}

#[test]
fn lines_before_the_first_user_are_for_anonymous_clients_only() {
    let rules = rules("topic a\nuser joe\ntopic b\n");
    assert!(reads(&rules, ANONYMOUS, "a") && writes(&rules, ANONYMOUS, "a") && !reads(&rules, ANONYMOUS, "b"));
    assert!(!reads(&rules, JOE, "a") && reads(&rules, JOE, "b"));
}

#[test]
fn sections_of_a_user_add_up_and_others_have_nothing() {
    let rules = rules("user joe\ntopic a\nuser ann\ntopic b\nuser joe\ntopic c\n");
    assert!(reads(&rules, JOE, "a") && reads(&rules, JOE, "c") && !reads(&rules, JOE, "b"));
    let bob = Client { user: Some("bob"), id: "cl" };
    assert!(["a", "b", "c"].iter().all(|topic| !reads(&rules, bob, topic) && !writes(&rules, bob, topic)));
}

#[test]
fn patterns_apply_to_all_wherever_they_stand() {
    let rules = rules("user ann\npattern read p/#\ntopic a\n");
    assert!(reads(&rules, JOE, "p/x") && reads(&rules, ANONYMOUS, "p/x") && !writes(&rules, JOE, "p/x"));
    assert!(!reads(&rules, JOE, "a"));
    assert!(rules.notes()[0].line == 2 && rules.notes()[0].text.contains("neither %u nor %c"));
}

#[test]
fn the_name_in_a_user_line_is_the_rest_of_it() {
    let rules = rules("user  a b  \ntopic x\nuser \"q\"\ntopic y\n");
    assert!(reads(&rules, Client { user: Some("a b"), id: "cl" }, "x"));
    assert!(reads(&rules, Client { user: Some("\"q\""), id: "cl" }, "y"));
    assert!(!reads(&rules, Client { user: Some("q"), id: "cl" }, "y"));
}

#[test]
fn an_empty_file_denies_everything() {
    for text in ["", "# c\n\n   \n"] {
        let rules = rules(text);
        assert!(rules.is_empty() && !reads(&rules, ANONYMOUS, "a") && !writes(&rules, JOE, "a"));
    }
}

#[test]
fn topics_match_as_measured() {
    for (line, topic, rights) in [
        ("topic a/+/c", "a/b/c", "rw"),
        ("topic a/#", "a", "rw"),
        ("topic a/#", "a/", "rw"),
        ("topic a/#", "a/b/c", "rw"),
        ("topic a/#", "ab", "-"),
        ("topic +", "z", "rw"),
        ("topic +", "/z", "-"),
        ("topic read x\ntopic write x", "x", "rw"),
        ("topic read x", "x", "r"),
        ("topic write x", "x", "w"),
        ("topic readwrite w/#\ntopic deny w/secret/#", "w/secret/1", "-"),
        ("topic deny w/secret/#\ntopic readwrite w/#", "w/secret/1", "-"),
        ("topic deny w/secret/#\ntopic readwrite w/#", "w/1", "rw"),
        ("topic read d\ntopic deny d", "d", "-"),
        ("topic deny d\npattern readwrite d", "d", "-"),
        ("pattern deny d\ntopic readwrite d", "d", "rw"),
        ("pattern deny d\npattern readwrite d", "d", "-"),
        ("topic #", "$SYS/broker/uptime", "-"),
        ("topic #", "$foo/x", "-"),
        ("topic +/x", "$foo/x", "-"),
        ("topic read $SYS/#", "$SYS/broker/uptime", "r"),
        ("topic readwrite $SYS/#", "$SYS/x", "r"),
        ("topic readwrite $SYS/#", "$SYS", "r"),
        ("topic readwrite $SYS/#", "$SYS/broker/connection/b/state", "rw"),
        ("topic readwrite $foo/#", "$foo/x", "rw"),
        ("topic readwrite $queue/#", "$queue/jobs", "rw"),
        ("topic readwrite $share/g/f", "f", "-"),
        ("topic readwrite sp ace/x y", "sp ace/x y", "rw"),
        ("topic write r w", "r w", "w"),
        ("topic read", "read", "rw"),
        ("topic deny", "deny", "rw"),
        ("topic deny read x\ntopic readwrite #", "read x", "-"),
        ("topic deny read x\ntopic readwrite #", "x", "rw"),
        ("topic   read   a", "a", "r"),
        ("   topic read a", "a", "r"),
        ("topic read\ta", "a", "-"),
        ("topic read\ta", "read\ta", "rw"),
    ] {
        assert_eq!(of_joe(line, topic), rights, "{line:?} for {topic}");
    }
}

#[test]
fn names_stand_for_whole_levels() {
    for (line, topic, rights) in [
        ("pattern u/%u/#", "u/joe", "rw"),
        ("pattern u/%u/#", "u/joe/1", "rw"),
        ("pattern u/%u/#", "u/ann/1", "-"),
        ("pattern c/%c/#", "c/cl/1", "rw"),
        ("pattern both/%u/%c", "both/joe/cl", "rw"),
        ("pattern two/%u/%u", "two/joe/joe", "rw"),
        ("pattern plus/+/%u/#", "plus/x/joe/y", "rw"),
        ("pattern %u/#", "joe/x", "rw"),
        ("pattern pct/100%/%u", "pct/100%/joe", "rw"),
        // Only whole levels, as in 2.1.
        ("pattern pre/x%u", "pre/xjoe", "-"),
        ("pattern suf/%uy", "suf/joey", "-"),
        ("pattern mid/%u%c", "mid/joecl", "-"),
        ("pattern mid2/%u-%c/#", "mid2/joe-cl/1", "-"),
        ("pattern pre/x%u", "pre/x%u", "-"),
        // In a topic line they are text.
        ("topic t/%u", "t/joe", "-"),
        ("topic t/%u", "t/%u", "rw"),
    ] {
        assert_eq!(of_joe(line, topic), rights, "{line:?} for {topic}");
    }
    let rules = rules("pattern u/%u/#\npattern c/%c/#\n");
    assert!(!reads(&rules, ANONYMOUS, "u//x") && !reads(&rules, ANONYMOUS, "u/%u/x"));
    assert!(reads(&rules, ANONYMOUS, "c/cl/1"), "%c counts for anonymous clients too");
}

#[test]
fn names_with_slashes_match_nothing_and_leave_other_lines_alone() {
    let rules = rules("pattern u/%u/#\npattern c/%c/#\npattern all/#\n");
    let slash = Client { user: Some("a/b"), id: "c/l" };
    assert!(!reads(&rules, slash, "u/a/b/1") && !reads(&rules, slash, "c/c/l/1") && reads(&rules, slash, "all/1"));
}

#[test]
fn names_with_wildcards_have_their_own_section_only() {
    let rules = rules("user a+b\ntopic own\nuser joe\ntopic own\npattern u/%u/#\npattern all/#\n");
    for client in [Client { user: Some("a+b"), id: "cl" }, Client { user: Some("joe"), id: "#" }] {
        assert!(reads(&rules, client, "own") && !reads(&rules, client, "all/1"), "{client:?}");
    }
    assert!(!reads(&rules, Client { user: None, id: "+" }, "all/1"));
    assert!(!reads(&rules, Client { user: Some("+"), id: "cl" }, "u/ann/1"));
}

#[test]
fn names_are_taken_as_they_are() {
    let patterns = rules("pattern u/%u/#\npattern %u/#\n");
    let sys = Client { user: Some("$SYS"), id: "cl" };
    assert!(!reads(&patterns, sys, "$SYS/broker/x") && reads(&patterns, sys, "u/$SYS/x"));
    assert!(reads(&patterns, Client { user: Some("%u"), id: "cl" }, "u/%u/x"));
    assert!(reads(&patterns, Client { user: Some("a b"), id: "cl" }, "u/a b/x"));
}

#[test]
fn the_lines_that_2_0_reads_differently_are_named() {
    let rules = rules("# c\npattern pre/x%u\npattern ok/%u\npattern %c%u/a\n");
    let notes: Vec<_> = rules.notes().iter().map(|note| (note.line, note.text.contains("mosquitto 2.0"))).collect();
    assert_eq!((notes, rules.len()), (vec![(2, true), (4, true)], 3));
}

#[test]
fn lines_that_end_mosquitto_are_refused_with_their_number() {
    for (line, part) in [
        (" # c", "a comment begins in the first column"),
        ("topic read a # c", "a comment needs a line of its own"),
        ("topic\ta", "not tabs"),
        ("\u{feff}topic a", "byte order mark"),
        ("TOPIC a", "begins with topic, pattern, user"),
        ("group a", "begins with topic, pattern, user"),
        ("topic", "no topic behind topic"),
        ("topic   ", "no topic behind topic"),
        ("pattern", "no topic behind pattern"),
        ("user", "no name behind user"),
        ("user   ", "no name behind user"),
        ("topic foo a", "foo is no access"),
        ("topic subscribe a", "subscribe is no access"),
        ("topic none a", "none is no access"),
        ("topic Read a", "Read is no access"),
        ("topic a/#/b", "+ or # in a wrong place"),
        ("topic a+/b", "+ or # in a wrong place"),
        ("pattern read +%u/b", "+ or # in a wrong place"),
    ] {
        let error = Rules::parse(format!("topic ok\n# c\n{line}\ntopic ok\n").as_bytes()).unwrap_err();
        let is_first = line.starts_with('\u{feff}');
        let error = if is_first { Rules::parse(line.as_bytes()).unwrap_err() } else { error };
        assert_eq!(error.line, if is_first { 1 } else { 3 }, "{line:?}");
        assert!(error.text.contains(part) && !error.text.contains('\n'), "{line:?}: {error}");
    }
}

#[test]
fn line_ends_of_both_kinds_and_long_topics_are_read() {
    let long = "x".repeat(300);
    let rules = rules(&format!("user joe\r\ntopic read a\r\n\r\ntopic {long}"));
    assert!(reads(&rules, JOE, "a") && writes(&rules, JOE, &long));
}
