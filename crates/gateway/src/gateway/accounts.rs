//! Accounts that an operator moves from one cell to another.

use std::time::Duration;

use mainstay_core::cell::{MoveError, NAME_BYTES_MAX};

use super::Gateway;

/// Why an account could not be moved. Nothing has changed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AccountError {
    /// The configuration has no cells.
    #[error("there are no cells")]
    NoCells,
    /// No such cell; the known ones are named.
    #[error("no cell `{0}`; there are: {1}")]
    NoCell(String, String),
    /// The cell has as many accounts as it takes.
    #[error("cell `{0}` is full")]
    Full(String),
    /// The configuration says where the account belongs.
    #[error("account `{0}` is pinned by the configuration")]
    Pinned(String),
    /// There is nothing to do.
    #[error("account `{0}` is in cell `{1}` already, or on its way there")]
    There(String, String),
    /// The name cannot be one.
    #[error("an account's name has 1 to {NAME_BYTES_MAX} bytes and no control characters")]
    BadName,
}

impl Gateway {
    /// Begins to move an account: its new requests wait outside until those that are under way are over, or `limit` is. Answers
    /// whether it is there already.
    ///
    /// # Errors
    /// What stands in the way.
    pub fn move_account(&self, account: &str, cell: &str, limit: Duration) -> Result<bool, AccountError> {
        let state = self.state();
        let cells = state.cells.as_ref().ok_or(AccountError::NoCells)?;
        cells.transfer(self.clock.now(), account, cell, limit).map_err(|why| match why {
            MoveError::NoCell => {
                let known: Vec<String> = cells.counts().into_iter().map(|known| known.name).collect();
                AccountError::NoCell(cell.to_owned(), known.join(", "))
            }
            MoveError::Full => AccountError::Full(cell.to_owned()),
            MoveError::Pinned => AccountError::Pinned(account.to_owned()),
            MoveError::There => AccountError::There(account.to_owned(), cell.to_owned()),
            MoveError::BadName => AccountError::BadName,
        })
    }
}
