//! What clients of PostgreSQL and Redis send, and what their servers answer, as far as it is understood on its way.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mainstay_gateway::fuzz::database(bytes));
