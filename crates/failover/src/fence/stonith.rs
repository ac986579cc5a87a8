//! The last rung: a command of the operator's that makes certain that a node is off, by its power supply, its hypervisor or its
//! switch. It is run by the node that plans, when an old primary is not known to have stopped.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// Stands for the node's name in a command.
pub const NODE: &str = "{node}";
/// Stands for the term in a command.
pub const TERM: &str = "{term}";
/// Bytes of what the command says that are told, at most.
const SAID_MAX: u64 = 2_000;
/// A command that has ended may have left somebody who holds its output; that one is not waited for longer.
const REST_WITHIN: Duration = Duration::from_millis(200);

/// The operator's command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The program and its arguments, in which [`NODE`] and [`TERM`] are replaced. If neither stands in them, both follow as two
    /// further arguments.
    pub command: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
}

impl Hook {
    /// Makes certain that `node`, which led with `term`, does nothing any more: the command ended with success within its time.
    /// What it said is logged. If this is dropped, the command is killed.
    ///
    /// # Errors
    /// Why that is not certain.
    pub async fn fence(&self, node: &str, term: u64) -> Result<(), String> {
        let arguments = self.filled_in(node, term);
        let (program, rest) = arguments.split_first().ok_or("the command is empty")?;
        let mut command = Command::new(program);
        command.args(rest).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // In a group of its own, so that everything that it started can be ended with it.
        let mut child = command
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("`{program}` cannot be started: {error}"))?;
        let group = Group(child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)));
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let ended = {
            let read = async {
                tokio::join!(gather(out, &mut output), gather(err, &mut errors));
            };
            tokio::pin!(read);
            let wait = async {
                tokio::select! {
                    status = child.wait() => {
                        let _rest = tokio::time::timeout(REST_WITHIN, &mut read).await;
                        status
                    }
                    // Nothing more can be said, which is not its end yet.
                    () = &mut read => child.wait().await,
                }
            };
            tokio::time::timeout(self.timeout, wait).await
        };
        drop(group);
        let said = [output, errors].concat();
        let said = String::from_utf8_lossy(&said).trim().replace('\n', "; ");
        judged(program, node, ended.ok(), &said, self.timeout)
    }

    fn filled_in(&self, node: &str, term: u64) -> Vec<String> {
        let term = term.to_string();
        let named = self.command.iter().any(|word| word.contains(NODE) || word.contains(TERM));
        let filled = self.command.iter().map(|word| word.replace(NODE, node).replace(TERM, &term));
        let further = if named { Vec::new() } else { vec![node.to_owned(), term.clone()] };
        filled.chain(further).collect()
    }
}

fn judged(
    program: &str,
    node: &str,
    ended: Option<io::Result<std::process::ExitStatus>>,
    said: &str,
    limit: Duration,
) -> Result<(), String> {
    match ended {
        Some(Ok(status)) if status.success() => {
            tracing::warn!(
                node,
                program,
                said,
                "database: the old primary's node was fenced by the operator's command"
            );
            Ok(())
        }
        Some(Ok(status)) => Err(format!("`{program}` says that {node} is not fenced ({status}): {said}")),
        Some(Err(error)) => Err(format!("`{program}` cannot be waited for: {error}")),
        None => Err(format!("`{program}` did not end within {limit:?}: {said}")),
    }
}

/// Reads to the end and keeps the beginning.
async fn gather(from: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    // What cannot be read is not told.
    let _some = (&mut from).take(SAID_MAX).read_to_end(into).await;
    let _rest = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
}

/// Ends what is left of a process group when this is dropped. Its leader was not waited for by anybody else, so that the number
/// is not another group's as long as one of it runs.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            let _nobody_left = kill_process_group(leader, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(script: &str, timeout: Duration) -> Hook {
        Hook { command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(), timeout }
    }

    #[test]
    fn arguments_are_filled_in_or_follow() {
        let hook = |command: &[&str]| Hook {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            timeout: Duration::ZERO,
        };
        assert_eq!(hook(&["off", "--host={node}", "{term}"]).filled_in("db1", 7), ["off", "--host=db1", "7"]);
        assert_eq!(hook(&["off", "-x"]).filled_in("db1", 7), ["off", "-x", "db1", "7"]);
    }

    #[tokio::test]
    async fn only_a_command_that_succeeds_in_time_has_fenced() {
        let long = Duration::from_secs(60);
        assert_eq!(hook("test {node} = db1 && test {term} = 7", long).fence("db1", 7).await, Ok(()));
        let refused = hook("echo no power strip >&2; exit 3", long).fence("db1", 7).await.unwrap_err();
        assert!(refused.contains("no power strip") && refused.contains("not fenced"), "{refused}");
        let nothing = Hook { command: vec!["/nowhere/at all".to_owned()], timeout: long }.fence("db1", 7).await;
        assert!(nothing.unwrap_err().contains("cannot be started"));
        assert!(Hook { command: Vec::new(), timeout: long }.fence("db1", 7).await.is_err());
        let late = hook("sleep 600", Duration::from_millis(200)).fence("db1", 7).await.unwrap_err();
        assert!(late.contains("did not end"), "{late}");
    }

    #[tokio::test]
    async fn a_command_that_says_much_or_leaves_somebody_behind_is_not_waited_for() {
        let long = Duration::from_secs(60);
        assert_eq!(hook("head -c 1000000 /dev/zero", long).fence("db1", 7).await, Ok(()));
        // The one that is left holds the output open.
        assert_eq!(hook("sleep 600 & exit 0", long).fence("db1", 7).await, Ok(()));
    }
}
