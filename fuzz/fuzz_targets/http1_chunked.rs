//! Chunked bodies as they come from the network, cut at every place.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    mainstay_gateway::fuzz::chunked(bytes);
});
