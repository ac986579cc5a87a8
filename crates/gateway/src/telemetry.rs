//! What a request tells of itself beyond its answer: the trace that it carries ([`context`]), whether it leaves a line
//! ([`choice`]), and what must not stand in one ([`redact`]).

pub(crate) mod choice;
pub(crate) mod context;
pub(crate) mod redact;

/// Who else gets the lines that requests leave.
pub trait Events: Send + Sync + std::fmt::Debug {
    /// Whether lines are wanted now.
    fn is_on(&self) -> bool;

    /// Takes some lines, each a JSON object and a line feed. Called on the thread that writes the access log; must not wait.
    fn lines(&self, lines: &[u8]);
}
