//! What nodes of a cluster send each other, as it comes from the network.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mainstay_cluster::fuzz::peer_frames(bytes));
