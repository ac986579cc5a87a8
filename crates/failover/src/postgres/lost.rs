//! What a rewind throws away: the end of the server's own log, which was kept before, from where the new primary's history
//! leaves it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use mainstay_core::database::Lsn;
use mainstay_core::timestamp;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use super::Settings;
use super::control::lsn;
use super::process::command;

/// A log that takes longer to read is not told of: the server is wanted back.
const WITHIN: Duration = Duration::from_secs(20);
/// Bytes of what the program says of the end of the log, at most.
const SAID_MAX: u64 = 16 << 10;

/// What there was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// Bytes of the log.
    pub(super) bytes: Option<u64>,
    /// Transactions that were committed in them.
    pub(super) commits: Option<u64>,
    /// From the first of these to the last, in milliseconds.
    pub(super) span_ms: Option<u64>,
}

/// Where the histories part, by what `pg_rewind` says: the position, and the timeline.
pub(super) fn parting(said: &str) -> Option<(Lsn, u32)> {
    let rest = said.split_once("servers diverged at WAL location ")?.1;
    let (at, rest) = rest.split_once(" on timeline ")?;
    let end = rest.find(|it: char| !it.is_ascii_digit()).unwrap_or(rest.len());
    Some((lsn(at)?, rest.get(..end)?.parse().ok()?))
}

/// Reads the kept log from there on.
pub(super) async fn read(settings: &Settings, kept: &Path, (from, timeline): (Lsn, u32)) -> Lost {
    let read = tokio::time::timeout(WITHIN, dump(settings, kept, from, timeline));
    match read.await {
        Ok(Ok((tally, said))) => tally.lost(from, &said),
        Ok(Err(error)) => {
            tracing::warn!(%error, "database: how much is thrown away cannot be read");
            Lost::default()
        }
        Err(_elapsed) => {
            tracing::warn!("database: how much is thrown away takes too long to read");
            Lost::default()
        }
    }
}

async fn dump(settings: &Settings, kept: &Path, from: Lsn, timeline: u32) -> std::io::Result<(Tally, String)> {
    let mut command = command(settings, "pg_waldump");
    command.env("TZ", "UTC").arg("-p").arg(kept).arg("-t").arg(timeline.to_string());
    command.arg("-s").arg(format!("{:X}/{:X}", from >> 32, from & 0xFFFF_FFFF));
    let mut child = command.kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let tally = async {
        let mut tally = Tally::default();
        let Some(output) = output else { return Ok(tally) };
        let mut lines = BufReader::new(output).lines();
        while let Some(line) = lines.next_line().await? {
            tally.take(&line);
        }
        Ok::<_, std::io::Error>(tally)
    };
    let said = async {
        let mut said = Vec::new();
        if let Some(errors) = errors {
            errors.take(SAID_MAX).read_to_end(&mut said).await?;
        }
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&said).into_owned())
    };
    let (tally, said) = tokio::try_join!(tally, said)?;
    child.wait().await?;
    Ok((tally, said))
}

/// What the records come to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    /// The end of the last record, as far as it can be told from the record.
    end: Option<Lsn>,
    commits: u64,
    first: Option<u64>,
    last: Option<u64>,
}

impl Tally {
    fn take(&mut self, line: &str) {
        let field = |name: &str, end: char| Some(line.split_once(name)?.1.split_once(end)?.0.trim());
        // The rest of a line that a record's own text has broken.
        let Some(at) = field("lsn: ", ',').and_then(lsn) else { return };
        let length = field("len (rec/tot):", ',').and_then(|both| both.split_once('/')?.1.trim().parse::<u64>().ok());
        self.end = Some(at + length.unwrap_or(0).next_multiple_of(8));
        let Some((_, text)) = line.split_once("desc: COMMIT") else { return };
        self.commits += 1;
        // `2026-11-22 11:05:30.646064 UTC`, after the number of what was prepared before, if it was.
        let time = text.find("20").and_then(|begin| text.get(begin..begin + 23));
        let time = time.and_then(|time| timestamp::parse(&format!("{time}Z")));
        self.first = self.first.or(time);
        self.last = time.or(self.last);
    }

    /// The log ends where the program finds no record any more, which is what it says.
    fn lost(&self, from: Lsn, said: &str) -> Lost {
        let ended = said.split_once("error in WAL record at").and_then(|(_, why)| {
            let (_, at) = why.rsplit_once(" at ")?;
            lsn(at.split([':', ' ', '\n', ',']).next()?)
        });
        let end = match (self.end, ended) {
            (Some(end), ended) => Some(ended.unwrap_or(end).max(end)),
            (None, _) => said.contains("could not find a valid record after").then_some(from),
        };
        let is_known = end.is_some();
        Lost {
            bytes: end.map(|end| end.saturating_sub(from)),
            commits: is_known.then_some(self.commits),
            span_ms: self.first.zip(self.last).map(|(first, last)| last.saturating_sub(first)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_histories_part() {
        let said = "pg_rewind: connected to server\npg_rewind: servers diverged at WAL location 16/B374D848 on timeline 3\n\
                    pg_rewind: no rewind required\n";
        assert_eq!(parting(said), Some((0x16_B374_D848, 3)));
        assert_eq!((parting(""), parting("servers diverged at WAL location x on timeline 1")), (None, None));
    }

    #[test]
    fn records_are_counted_up_to_the_end_of_the_log() {
        let lines = [
            "rmgr: XLOG        len (rec/tot):     49/   869, tx:          0, lsn: 0/03000028, prev 0/02000100, desc: FPI_FOR_HINT , blkref #0: rel 1663/5/1259 blk 0 FPW",
            "rmgr: Transaction len (rec/tot):     34/    34, tx:        725, lsn: 0/030020A0, prev 0/03002060, desc: COMMIT 2026-11-22 11:05:30.646064 UTC",
            "rmgr: Transaction len (rec/tot):     34/    34, tx:        726, lsn: 0/03002108, prev 0/030020C8, desc: ABORT 2026-11-22 11:05:30.977850 UTC",
            "rmgr: Transaction len (rec/tot):     34/    34, tx:        727, lsn: 0/03002170, prev 0/03002130, desc: COMMIT_PREPARED 727: 2026-11-22 11:05:31.302084 UTC",
        ];
        let mut tally = Tally::default();
        lines.iter().for_each(|line| tally.take(line));
        let said = "pg_waldump: error: error in WAL record at 0/3002170: invalid record length at 0/3002198: wanted 24, got 0\n";
        let lost = Lost { bytes: Some(0x2198), commits: Some(2), span_ms: Some(656) };
        assert_eq!(tally.lost(0x300_0000, said), lost);
        // Where it does not say where it ends, the last record does.
        let said = "pg_waldump: error: could not find file \"000000010000000000000004\": No such file or directory\n";
        assert_eq!(tally.lost(0x300_0000, said), lost);
        // Nothing at all after it is nothing; that nothing can be read is not.
        let nothing = Tally::default();
        let said = "pg_waldump: error: could not find a valid record after 0/3000000\n";
        assert_eq!(nothing.lost(0x300_0000, said), Lost { bytes: Some(0), commits: Some(0), span_ms: None });
        assert_eq!(nothing.lost(0x300_0000, "pg_waldump: error: could not open file\n"), Lost::default());
    }
}
