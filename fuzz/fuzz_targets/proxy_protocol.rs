//! PROXY headers of both versions as they come from the network.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mainstay_gateway::fuzz::proxy_header(bytes));
