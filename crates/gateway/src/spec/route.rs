//! Which requests go where, and how.

use std::time::Duration;

use mainstay_core::{breaker, budget, hedge, retry, route, sampling};

use super::service::WhenEmpty;
use super::{Admission, Cache, Cells, Fallback, Quarantine, Tenant};

/// Which requests go where, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Unique name.
    pub name: String,
    /// The listeners that it serves, by name.
    pub listeners: Vec<String>,
    /// Which requests.
    pub matches: route::Match,
    /// The service's name.
    pub service: String,
    /// From the complete request head to the end of the response, all attempts together.
    pub timeout: Duration,
    /// From the choice of an endpoint to its response head; `None` if only `timeout` bounds it.
    pub attempt_timeout: Option<Duration>,
    /// A tunnel (WebSocket) on which nothing moves for this long is closed.
    pub tunnel_timeout: Duration,
    /// When to try again.
    pub retry: retry::Policy,
    /// How many retries and hedges the route may cause; `None` takes its service's policy.
    pub retry_budget: Option<budget::Policy>,
    /// Replaces the matched path prefix.
    pub rewrite_prefix: Option<String>,
    /// Changes to request headers.
    pub request_headers: HeaderOps,
    /// Changes to response headers.
    pub response_headers: HeaderOps,
    /// What happens when no endpoint is eligible, if that is not what the service says.
    pub when_empty: Option<WhenEmpty>,
    /// Copies for another service.
    pub mirror: Option<Mirror>,
    /// What is answered in place of an error.
    pub fallback: Option<Fallback>,
    /// How requests name their tenants, if not as the service says.
    pub tenant: Option<Tenant>,
    /// When another endpoint is asked beside a slow one; `None` turns it off.
    pub hedge: Option<hedge::Policy>,
    /// When its requests are answered at once instead of being sent on; `None` turns it off.
    pub breaker: Option<breaker::Policy>,
    /// Which requests are let in, and when.
    pub admission: Admission,
    /// The cells that it leads to, by account; `service` is that of the first one.
    pub cells: Option<Cells>,
    /// Requests that reset connections are kept from further endpoints; `None` turns that off.
    pub quarantine: Option<Quarantine>,
    /// Responses are stored and served again.
    pub cache: Option<Cache>,
    /// Which of its requests leave a line, if that is not what holds for all.
    pub events: Option<sampling::Policy>,
}

impl Route {
    /// A route for every request of every listener named later, with the defaults of everything else.
    pub fn new(name: &str, service: &str) -> Self {
        Self {
            name: name.to_owned(),
            listeners: Vec::new(),
            matches: route::Match {
                host: route::Host::Any,
                path: route::Path::Prefix("/".to_owned()),
                methods: Vec::new(),
                headers: Vec::new(),
            },
            service: service.to_owned(),
            timeout: Duration::from_secs(30),
            attempt_timeout: None,
            tunnel_timeout: Duration::from_secs(3_600),
            retry: retry::Policy::default(),
            retry_budget: None,
            rewrite_prefix: None,
            request_headers: HeaderOps::default(),
            response_headers: HeaderOps::default(),
            when_empty: None,
            mirror: None,
            fallback: None,
            tenant: None,
            hedge: None,
            breaker: None,
            admission: Admission::default(),
            quarantine: None,
            cells: None,
            cache: None,
            events: None,
        }
    }
}

/// A share of the requests goes to another service as well, whose answers are thrown away.
#[derive(Clone, Debug, PartialEq)]
pub struct Mirror {
    /// The service's name.
    pub service: String,
    /// The share, 0 to 1.
    pub share: f64,
    /// A copy is given up after this long.
    pub timeout: Duration,
    /// Copies under way at once, over all workers; further ones are dropped.
    pub max_in_flight: u32,
}

/// Changes to headers: removals first, then settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderOps {
    /// Names to remove, in lower case.
    pub remove: Vec<String>,
    /// Headers to set, in place of any with the name.
    pub set: Vec<(String, String)>,
}
