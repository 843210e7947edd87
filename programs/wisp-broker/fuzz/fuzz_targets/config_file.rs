//! Any bytes as a file for `--config`: refused in one line, or read, printed and read again with the same values.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| program::check_config_file(text));
