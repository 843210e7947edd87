#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| checks::decode_encode_decode(input, wisp_wire::ProtocolVersion::Mqtt311));
