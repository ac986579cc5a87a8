//! How often somebody may fail to show who they are.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Counts failures of each key over a window of time. The table is bounded: if it is full of fresh failures, the oldest makes
/// room, since a guard that can be filled up must not lock everybody out.
#[derive(Debug)]
pub struct Throttle<K> {
    failures_max: u32,
    window: Duration,
    keys_max: usize,
    failed: HashMap<K, (Instant, u32)>,
}

impl<K: Clone + Eq + Hash> Throttle<K> {
    /// Lets each key fail `failures_max` times in a `window`, and remembers `keys_max` keys.
    pub fn new(failures_max: u32, window: Duration, keys_max: usize) -> Self {
        Self { failures_max, window, keys_max, failed: HashMap::new() }
    }

    /// How long the key has to wait; none if it may try.
    pub fn wait(&self, now: Instant, key: &K) -> Option<Duration> {
        let (since, failures) = self.failed.get(key)?;
        let left = self.window.checked_sub(now.saturating_duration_since(*since))?;
        (*failures >= self.failures_max && !left.is_zero()).then_some(left)
    }

    /// Notes that the key has failed.
    pub fn failed(&mut self, now: Instant, key: K) {
        let window = self.window;
        let is_fresh = |since: Instant| now.saturating_duration_since(since) < window;
        if !self.failed.contains_key(&key) && self.failed.len() >= self.keys_max {
            self.failed.retain(|_key, (since, _failures)| is_fresh(*since));
            if self.failed.len() >= self.keys_max
                && let Some(oldest) =
                    self.failed.iter().min_by_key(|(_key, (since, _))| *since).map(|(key, _)| key.clone())
            {
                self.failed.remove(&oldest);
            }
        }
        let entry = self.failed.entry(key).or_insert((now, 0));
        if !is_fresh(entry.0) {
            *entry = (now, 0);
        }
        entry.1 = entry.1.saturating_add(1);
    }

    /// Takes one failure back: an attempt counts as one until it is known not to be.
    pub fn forgive(&mut self, key: &K) {
        if let Some((_since, failures)) = self.failed.get_mut(key) {
            *failures = failures.saturating_sub(1);
        }
    }

    /// Notes that the key has succeeded: what it failed before was a slip.
    pub fn succeeded(&mut self, key: &K) {
        self.failed.remove(key);
    }
}

/// What counts as one client: an address, or a network that one host of IPv6 usually has to itself.
pub fn client(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => match six.to_ipv4_mapped() {
            Some(four) => four.into(),
            None => Ipv6Addr::from_bits(six.to_bits() >> 64 << 64).into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_waits_after_too_many_failures_and_others_do_not() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut throttle = Throttle::new(3, 10 * second, 2);
        for _failure in 0..3 {
            assert_eq!(throttle.wait(start, &"a"), None);
            throttle.failed(start, "a");
        }
        assert_eq!(throttle.wait(start + 4 * second, &"a"), Some(6 * second));
        assert_eq!(throttle.wait(start, &"b"), None);
        assert_eq!(throttle.wait(start + 10 * second, &"a"), None);
        throttle.failed(start + 11 * second, "a");
        assert_eq!(throttle.wait(start + 11 * second, &"a"), None, "a new window");
        throttle.failed(start, "b");
        throttle.forgive(&"b");
        assert_eq!(throttle.failed[&"b"].1, 0);
        throttle.succeeded(&"b");
        throttle.succeeded(&"a");
        assert!(throttle.failed.is_empty());
    }

    #[test]
    fn the_table_does_not_grow() {
        let start = Instant::now();
        let mut throttle = Throttle::new(1, Duration::from_secs(10), 8);
        for key in 0..1_000_u64 {
            throttle.failed(start + Duration::from_millis(key), key);
            assert!(throttle.failed.len() <= 8);
        }
        assert!(throttle.wait(start + Duration::from_secs(1), &999).is_some());
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let client = |text: &str| super::client(text.parse().expect("an address"));
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
        assert_eq!(client("::ffff:10.0.0.1"), client("10.0.0.1"));
    }
}
