//! Settings from configuration, in the words of the gateway's: a route's or a service's keys mean here what they mean there.
//!
//! ```
//! let settings: mainstay_resilience::settings::Settings = toml::from_str(
//!     r#"
//!     timeout = "2s"
//!     retry = { attempts = 3, backoff = "25ms", backoff_cap = "1s" }
//!     retry_budget = { ratio = "20%", floor = 3 }
//!     breaker = { failure_rate = "50%", open_for = "60s" }
//!     bulkhead = { concurrency = 200, queue = 50 }
//!     rate_limit = { rate = "100/s", burst = 20 }
//!     "#,
//! )?;
//! assert_eq!(settings.breaker.expect("a breaker").open_for.as_secs(), 60);
//! # Ok::<(), toml::de::Error>(())
//! ```

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::limit::Rate;
use crate::{backoff, breaker, budget, bulkhead, hedge, retry};

/// What layers are made of. What is absent is off.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// For [`crate::TimeoutLayer`]: `"2s"`.
    #[serde(deserialize_with = "some_duration")]
    pub timeout: Option<Duration>,
    /// For [`crate::RetryLayer`]: `{ attempts = 3, backoff = "25ms", backoff_cap = "1s" }`.
    #[serde(deserialize_with = "read_retry")]
    pub retry: Option<retry::Policy>,
    /// For [`crate::Budget`]: `{ ratio = "20%", floor = 3 }`.
    #[serde(deserialize_with = "read_budget")]
    pub retry_budget: Option<budget::Policy>,
    /// For [`crate::BreakerLayer`]: `{ failure_rate = "50%", open_for = "60s" }`, or `"classic"` or `"default"`.
    #[serde(deserialize_with = "read_breaker")]
    pub breaker: Option<breaker::Policy>,
    /// For [`crate::BulkheadLayer`]: `{ concurrency = 200, queue = 50, queue_timeout = "1s" }`.
    #[serde(deserialize_with = "read_bulkhead")]
    pub bulkhead: Option<bulkhead::Policy>,
    /// For [`crate::RateLimitLayer`]: `{ rate = "100/s", burst = 20 }`.
    #[serde(deserialize_with = "read_rate")]
    pub rate_limit: Option<Rate>,
    /// For [`crate::HedgeLayer`]: `{ quantile = "95%", min_delay = "1ms", min_calls = 20 }`.
    #[serde(deserialize_with = "read_hedge")]
    pub hedge: Option<hedge::Policy>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRetry {
    attempts: Option<u32>,
    #[serde(default, deserialize_with = "some_duration")]
    backoff: Option<Duration>,
    #[serde(default, deserialize_with = "some_duration")]
    backoff_cap: Option<Duration>,
}

fn read_retry<'de, D: Deserializer<'de>>(from: D) -> Result<Option<retry::Policy>, D::Error> {
    let raw = RawRetry::deserialize(from)?;
    let default = retry::Policy::default();
    let attempts = within("attempts", raw.attempts.unwrap_or(default.attempts), 1, 100)?;
    let base = raw.backoff.unwrap_or(default.backoff.base);
    let cap = raw.backoff_cap.unwrap_or(default.backoff.cap.max(base));
    if base > cap {
        return Err(D::Error::custom("`backoff` must not be longer than `backoff_cap`"));
    }
    Ok(Some(retry::Policy { attempts, backoff: backoff::Policy { base, cap }, ..default }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBudget {
    #[serde(default, deserialize_with = "some_share")]
    ratio: Option<f64>,
    floor: Option<f64>,
}

fn read_budget<'de, D: Deserializer<'de>>(from: D) -> Result<Option<budget::Policy>, D::Error> {
    let raw = RawBudget::deserialize(from)?;
    let default = budget::Policy::default();
    let floor_per_second = raw.floor.unwrap_or(default.floor_per_second);
    if !(0.0..=1e6).contains(&floor_per_second) {
        return Err(D::Error::custom("`floor` is a number of retries a second, between 0 and 1000000"));
    }
    Ok(Some(budget::Policy { ratio: raw.ratio.unwrap_or(default.ratio), floor_per_second, ..default }))
}

/// A preset's name, or a table.
enum Named {
    Preset(String),
    Table(Box<RawBreaker>),
}

// By hand rather than `untagged`, which forgets what was wrong with the table.
impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> serde::de::Visitor<'de> for Either {
            type Value = Named;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a table, \"default\", \"classic\" or \"off\"")
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Named, E> {
                Ok(Named::Preset(word.to_owned()))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Named, A::Error> {
                let table = RawBreaker::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(Named::Table(Box::new(table)))
            }
        }
        from.deserialize_any(Either)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBreaker {
    preset: Option<String>,
    #[serde(default, deserialize_with = "some_duration")]
    window: Option<Duration>,
    window_calls: Option<u32>,
    min_calls: Option<u32>,
    #[serde(default, deserialize_with = "some_share")]
    failure_rate: Option<f64>,
    consecutive: Option<u32>,
    #[serde(default, deserialize_with = "some_share")]
    slow_rate: Option<f64>,
    #[serde(default, deserialize_with = "some_duration")]
    slow_after: Option<Duration>,
    #[serde(default, deserialize_with = "some_duration")]
    open_for: Option<Duration>,
    #[serde(default, deserialize_with = "some_duration")]
    open_max: Option<Duration>,
    #[serde(default, deserialize_with = "some_share")]
    jitter: Option<f64>,
    probes: Option<u32>,
    #[serde(default, deserialize_with = "some_duration")]
    probe_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "some_duration")]
    ramp: Option<Duration>,
}

fn preset<E: serde::de::Error>(word: Option<&str>) -> Result<breaker::Policy, E> {
    match word {
        None | Some("default") => Ok(breaker::Policy::default()),
        Some("classic") => Ok(breaker::Policy::CLASSIC),
        Some(other) => Err(E::custom(format!("`{other}` is not known here; it is \"default\" or \"classic\""))),
    }
}

fn read_breaker<'de, D: Deserializer<'de>>(from: D) -> Result<Option<breaker::Policy>, D::Error> {
    let raw = match Named::deserialize(from)? {
        Named::Preset(word) if word == "off" => return Ok(None),
        Named::Preset(word) => return preset(Some(&word)).map(Some),
        Named::Table(raw) => *raw,
    };
    let base = preset::<D::Error>(raw.preset.as_deref())?;
    let window = match (raw.window, raw.window_calls) {
        (Some(_), Some(_)) => return Err(D::Error::custom("either `window` or `window_calls`, not both")),
        (Some(window), None) => breaker::Span::Time(window),
        (None, Some(calls)) => {
            breaker::Span::Calls(within("window_calls", calls, 1, mainstay_core::breaker::CALLS_MAX)?)
        }
        (None, None) => base.window,
    };
    let slow = match (raw.slow_rate, raw.slow_after) {
        (Some(rate), Some(after)) => Some(breaker::Slow { rate, after }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            return Err(D::Error::custom("`slow_rate` and `slow_after` go together"));
        }
    };
    // Who asks for another rule and not for this one does not want this one.
    let is_alone = raw.consecutive.is_none() && slow.is_none();
    let open_for = raw.open_for.unwrap_or(base.open_for);
    let open_max = raw.open_max.unwrap_or(base.open_max.max(open_for));
    if open_for > open_max {
        return Err(D::Error::custom("`open_for` must not be longer than `open_max`"));
    }
    let enough = if let breaker::Span::Calls(most) = window { base.min_calls.min(most) } else { base.min_calls };
    Ok(Some(breaker::Policy {
        window,
        min_calls: raw.min_calls.unwrap_or(enough),
        failure_rate: raw.failure_rate.or(if is_alone { base.failure_rate } else { None }),
        consecutive: raw.consecutive,
        slow,
        open_for,
        open_max,
        jitter: raw.jitter.unwrap_or(base.jitter),
        probes: within("probes", raw.probes.unwrap_or(base.probes), 1, mainstay_core::breaker::PROBES_MAX)?,
        probe_timeout: raw.probe_timeout.unwrap_or(base.probe_timeout),
        ramp: raw.ramp.unwrap_or(base.ramp),
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBulkhead {
    concurrency: u32,
    #[serde(default)]
    queue: u32,
    #[serde(default, deserialize_with = "some_duration")]
    queue_timeout: Option<Duration>,
}

fn read_bulkhead<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bulkhead::Policy>, D::Error> {
    let raw = RawBulkhead::deserialize(from)?;
    let fixed = bulkhead::Policy::fixed(within("concurrency", raw.concurrency, 1, 1_000_000)?);
    let queue = within("queue", raw.queue, 0, 65_536)?;
    Ok(Some(bulkhead::Policy { queue, queue_timeout: raw.queue_timeout.unwrap_or(fixed.queue_timeout), ..fixed }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRate {
    rate: String,
    burst: Option<u32>,
}

fn read_rate<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Rate>, D::Error> {
    let raw = RawRate::deserialize(from)?;
    let wrong = || D::Error::custom(format!("`{}` is not a rate; write \"100/s\", \"5/m\" or \"10/30s\"", raw.rate));
    let (requests, per) = raw.rate.split_once('/').ok_or_else(wrong)?;
    let requests = requests.parse::<u32>().ok().filter(|requests| *requests > 0).ok_or_else(wrong)?;
    let is_number = per.starts_with(|letter: char| letter.is_ascii_digit());
    let per = duration(&if is_number { per.to_owned() } else { format!("1{per}") }).ok_or_else(wrong)?;
    if per.is_zero() {
        return Err(wrong());
    }
    // What comes in a second, as it would at an even pace.
    let in_a_second = (f64::from(requests) / per.as_secs_f64()).ceil().max(1.0) as u32;
    Ok(Some(Rate::new(requests, per, within("burst", raw.burst.unwrap_or(in_a_second), 1, u32::MAX)?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHedge {
    #[serde(default, deserialize_with = "some_share")]
    quantile: Option<f64>,
    #[serde(default, deserialize_with = "some_duration")]
    min_delay: Option<Duration>,
    min_calls: Option<u32>,
}

fn read_hedge<'de, D: Deserializer<'de>>(from: D) -> Result<Option<hedge::Policy>, D::Error> {
    let raw = RawHedge::deserialize(from)?;
    let default = hedge::Policy::default();
    Ok(Some(hedge::Policy {
        quantile: raw.quantile.unwrap_or(default.quantile),
        min_delay: raw.min_delay.unwrap_or(default.min_delay),
        min_calls: raw.min_calls.unwrap_or(default.min_calls),
        ..default
    }))
}

fn within<E: serde::de::Error>(key: &str, value: u32, low: u32, high: u32) -> Result<u32, E> {
    if (low..=high).contains(&value) {
        return Ok(value);
    }
    Err(E::custom(format!("`{key}` is {value} and must be between {low} and {high}")))
}

fn some_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(from)?;
    let wrong =
        || D::Error::custom(format!("`{text}` is not a duration; write a number and ms, s, m, h or d: \"500ms\""));
    duration(&text).map(Some).ok_or_else(wrong)
}

fn some_share<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    let text = String::deserialize(from)?;
    let number = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
    match number.filter(|percent| (0.0..=100.0).contains(percent)) {
        Some(percent) => Ok(Some(percent / 100.0)),
        None => Err(D::Error::custom(format!("`{text}` is not a percentage; write a number and a %: \"20%\""))),
    }
}

/// A whole number and its unit.
fn duration(text: &str) -> Option<Duration> {
    let end = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _other => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(millis).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn the_gateways_words_are_understood() {
        let settings = read(
            "timeout = \"2s\"\nretry = { attempts = 5, backoff = \"10ms\", backoff_cap = \"2s\" }\n\
             retry_budget = { ratio = \"10%\", floor = 1 }\nhedge = { quantile = \"99%\", min_delay = \"5ms\" }\n\
             bulkhead = { concurrency = 20, queue = 5, queue_timeout = \"300ms\" }\nrate_limit = { rate = \"10/m\", burst = 3 }\n\
             breaker = { preset = \"classic\", window_calls = 10, slow_rate = \"20%\", slow_after = \"1s\", probes = 2 }\n",
        )
        .expect("settings");
        assert_eq!(settings.timeout, Some(Duration::from_secs(2)));
        let retry = settings.retry.expect("retries");
        assert_eq!((retry.attempts, retry.backoff.base), (5, Duration::from_millis(10)));
        assert_eq!(settings.rate_limit, Some(Rate::new(10, Duration::from_secs(60), 3)));
        let bulkhead = settings.bulkhead.expect("a bulkhead");
        assert_eq!((bulkhead.concurrency, bulkhead.queue), (bulkhead::Concurrency::Fixed(20), 5));
        let breaker = settings.breaker.expect("a breaker");
        assert_eq!((breaker.window, breaker.min_calls, breaker.probes), (breaker::Span::Calls(10), 10, 2));
        assert_eq!((breaker.failure_rate, breaker.open_for), (None, Duration::from_secs(60)));
        assert_eq!(read("breaker = \"classic\"").expect("a preset").breaker, Some(breaker::Policy::CLASSIC));
        assert_eq!(read(""), Ok(Settings::default()));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, part) in [
            ("timeout = \"2\"", "is not a duration"),
            ("timeout = 2", "string"),
            ("retry = { attempts = 0 }", "`attempts` is 0 and must be between 1 and 100"),
            ("retry = { attemps = 1 }", "attemps"),
            ("retry_budget = { ratio = 0.2 }", "string"),
            ("retry_budget = { ratio = \"120%\" }", "is not a percentage"),
            ("rate_limit = { rate = \"0/s\" }", "is not a rate"),
            ("rate_limit = { rate = \"5\" }", "is not a rate"),
            ("bulkhead = { queue = 1 }", "concurrency"),
            ("breaker = \"textbook\"", "`textbook` is not known here"),
            ("braker = {}", "braker"),
            ("breaker = { opn_for = \"1s\" }", "opn_for"),
            ("breaker = 1", "a table, \"default\", \"classic\" or \"off\""),
        ] {
            let said = read(text).expect_err(text);
            assert!(said.contains(part), "{text}: {said}");
        }
    }
}
