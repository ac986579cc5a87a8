//! Which route a request takes: the most specific one.
//!
//! In this order: an exact host before a longer suffix before a shorter one before any host; then an exact path before a
//! longer prefix before a shorter one; then a route with methods before one without; then more headers before fewer; then
//! the earlier in the configuration. This is one order of all routes, and a request takes the first that matches it: if no
//! route of the most specific host takes it, those of less specific hosts are tried.
//!
//! Trailing slashes of a prefix mean nothing: `/shop/` is `/shop`, and takes `/shop` too.

mod lengths;
mod miss;
mod shadow;

pub use miss::{Miss, by_precedence, miss};
pub use shadow::shadowed;

use lengths::ByLength;

/// Which hosts a route takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// Every host.
    Any,
    /// This one, in lower case, without a port.
    Exact(String),
    /// Every name below this suffix: `.example.com` takes `a.example.com` and `b.a.example.com`, not `example.com`.
    Suffix(String),
}

/// Which paths a route takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// This path alone.
    Exact(String),
    /// This path and all below it, by segments: `/shop` takes `/shop` and `/shop/1`, not `/shopping`. `/` takes all.
    Prefix(String),
}

/// A header that must be there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Its name, in lower case.
    pub name: String,
    /// Its exact value; `None` if any will do.
    pub value: Option<String>,
}

/// What a route takes: all parts must hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Match {
    /// By host.
    pub host: Host,
    /// By path.
    pub path: Path,
    /// By method; empty takes all.
    pub methods: Vec<String>,
    /// By headers; empty takes all.
    pub headers: Vec<Header>,
}

/// A request as routing sees it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The host, in lower case, without a port.
    pub host: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// The method.
    pub method: &'a str,
}

/// A prefix as it is compared: without the slashes at its end, so `/` becomes the empty string.
pub fn trimmed_prefix(prefix: &str) -> &str {
    prefix.trim_end_matches('/')
}

/// The routes of one listener, ready for lookups.
///
/// A lookup hashes the host once for each length that suffixes have, and the path once for each length that prefixes have,
/// so it costs the same for one host as for thousands, and a hostile path cannot make it cost more.
#[derive(Clone, Debug, Default)]
pub struct Table {
    exact: ByLength<Paths>,
    suffixes: ByLength<Paths>,
    any: Paths,
}

/// The routes of one host.
#[derive(Clone, Debug, Default)]
struct Paths {
    exact: ByLength<Vec<Rule>>,
    prefixes: ByLength<Vec<Rule>>,
}

/// What is left to hold once host and path do; the most specific comes first in a list.
#[derive(Clone, Debug)]
struct Rule {
    index: usize,
    methods: Vec<String>,
    headers: Vec<Header>,
}

impl Table {
    /// A table over `matches`; lookups answer indexes into it.
    pub fn new(matches: &[Match]) -> Self {
        let mut order: Vec<usize> = (0..matches.len()).collect();
        // The sort is stable: what is left equal stays in the order of the configuration.
        order.sort_by_key(|index| shadow::rank_of_rule(&matches[*index]));
        let mut table = Self::default();
        for index in order {
            let rule = &matches[index];
            let paths = match &rule.host {
                Host::Any => &mut table.any,
                Host::Exact(host) => table.exact.entry(host),
                Host::Suffix(suffix) => table.suffixes.entry(suffix),
            };
            let rules = match &rule.path {
                Path::Exact(path) => paths.exact.entry(path),
                Path::Prefix(prefix) => paths.prefixes.entry(trimmed_prefix(prefix)),
            };
            rules.push(Rule { index, methods: rule.methods.clone(), headers: rule.headers.clone() });
        }
        table
    }

    /// The most specific route that takes the request. `header` answers whether the request has a header with a name (in
    /// lower case) and, if given, a value; it is only asked for routes that match by headers.
    pub fn lookup(&self, request: Request<'_>, header: impl Fn(&Header) -> bool) -> Option<usize> {
        let host = request.host.as_bytes();
        let taken = |paths: &Paths| paths.lookup(request, &header);
        self.exact
            .get(host)
            .and_then(taken)
            .or_else(|| self.suffixes.suffixes_of(host).find_map(taken))
            .or_else(|| taken(&self.any))
    }
}

impl Paths {
    fn lookup(&self, request: Request<'_>, header: &impl Fn(&Header) -> bool) -> Option<usize> {
        let path = request.path.as_bytes();
        let taken = |rules: &Vec<Rule>| rules.iter().find(|rule| rule.takes(request.method, header)).map(|r| r.index);
        self.exact.get(path).and_then(taken).or_else(|| self.prefixes.prefixes_of(path).find_map(taken))
    }
}

impl Rule {
    fn takes(&self, method: &str, header: &impl Fn(&Header) -> bool) -> bool {
        (self.methods.is_empty() || self.methods.iter().any(|own| own == method)) && self.headers.iter().all(header)
    }
}

#[cfg(test)]
mod tests;
