//! Routes that can never be taken.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::{Header, Host, Match, Path, trimmed_prefix};

/// Routes that can never be taken, each with the earlier or more specific one that takes all its requests. Where several
/// do so only together, one for each method, the first of them is named.
///
/// Only a route of the same host and path can hide another: a more specific one leaves requests over, a less specific one
/// comes later.
pub fn shadowed(matches: &[Match]) -> Vec<(usize, usize)> {
    let mut places: HashMap<(&Host, bool, &str), Vec<usize>> = HashMap::new();
    for (index, rule) in matches.iter().enumerate() {
        let (exact, path) = match &rule.path {
            Path::Exact(path) => (true, path.as_str()),
            Path::Prefix(prefix) => (false, trimmed_prefix(prefix)),
        };
        places.entry((&rule.host, exact, path)).or_default().push(index);
    }
    let mut found = Vec::new();
    for mut place in places.into_values() {
        place.sort_by_key(|index| rank_of_rule(&matches[*index]));
        for (position, index) in place.iter().enumerate() {
            if let Some(by) = hidden_by(matches, &place[..position], *index) {
                found.push((*index, by));
            }
        }
    }
    found.sort_unstable();
    found
}

/// Orders the routes of one host and path: the first that matches a request takes it. Equals stay as configured.
pub(super) fn rank_of_rule(rule: &Match) -> (bool, Reverse<usize>) {
    (rule.methods.is_empty(), Reverse(rule.headers.len()))
}

/// The one of `earlier`, or the first of several, that leaves nothing to route `index`.
///
/// Methods are the only part of which a route names finitely many values, so they are the only part that several routes
/// can use up together: a request with some header value that no route names is always left.
fn hidden_by(matches: &[Match], earlier: &[usize], index: usize) -> Option<usize> {
    let rule = &matches[index];
    let covers = |by: &&usize| matches[**by].headers.iter().all(|wanted| implied(wanted, &rule.headers));
    if rule.methods.is_empty() {
        return earlier.iter().filter(covers).find(|by| matches[**by].methods.is_empty()).copied();
    }
    let taker = |method: &String| {
        earlier
            .iter()
            .filter(covers)
            .find(|by| matches[**by].methods.is_empty() || matches[**by].methods.contains(method))
            .copied()
    };
    let whole = earlier.iter().filter(covers).find(|by| {
        let methods = &matches[**by].methods;
        methods.is_empty() || rule.methods.iter().all(|method| methods.contains(method))
    });
    let takers = rule.methods.iter().map(taker).collect::<Option<Vec<_>>>()?;
    whole.copied().or_else(|| takers.first().copied())
}

/// Whether every request with all of `headers` has `wanted`.
fn implied(wanted: &Header, headers: &[Header]) -> bool {
    headers.iter().any(|given| given.name == wanted.name && (wanted.value.is_none() || wanted.value == given.value))
}
