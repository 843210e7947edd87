#![no_main]

libfuzzer_sys::fuzz_target!(|input: &str| checks::filter_matches_by_the_book(input));
