#![no_main]

use wisp_wire::ProtocolVersion;

// The first byte picks the version.
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let [version, input @ ..] = input {
        checks::any_cut_waits(input, ProtocolVersion::ALL[usize::from(*version) % 3]);
    }
});
