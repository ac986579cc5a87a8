use std::cmp::Reverse;

use mainstay_core::route::{Header, Host, Match, Path, Request, Table, by_precedence, miss, shadowed};
use proptest::prelude::*;

/// Hosts that routes and requests name; `z` and those below the others are named by requests alone, so that every suffix
/// has a host which no route names. The same goes for paths, methods and values.
const HOSTS: [&str; 8] = ["a", "b.a", "c.b.a", "z", "z.a", "z.b.a", "z.c.b.a", "cb.a"];
const PATHS: [&str; 11] = ["/", "/p", "/p/", "/p/q", "/p/q/", "/z", "/pq", "/p/z", "/p/q/z", "/p/qz", "*"];
const METHODS: [&str; 4] = ["GET", "PUT", "POST", "z"];
/// Header `x` may have any set of these values at once, `y` of the first and last.
const VALUES: [&str; 3] = ["1", "2", "z"];

#[derive(Clone, Copy, Debug)]
struct Asked {
    host: &'static str,
    path: &'static str,
    method: &'static str,
    /// A bit for each value of `x`, then two for `y`.
    headers: usize,
}

impl Asked {
    fn has(&self, header: &Header) -> bool {
        let value_at = |bit: usize| if bit < 3 { ("x", VALUES[bit]) } else { ("y", VALUES[(bit - 3) * 2]) };
        (0..5)
            .filter(|bit| self.headers >> bit & 1 == 1)
            .map(value_at)
            .any(|(name, value)| header.name == name && header.value.as_ref().is_none_or(|wanted| wanted == value))
    }
}

fn all_requests() -> impl Iterator<Item = Asked> {
    (0..HOSTS.len() * PATHS.len() * METHODS.len() * 32).map(|number| Asked {
        headers: number % 32,
        method: METHODS[number / 32 % METHODS.len()],
        path: PATHS[number / 32 / METHODS.len() % PATHS.len()],
        host: HOSTS[number / 32 / METHODS.len() / PATHS.len()],
    })
}

fn host() -> impl Strategy<Value = Host> {
    let exact = prop::sample::select(&HOSTS[..3]).prop_map(|host| Host::Exact(host.to_owned()));
    let suffix = prop::sample::select(&HOSTS[..3]).prop_map(|host| Host::Suffix(format!(".{host}")));
    prop_oneof![Just(Host::Any), exact, suffix]
}

fn path() -> impl Strategy<Value = Path> {
    let exact = prop::sample::select(&PATHS[..5]).prop_map(|path| Path::Exact(path.to_owned()));
    let prefix = prop::sample::select(&PATHS[..5]).prop_map(|path| Path::Prefix(path.to_owned()));
    prop_oneof![1 => exact, 2 => prefix]
}

fn header() -> impl Strategy<Value = Header> {
    let named = |name: &'static str, value: Option<&'static str>| Header {
        name: name.to_owned(),
        value: value.map(str::to_owned),
    };
    let values =
        prop::sample::select(vec![("x", None), ("x", Some("1")), ("x", Some("2")), ("y", None), ("y", Some("1"))]);
    values.prop_map(move |(name, value)| named(name, value))
}

fn rule() -> impl Strategy<Value = Match> {
    let methods = prop_oneof![Just(Vec::new()), prop::sample::subsequence(METHODS[..3].to_vec(), 1..=3)];
    let headers = prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(header(), 1..3)];
    (host(), path(), methods, headers).prop_map(|(host, path, methods, headers)| Match {
        host,
        path,
        methods: methods.into_iter().map(str::to_owned).collect(),
        headers,
    })
}

/// Few places, so that routes collide.
fn rules() -> impl Strategy<Value = Vec<Match>> {
    let crowded = (host(), path(), prop::collection::vec((rule(), prop::bool::weighted(0.8)), 0..9)).prop_map(
        |(host, path, rules)| {
            let moved = |(rule, here): (Match, bool)| {
                if here { Match { host: host.clone(), path: path.clone(), ..rule } } else { rule }
            };
            rules.into_iter().map(moved).collect()
        },
    );
    let by_method_alone = prop::collection::vec((rule(), prop::sample::select(&PATHS[1..3])), 3..9).prop_map(|rules| {
        let moved = |(rule, path): (Match, &str)| {
            let path = Path::Prefix(path.to_owned());
            Match { host: Host::Any, path, headers: Vec::new(), ..rule }
        };
        rules.into_iter().map(moved).collect()
    });
    prop_oneof![prop::collection::vec(rule(), 0..9), crowded, by_method_alone]
}

fn segments(path: &str) -> Vec<&str> {
    path.trim_end_matches('/').split('/').collect()
}

/// Whether the route takes the request, written without a thought for speed.
fn takes(rule: &Match, asked: &Asked) -> bool {
    let by_host = match &rule.host {
        Host::Any => true,
        Host::Exact(host) => host == asked.host,
        Host::Suffix(suffix) => asked.host.ends_with(suffix.as_str()) && asked.host.len() > suffix.len(),
    };
    let by_path = match &rule.path {
        Path::Exact(path) => path == asked.path,
        Path::Prefix(prefix) if prefix == "/" => true,
        Path::Prefix(prefix) => asked.path.split('/').collect::<Vec<_>>().starts_with(&segments(prefix)),
    };
    let by_method = rule.methods.is_empty() || rule.methods.iter().any(|method| method == asked.method);
    by_host && by_path && by_method && rule.headers.iter().all(|header| asked.has(header))
}

/// Lower is more specific.
fn rank(rules: &[Match], index: usize) -> impl Ord + use<> {
    let rule = &rules[index];
    let host = match &rule.host {
        Host::Exact(_) => (0, Reverse(0)),
        Host::Suffix(suffix) => (1, Reverse(suffix.split('.').count())),
        Host::Any => (2, Reverse(0)),
    };
    let path = match &rule.path {
        Path::Exact(_) => (0, Reverse(0)),
        Path::Prefix(prefix) => (1, Reverse(segments(prefix).len())),
    };
    (host, path, rule.methods.is_empty(), Reverse(rule.headers.len()), index)
}

fn reference(rules: &[Match], asked: &Asked) -> Option<usize> {
    (0..rules.len()).filter(|index| takes(&rules[*index], asked)).min_by_key(|index| rank(rules, *index))
}

proptest! {
    #![proptest_config(crate::heavy())]

    #[test]
    fn lookup_is_the_reference(rules in rules()) {
        let table = Table::new(&rules);
        for asked in all_requests() {
            let Asked { host, path, method, headers: _ } = asked;
            let found = table.lookup(Request { host, path, method }, |header| asked.has(header));
            prop_assert_eq!(found, reference(&rules, &asked), "{:?}", asked);
        }
    }

    #[test]
    fn explanations_agree_with_lookups(rules in rules()) {
        let order = by_precedence(&rules.iter().collect::<Vec<_>>());
        for asked in all_requests() {
            let Asked { host, path, method, headers: _ } = asked;
            let request = Request { host, path, method };
            let takes = |rule: &Match| miss(rule, request).is_none() && rule.headers.iter().all(|it| asked.has(it));
            let first = order.iter().copied().find(|index| takes(&rules[*index]));
            prop_assert_eq!(first, reference(&rules, &asked), "{:?}", asked);
        }
    }

    #[test]
    fn no_input_panics(rules in rules(), host in ".{0,20}", path in "[/pqé*]{0,12}", method in ".{0,3}") {
        let request = Request { host: &host, path: &path, method: &method };
        let found = Table::new(&rules).lookup(request, |_header| true);
        prop_assert!(found.is_none_or(|index| index < rules.len()));
    }

    #[test]
    fn shadowed_are_those_that_no_request_reaches(rules in rules()) {
        let mut reached = vec![false; rules.len()];
        // By route, and by the route ahead of it: whether that one takes all its requests, or any.
        let mut all = vec![vec![true; rules.len()]; rules.len()];
        let mut any = vec![vec![false; rules.len()]; rules.len()];
        for asked in all_requests() {
            let mut takers: Vec<usize> = (0..rules.len()).filter(|index| takes(&rules[*index], &asked)).collect();
            takers.sort_by_key(|index| rank(&rules, *index));
            takers.first().into_iter().for_each(|first| reached[*first] = true);
            for (place, taker) in takers.iter().enumerate() {
                for other in 0..rules.len() {
                    let ahead = takers[..place].contains(&other);
                    all[*taker][other] &= ahead;
                    any[*taker][other] |= ahead;
                }
            }
        }
        let found = shadowed(&rules);
        let expected: Vec<usize> = (0..rules.len()).filter(|index| !reached[*index]).collect();
        prop_assert_eq!(found.iter().map(|(hidden, _by)| *hidden).collect::<Vec<_>>(), expected);
        for (hidden, by) in found {
            prop_assert!(any[hidden][by], "{} takes nothing of {}", by, hidden);
            let alone = all[hidden].iter().any(|all| *all);
            prop_assert!(!alone || all[hidden][by], "another takes all of {}, {} does not", hidden, by);
        }
    }
}
