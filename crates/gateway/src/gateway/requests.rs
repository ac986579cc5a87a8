//! What the workers remember of recent requests.

use tokio::sync::oneshot;

use super::{EXPLAIN_LIMIT, Gateway};
use crate::explain::{ExplainError, Explanation, Search};
use crate::worker::Command;

impl Gateway {
    /// What is remembered of the requests with this id, the newest first.
    ///
    /// # Errors
    /// If nothing is: records are turned off, the request is too old or still under way, or a worker is stuck.
    pub async fn explain(&self, id: &str) -> Result<Vec<Explanation>, ExplainError> {
        let records = self.current().spec.node.explain;
        let (found, silent) = self.ask(|answer| Command::Explain { id: id.to_owned(), answer }).await?;
        match (found.is_empty(), silent) {
            (false, _) => Ok(found),
            (true, true) => Err(ExplainError::Silent),
            (true, false) => Err(ExplainError::Unknown(records)),
        }
    }

    /// The requests among those that are remembered that are wanted, the newest first.
    ///
    /// # Errors
    /// If records are turned off, or a worker is stuck.
    pub async fn search(&self, wanted: &Search) -> Result<Vec<Explanation>, ExplainError> {
        let ask = |answer| Command::Search { wanted: Box::new(wanted.clone()), answer };
        let (mut found, silent) = self.ask(ask).await?;
        found.truncate(wanted.limit);
        if silent { Err(ExplainError::Silent) } else { Ok(found) }
    }

    /// Asks every worker; answers what they say, the newest first, and whether one was silent.
    async fn ask(
        &self,
        command: impl Fn(oneshot::Sender<Vec<Explanation>>) -> Command,
    ) -> Result<(Vec<Explanation>, bool), ExplainError> {
        if self.current().spec.node.explain == 0 {
            return Err(ExplainError::Off);
        }
        let mut answers = Vec::with_capacity(self.workers.len());
        for worker in &self.workers {
            let (answer, told) = oneshot::channel();
            let _stopped = worker.commands.send(command(answer));
            answers.push(told);
        }
        let (mut found, mut silent) = (Vec::new(), false);
        let limit = tokio::time::Instant::now() + EXPLAIN_LIMIT;
        for told in answers {
            match tokio::time::timeout_at(limit, told).await {
                Ok(Ok(explanations)) => found.extend(explanations),
                Ok(Err(_)) | Err(_) => silent = true,
            }
        }
        found.sort_by_key(|it| std::cmp::Reverse(it.began));
        Ok((found, silent))
    }
}
