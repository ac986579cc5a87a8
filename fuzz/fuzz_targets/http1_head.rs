//! Heads of requests and responses as they come from the network.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    mainstay_gateway::fuzz::request_head(bytes);
    mainstay_gateway::fuzz::response_head(bytes);
});
