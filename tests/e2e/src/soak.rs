//! How often: a few times in every run of the tests, many times in a soak (`make soak`, which sets `MAINSTAY_SOAK=1`).

/// Whether this run is a soak.
#[must_use]
pub fn is_on() -> bool {
    std::env::var_os("MAINSTAY_SOAK").is_some_and(|set| set == "1")
}

/// How often a fault happens: three times, or `SOAK_ROUNDS` (20) in a soak.
#[must_use]
pub fn rounds() -> usize {
    let wanted = std::env::var("SOAK_ROUNDS").ok().and_then(|text| text.parse().ok());
    or(3, wanted.unwrap_or(20).max(1))
}

/// Runs it as often as [`rounds`] says.
pub fn repeat(what: &str, mut round: impl FnMut()) {
    let rounds = rounds();
    for number in 1..=rounds {
        eprintln!("{what}: round {number} of {rounds}");
        round();
    }
}

/// `usual`, or `long` in a soak.
#[must_use]
pub fn or<T>(usual: T, long: T) -> T {
    if is_on() { long } else { usual }
}
