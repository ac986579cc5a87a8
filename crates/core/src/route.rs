//! Which route a request takes: the most specific one. (behaviour to be written)

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

/// The routes of one listener, ready for lookups.
#[derive(Clone, Debug, Default)]
pub struct Table {}

impl Table {
    /// A table over `matches`; lookups answer indexes into it.
    pub fn new(_matches: &[Match]) -> Self {
        Self {}
    }

    /// The most specific route that takes the request. `header` answers whether the request has a header with a name (in
    /// lower case) and, if given, a value; it is only asked for routes that match by headers.
    pub fn lookup(&self, _request: Request<'_>, _header: impl Fn(&Header) -> bool) -> Option<usize> {
        None
    }
}

/// Routes that can never be taken, each with the earlier or more specific one that takes all its requests.
pub fn shadowed(_matches: &[Match]) -> Vec<(usize, usize)> {
    Vec::new()
}
