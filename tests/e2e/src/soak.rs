//! How often: a few times in every run of the tests, many times in a soak (`make soak`, which sets `MAINSTAY_SOAK=1`).

/// Whether this run is a soak.
#[must_use]
pub fn is_on() -> bool {
    std::env::var_os("MAINSTAY_SOAK").is_some_and(|set| set == "1")
}

/// `usual`, or `long` in a soak.
#[must_use]
pub fn or<T>(usual: T, long: T) -> T {
    if is_on() { long } else { usual }
}
