//! The seam between the member's driver and the engine of its database.

use std::future::Future;
use std::path::PathBuf;

use mainstay_core::database::agent::{Action, Local, Stop};

use crate::Error;

/// What a member threw away to follow another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discarded {
    /// Whom it follows instead.
    pub of: String,
    /// Bytes of its log that the other one has not; `None`: it cannot be told.
    pub bytes: Option<u64>,
    /// Transactions that were committed in them; `None`: they were not counted, or the engine has none.
    pub commits: Option<u64>,
    /// From the first of these to the last, in milliseconds.
    pub span_ms: Option<u64>,
    /// Keys that the other one has not; `None`: they were not counted, or the engine has none.
    pub keys: Option<u64>,
    /// Where it is kept.
    pub kept: PathBuf,
}

/// A local server that is kept in the role that was decided.
pub trait Executor {
    /// What there is now. `said` is the term that the member said last that it conforms to.
    ///
    /// # Errors
    /// If it cannot be found out.
    fn observe(&mut self, said: u64) -> impl Future<Output = Result<Local, Error>>;

    /// Does one thing, to its end. It may be dropped anywhere: what was decided anew meanwhile, a stop above all, follows at once
    /// and has to find a state that [`Self::observe`] tells truly.
    ///
    /// # Errors
    /// What went wrong; it is looked at anew then, and decided anew.
    fn carry_out(&mut self, action: &Action) -> impl Future<Output = Result<(), Error>>;

    /// Stops the server. When this is over no process of it runs.
    fn stop(&mut self, stop: Stop) -> impl Future<Output = ()>;

    /// The server's process, for whoever has to end it when this one cannot; `None` while none runs.
    fn process(&mut self) -> Option<u32>;

    /// What is wrong with the server although it runs as it was told to; `None`: nothing that is known.
    fn trouble(&self) -> Option<&str> {
        None
    }

    /// What was thrown away last, once, for the ledger.
    fn discarded(&mut self) -> Option<Discarded> {
        None
    }

    /// How many rows that were written to probe it, and acknowledged, the last time that it led are not in what it follows now;
    /// `None`: it was not probed, or that cannot be told.
    fn missing_rows(&mut self) -> impl Future<Output = Option<u64>> {
        std::future::ready(None)
    }
}
