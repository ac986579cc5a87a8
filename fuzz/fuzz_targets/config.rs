//! Configuration files as people write them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _refused = mainstay::config::parse(text, "fuzz.toml", std::path::Path::new("."));
    }
});
