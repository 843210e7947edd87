//! Any bytes as a persistence file of mosquitto: refused in one line, or imported as a state that the engine takes up whole.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| program::check_mosquitto_db(bytes));
