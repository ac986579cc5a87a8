//! Data that is being replaced: half a copy, or half rewound.

use std::fs;
use std::path::Path;

use super::files::{Files, Standing};
use super::process::{LONG, run};
use super::server::{FIND, Instance};
use crate::Error;

impl Instance {
    /// From now on the data is good for nothing, until [`Self::mend`].
    pub(super) async fn tear(&mut self, data: &Path) -> Result<(), Error> {
        self.standing.torn = true;
        // The log may have a disk of its own, and the way to it is about to be deleted.
        if let Ok(log) = fs::read_link(data.join("pg_wal")) {
            self.standing.log = Some(data.join(log));
        }
        Files(&self.settings).stand(&self.standing)?;
        Files(&self.settings).folder(data)?;
        // By a program, since it may take long, and what it empties may be where something is mounted.
        let mut paths = vec![data.display().to_string()];
        paths.extend(self.standing.log_folder());
        let paths: Vec<&str> = paths.iter().map(String::as_str).chain(["-mindepth", "1", "-delete"]).collect();
        run(&self.settings, FIND, &paths, LONG).await.map(drop)
    }

    pub(super) fn mend(&mut self) -> Result<(), Error> {
        self.receiver.forget();
        self.standing = Standing { copies: self.standing.copies, ..Standing::default() };
        self.note_copies();
        self.upstream = None;
        Files(&self.settings).stand(&self.standing)
    }
}
