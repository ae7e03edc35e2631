//! Documents of the operations log.
#![no_main]

#[path = "../bodies.rs"]
#[allow(dead_code, reason = "the other targets run the rest")]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::log_record(data));
