//! Any bytes as a mosquitto.conf and a file that it includes: refused in one line, or converted, printed and read again with the
//! same values.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| program::check_mosquitto_conf(bytes));
