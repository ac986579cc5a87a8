//! A shared cache by the rules of HTTP (RFC 9111, RFC 5861): what may be looked up, what may be stored, for how long it is
//! fresh, when it may be served although it is not, and which of several stored responses a request selects.
//!
//! Nothing here stores anything. Heads come as pairs of names and values; ages are counted by the monotonic clock from the
//! moment at which a response arrived, and the wall clock is only asked for when `Date` and `Expires` are read.

mod condition;
mod control;
mod freshness;
mod storing;
mod vary;

pub use condition::{Validators, is_not_modified};
pub use control::{RequestControl, ResponseControl};
pub use freshness::{Freshness, Use};
pub use storing::{Arrival, Asked, Credentials, Policy, Refusal, Sharing, judge, keeps, renewed};
pub use vary::{Vary, selecting};
