//! Whether the canary's clients fare worse, by what they saw before and by what the other nodes' clients see meanwhile.
//!
//! Both are asked, and the canary is worse only if it is worse than each that can be had: what fails on all nodes at once is
//! not the new version's doing, and neither is what has always been bad on this node. If neither can be had (a new route, the
//! first node), any failures beyond the margin count.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Traffic;

/// The name of the subject that stands for all requests together.
pub const ALL: &str = "";

/// When things count as worse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Fewer requests say nothing.
    pub requests_min: u64,
    /// Fewer failures say nothing.
    pub failures_min: u64,
    /// The share of failures may be so many times that of the reference,
    pub errors_factor: f64,
    /// and so much more, 0 to 1.
    pub errors_margin: f64,
    /// The difference must also be so many standard deviations from chance.
    pub deviations: f64,
    /// A duration may be so many times that of the reference,
    pub slower: f64,
    /// and so much more.
    pub slower_by: Duration,
    /// Fewer requests say nothing about their 99th percentile.
    pub tail_requests_min: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            requests_min: 30,
            failures_min: 5,
            errors_factor: 1.5,
            errors_margin: 0.01,
            deviations: 3.0,
            slower: 2.0,
            slower_by: Duration::from_millis(25),
            tail_requests_min: 500,
        }
    }
}

/// Requests of some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// How many came to an end.
    pub requests: u64,
    /// Those among them that failed.
    pub failures: u64,
    /// Half of them took no longer.
    pub p50: Duration,
    /// 99 % of them took no longer.
    pub p99: Duration,
}

/// Requests of one kind, such as those of one route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Which kind; [`ALL`] for all together.
    pub name: String,
    /// What became of them.
    pub sample: Sample,
}

/// How the canary's clients fare worse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worse {
    /// Which requests; [`ALL`] for all together.
    pub subject: String,
    /// What is worse.
    pub measure: Measure,
    /// What the canary's clients saw.
    pub canary: Sample,
    /// What they saw before, if that is enough to compare with.
    pub before: Option<Sample>,
    /// What the other nodes' clients saw meanwhile, if that is enough.
    pub others: Option<Sample>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// The share of requests that fail.
    Errors,
    /// The median duration.
    Median,
    /// The 99th percentile of the durations.
    Tail,
}

/// What can be said of the canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    TooLittle,
    /// It does no harm that can be seen.
    Well,
    /// It does harm.
    Worse(Worse),
}

/// Compares the canary with itself before and with the others. Durations are left out while `durations` is false.
pub fn judge(policy: &Policy, canary: &Traffic, others: &[Traffic], durations: bool) -> Verdict {
    for Subject { name, sample } in &canary.since {
        let before = find(&canary.before, name).filter(|before| before.requests >= policy.requests_min);
        let others = together(others, name).filter(|others| others.requests >= policy.requests_min);
        if let Some(measure) = worse(policy, sample, &before, &others, durations) {
            return Verdict::Worse(Worse { subject: name.clone(), measure, canary: *sample, before, others });
        }
    }
    match find(&canary.since, ALL) {
        Some(all) if all.requests >= policy.requests_min => Verdict::Well,
        Some(_) | None => Verdict::TooLittle,
    }
}

fn worse(
    policy: &Policy,
    canary: &Sample,
    before: &Option<Sample>,
    others: &Option<Sample>,
    durations: bool,
) -> Option<Measure> {
    if canary.requests < policy.requests_min {
        return None;
    }
    let references: Vec<&Sample> = before.iter().chain(others).collect();
    if references.iter().all(|reference| more_errors(policy, canary, reference))
        && more_errors(policy, canary, &Sample::default())
    {
        return Some(Measure::Errors);
    }
    if !durations {
        return None;
    }
    let slower = |of: fn(&Sample) -> Duration, least: u64| {
        let has_enough = |sample: &Sample| sample.requests >= least;
        let mut comparable = references.iter().filter(|reference| has_enough(reference)).peekable();
        let is_slower = |reference: &&Sample| of(canary) > of(reference).mul_f64(policy.slower) + policy.slower_by;
        has_enough(canary) && comparable.peek().is_some() && comparable.all(is_slower)
    };
    if slower(|sample| sample.p50, policy.requests_min) {
        return Some(Measure::Median);
    }
    slower(|sample| sample.p99, policy.tail_requests_min).then_some(Measure::Tail)
}

/// Whether more of the canary's requests fail than the reference and chance explain; a reference without requests stands for
/// one without failures.
fn more_errors(policy: &Policy, canary: &Sample, reference: &Sample) -> bool {
    let share = |sample: &Sample| sample.failures.min(sample.requests) as f64 / sample.requests.max(1) as f64;
    let (own, other) = (share(canary), share(reference));
    if canary.failures < policy.failures_min || own <= other * policy.errors_factor + policy.errors_margin {
        return false;
    }
    if reference.requests == 0 {
        return true;
    }
    // The two-proportion z-test with the pooled share.
    let (n, m) = (canary.requests as f64, reference.requests as f64);
    let pooled = (own * n + other * m) / (n + m);
    own - other > policy.deviations * (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)).sqrt()
}

fn find(subjects: &[Subject], name: &str) -> Option<Sample> {
    subjects.iter().find(|subject| subject.name == name).map(|subject| subject.sample)
}

/// The others' requests of one kind: counts added, durations those of the slowest node, so that one slow node among them
/// does not make the canary look bad.
fn together(others: &[Traffic], name: &str) -> Option<Sample> {
    let add = |sum: Sample, next: Sample| Sample {
        requests: sum.requests.saturating_add(next.requests),
        failures: sum.failures.saturating_add(next.failures),
        p50: sum.p50.max(next.p50),
        p99: sum.p99.max(next.p99),
    };
    others.iter().filter_map(|other| find(&other.since, name)).reduce(add)
}
