//! A server that runs as it was told to, and lacks something all the same.

use super::Member;
use crate::Executor;

impl<E: Executor> Member<E> {
    /// Says what is wrong with a server that runs, as long as it is.
    pub(super) fn note_trouble(&mut self) {
        let trouble = self.executor.trouble().map(str::to_owned);
        match trouble {
            Some(trouble) => {
                self.fails(&trouble);
                self.work.is_trouble = true;
            }
            None if std::mem::take(&mut self.work.is_trouble) => {
                self.work.error = None;
                self.tell(None);
            }
            None => {}
        }
    }
}
