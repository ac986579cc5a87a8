//! Why a release ended as it did, in words for operators.

use std::fmt;

use super::judge::{ALL, Measure, Sample};
use super::{Cause, Stage, Veto, Worse};

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { node, reason } => write!(f, "{node} could not apply it: {reason}"),
            Self::Late { nodes } => write!(f, "not applied in time by {}", nodes.join(", ")),
            Self::Lost { node } => write!(f, "{node}, the canary, is gone"),
            Self::Worse { worse } => worse.fmt(f),
            Self::Unproven => f.write_str("the canary had too little traffic to judge by"),
            Self::TakenOver => f.write_str("the node in charge changed too often"),
            Self::Aborted => f.write_str("aborted by an operator"),
        }
    }
}

impl fmt::Display for Worse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let measured = |sample: &Sample| match self.measure {
            Measure::Errors => format!("{} of {} failed", sample.failures, sample.requests),
            Measure::Median => format!("{:.1} ms", sample.p50.as_secs_f64() * 1e3),
            Measure::Tail => format!("{:.1} ms", sample.p99.as_secs_f64() * 1e3),
        };
        f.write_str(match self.measure {
            Measure::Errors => "more errors",
            Measure::Median => "a higher median latency",
            Measure::Tail => "a higher 99th percentile of the latency",
        })?;
        match self.subject.as_str() {
            ALL => f.write_str(" over all requests")?,
            subject => write!(f, " for `{subject}`")?,
        }
        write!(f, " on the canary: {}", measured(&self.canary))?;
        if let Some(before) = &self.before {
            write!(f, "; before: {}", measured(before))?;
        }
        if let Some(others) = &self.others {
            write!(f, "; on the other nodes: {}", measured(others))?;
        }
        Ok(())
    }
}

impl fmt::Display for Veto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.node, self.reasons.join(" | "))
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self {
            Self::Validating => Ok(()),
            Self::Canary { node } | Self::Baking { node } => write!(f, " on {node}"),
            Self::Spreading { unproven } | Self::Done { unproven } => {
                f.write_str(if *unproven { " (unproven)" } else { "" })
            }
            Self::RollingBack { cause } => write!(f, ": {cause}"),
            Self::Vetoed { vetoes } => {
                write!(f, ": {}", vetoes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
            }
            Self::RolledBack { cause, late } => {
                write!(f, ": {cause}")?;
                if late.is_empty() { Ok(()) } else { write!(f, "; not confirmed by {}", late.join(", ")) }
            }
        }
    }
}
