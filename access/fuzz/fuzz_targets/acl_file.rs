//! Any bytes as an acl_file: refused with a line that exists, or read; then every client and topic has a verdict, and none may
//! write to $SYS.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wisp_access::{Access, Client, Rules};

fuzz_target!(|input: (&[u8], Option<&str>, &str, &str)| {
    let (text, user, id, topic) = input;
    match Rules::parse(text) {
        Ok(rules) => {
            let client = Client { user, id };
            rules.allow(&client, Access::Read, topic);
            if rules.allow(&client, Access::Write, topic) {
                assert!(!rules.is_empty() && !topic.starts_with("$share"));
                assert!(!topic.starts_with("$SYS") || topic.ends_with("/state"));
            }
        }
        Err(error) => {
            assert!(error.line >= 1 && error.line <= text.split(|byte| *byte == b'\n').count());
            assert!(!error.to_string().contains(['\n', '\r']));
        }
    }
});
