//! Why a route does not take a request, for people who ask afterwards. Lookups do not come here.

use std::cmp::Reverse;

use super::{Host, Match, Path, Request, shadow, trimmed_prefix};

/// The first part of a route's match that a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// The host is another.
    Host,
    /// The path is another.
    Path,
    /// The method is not listed.
    Method,
}

/// Why `rule` does not take `request`; `None` if only its headers could stand in the way.
pub fn miss(rule: &Match, request: Request<'_>) -> Option<Miss> {
    let by_host = match &rule.host {
        Host::Any => true,
        Host::Exact(host) => host == request.host,
        Host::Suffix(suffix) => request.host.len() > suffix.len() && request.host.ends_with(suffix.as_str()),
    };
    let by_path = match &rule.path {
        Path::Exact(path) => path == request.path,
        Path::Prefix(prefix) => {
            let rest = request.path.strip_prefix(trimmed_prefix(prefix));
            rest.is_some_and(|rest| trimmed_prefix(prefix).is_empty() || rest.is_empty() || rest.starts_with('/'))
        }
    };
    if !by_host {
        Some(Miss::Host)
    } else if !by_path {
        Some(Miss::Path)
    } else if !rule.methods.is_empty() && !rule.methods.iter().any(|method| method == request.method) {
        Some(Miss::Method)
    } else {
        None
    }
}

/// Indexes into `matches` in the order in which routes are preferred: a request takes the first that does not miss it.
pub fn by_precedence(matches: &[&Match]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..matches.len()).collect();
    order.sort_by_key(|index| {
        let rule = matches[*index];
        let host = match &rule.host {
            Host::Exact(_) => (0, Reverse(0)),
            Host::Suffix(suffix) => (1, Reverse(suffix.len())),
            Host::Any => (2, Reverse(0)),
        };
        let path = match &rule.path {
            Path::Exact(_) => (0, Reverse(0)),
            Path::Prefix(prefix) => (1, Reverse(trimmed_prefix(prefix).len())),
        };
        (host, path, shadow::rank_of_rule(rule))
    });
    order
}
