//! What Redis servers answer to the agent that keeps them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mainstay_failover::fuzz::redis_answers(bytes));
