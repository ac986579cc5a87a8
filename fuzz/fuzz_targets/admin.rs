//! What comes to the admin interface from outside: versions in conditions, and what an OpenID Connect provider sends.
#![no_main]

use mainstay_admin::fuzz::{provider, versions};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    versions(bytes);
    provider(bytes);
});
