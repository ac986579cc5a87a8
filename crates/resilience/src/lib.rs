#![doc = include_str!("../README.md")]

pub mod breaker;
pub mod budget;
pub mod bulkhead;
mod clock;
pub mod coalesce;
mod counts;
mod error;
pub mod fallback;
pub mod hedge;
#[cfg(feature = "http")]
pub mod http;
mod judge;
pub mod limit;
pub mod retry;
#[cfg(feature = "serde")]
pub mod settings;
pub mod timeout;

pub use breaker::BreakerLayer;
pub use budget::Budget;
pub use bulkhead::BulkheadLayer;
pub use coalesce::CoalesceLayer;
pub use counts::Counts;
pub use error::{BoxError, Rejected};
pub use fallback::FallbackLayer;
pub use hedge::HedgeLayer;
pub use judge::{Clones, Errors, Judge, Repeat, Verdict};
pub use limit::RateLimitLayer;
pub use retry::RetryLayer;
pub use timeout::TimeoutLayer;

pub use mainstay_core::backoff;
