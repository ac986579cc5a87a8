//! Data that went its own way is taken back to where the new primary's history leaves it.

use std::path::PathBuf;

use mainstay_core::database::Regime;
use mainstay_core::database::agent::Stop;

use super::files::Files;
use super::process::{LONG, attempt, failed, run};
use super::server::{FIND, Instance};
use super::{control, lost};
use crate::{Discarded, Error, Executor, folder};

/// Copies of what rewinds would have lost, at most; the oldest goes.
const KEPT_MAX: usize = 2;
/// What pg_rewind says before it writes for the first time, if it is asked for its progress.
const REWIND_WRITES: &str = "need to copy";

impl Instance {
    /// Keeps what would be lost: everything in the log that the control file does not tell of as common.
    async fn keep(&self) -> Result<PathBuf, Error> {
        let kept = Files(&self.settings).kept();
        Files(&self.settings).folder(&kept)?;
        let control = control::read(&self.settings).await?;
        let target = kept.join(format!("{:08X}-{:016X}", control.timeline, control.position));
        let wal = self.settings.data_dir.join("pg_wal/").display().to_string();
        Files(&self.settings).folder(&target)?;
        let path = target.display().to_string();
        let copy = [&wal, "-maxdepth", "1", "-type", "f", "-exec", "cp", "-p", "-t", &path, "{}", "+"];
        run(&self.settings, FIND, &copy, LONG).await?;
        folder::keep_newest(&kept, KEPT_MAX).map_err(Error::system(format!("cannot tidy {}", kept.display())))?;
        Ok(target)
    }

    pub(super) async fn rewind(&mut self, of: &str) -> Result<(), Error> {
        self.stop(Stop::Fast).await;
        let kept = self.keep().await?;
        let source = format!("{} dbname=postgres", Files(&self.settings).way_to(of)?);
        let (data, config) =
            (self.settings.data_dir.display().to_string(), Files(&self.settings).config().display().to_string());
        // A server that crashed is recovered by the program itself, which must not come up as anybody's replica then.
        Files(&self.settings).set_standby(false)?;
        Files(&self.settings).member(None, &Regime::default())?;
        self.standing.torn = true;
        Files(&self.settings).stand(&self.standing)?;
        let config = format!("--config-file={config}");
        let arguments = ["-D", &data, "--source-server", &source, "--progress", &config];
        let said = attempt(&self.settings, "pg_rewind", &arguments, LONG).await?;
        self.note_lost(of, kept, &[&said.errors, &said.output]).await;
        if !said.succeeded() {
            if !said.errors.contains(REWIND_WRITES) && !said.output.contains(REWIND_WRITES) {
                // It failed before it wrote anything, so that the data is what it was.
                self.standing.torn = false;
                Files(&self.settings).stand(&self.standing)?;
            }
            return Err(failed("pg_rewind", &said));
        }
        Files(&self.settings).set_standby(true)?;
        self.mend()
    }

    /// How much of what was kept the other one has not, by where `pg_rewind` said that the histories part.
    async fn note_lost(&mut self, of: &str, kept: PathBuf, said: &[&String]) {
        let parting = said.iter().find_map(|said| lost::parting(said));
        let lost = match parting {
            Some(parting) => lost::read(&self.settings, &kept, parting).await,
            None => lost::Lost::default(),
        };
        let lost::Lost { bytes, commits, span_ms } = lost;
        self.discarded = Some(Discarded { of: of.to_owned(), bytes, commits, span_ms, keys: None, kept });
    }
}
