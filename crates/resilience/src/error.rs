//! Errors.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// The error of every layer here, as is usual among tower's: that of the service below, or [`Rejected`].
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A layer did not make the call, or gave it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejected {
    /// The call did not end in time.
    Timeout {
        /// How long it was waited for.
        after: Duration,
    },
    /// The circuit breaker is open: the call was not made.
    Open {
        /// When another try makes sense.
        retry_after: Duration,
    },
    /// So many calls are under way, and so many wait already, that this one was not made.
    Full,
    /// The call waited for its turn for too long and was not made.
    QueueTimeout {
        /// How long it waited.
        after: Duration,
    },
    /// There have been too many calls; this one was not made.
    Limited {
        /// When another try makes sense.
        retry_after: Duration,
    },
    /// Those who made the call on behalf of this one have all failed.
    LeadersFailed,
}

impl Rejected {
    /// The rejection that an error is, or that is among its causes.
    pub fn of<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Self> {
        let mut cause: Option<&'e (dyn Error + 'static)> = Some(error);
        // Chains that are longer are circles.
        for _link in 0..32 {
            let error = cause?;
            if let Some(rejected) = error.downcast_ref::<Self>() {
                return Some(rejected);
            }
            cause = error.source();
        }
        None
    }

    /// When another try makes sense, if that is known.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Open { retry_after } | Self::Limited { retry_after } => Some(*retry_after),
            Self::Timeout { .. } | Self::Full | Self::QueueTimeout { .. } | Self::LeadersFailed => None,
        }
    }

    /// A word for logs and metrics, the same as in the gateway's `x-mainstay-error` where it has such a limit.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Timeout { .. } => "timeout",
            Self::Open { .. } => "breaker-open",
            Self::Full => "bulkhead-full",
            Self::QueueTimeout { .. } => "queue-timeout",
            Self::Limited { .. } => "rate-limited",
            Self::LeadersFailed => "leaders-failed",
        }
    }

    /// Whether the call was never made, so that making it again can do nothing twice.
    pub const fn is_unmade(&self) -> bool {
        match self {
            Self::Open { .. } | Self::Full | Self::QueueTimeout { .. } | Self::Limited { .. } => true,
            Self::Timeout { .. } | Self::LeadersFailed => false,
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout { after } => write!(f, "no answer within {after:?}"),
            Self::Open { retry_after } => write!(f, "the circuit breaker is open for {retry_after:?} more"),
            Self::Full => f.write_str("too many calls are under way and wait"),
            Self::QueueTimeout { after } => write!(f, "waited {after:?} for other calls to end"),
            Self::Limited { retry_after } => write!(f, "too many calls; one more fits in {retry_after:?}"),
            Self::LeadersFailed => f.write_str("the calls made on behalf of this one have failed"),
        }
    }
}

impl Error for Rejected {}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(BoxError);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("outer")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&*self.0)
        }
    }

    #[test]
    fn a_rejection_is_found_among_causes() {
        let error: BoxError = Box::new(Outer(Box::new(Outer(Box::new(Rejected::Full)))));
        assert_eq!(Rejected::of(&*error), Some(&Rejected::Full));
        let other: BoxError = "other".into();
        assert_eq!(Rejected::of(&*other), None);
    }

    #[test]
    fn what_was_never_made_is_told_apart() {
        let wait = Duration::from_secs(1);
        assert!(Rejected::Open { retry_after: wait }.is_unmade() && !Rejected::Timeout { after: wait }.is_unmade());
        assert_eq!(Rejected::Limited { retry_after: wait }.retry_after(), Some(wait));
        assert_eq!(Rejected::Full.to_string(), "too many calls are under way and wait");
    }
}
