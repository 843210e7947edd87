#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lives::live(input));
