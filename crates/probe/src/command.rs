//! Checks by a program: its exit code is the verdict, its output the reason.

use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use mainstay_runtime::user::User;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command as Process};

use crate::template::{Form, Template};
use crate::{Failed, Passed, Place};

/// Bytes of output that are kept of each stream; what follows is read and dropped, so that the program is not held up.
const OUTPUT_MAX: usize = 4 * 1024;
/// Letters of output that a reason repeats.
const SHOWN_MAX: usize = 200;
/// How long output is waited for once the program has ended: something that it left behind may hold the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Where programs are looked for if the process has no `PATH`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program and what its exit codes mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments. No shell reads them; `{host}` and `{port}` stand for the endpoint's. A program without a slash is looked for in `PATH`.
    pub argv: Vec<String>,
    /// Exit codes that mean degraded. 0 passes and every other one fails.
    pub degraded: Vec<u8>,
    /// Who runs it, without any further group; `None` for the user of this process.
    pub user: Option<User>,
}

impl Command {
    /// The same, with the endpoint's place in its arguments.
    pub(crate) fn at(&self, place: &Place) -> Self {
        let values = match place {
            Place::Tcp(address) => vec![("host", address.ip().to_string()), ("port", address.port().to_string())],
            Place::Unix(path) => vec![("host", path.display().to_string())],
        };
        let values: Vec<(String, String)> = values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let argument = |text: &String| Template::parse(text).fill(&values, Form::Plain);
        Self { argv: self.argv.iter().map(argument).collect(), ..self.clone() }
    }
}

/// Kills what is left of the program's process group. What the program started and did not put into a group of its own goes
/// with it.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // Nobody may be left, which is what is wanted. The number is not another group's: while the program has not been
            // waited for it is taken, and right after that the system has not come round to it again.
            let _nobody_left = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Runs the program with `environment` and nothing else but `PATH`. Answers within `timeout` and a little.
pub(crate) async fn run(
    command: &Command,
    environment: &[(String, String)],
    timeout: Duration,
    started: Instant,
) -> Result<Passed, Failed> {
    let mut child = start(command, environment)?;
    // Declared after the child, so that the group is killed while the child holds its number.
    let group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let (mut out, mut err) = (Kept::default(), Kept::default());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let reading = async { tokio::join!(out.fill(stdout), err.fill(stderr)) };
    let ended = {
        tokio::pin!(reading);
        let mut is_read = false;
        let waiting = async {
            let status = loop {
                tokio::select! {
                    status = child.wait() => break status,
                    _both = &mut reading, if !is_read => is_read = true,
                }
            };
            drop(group);
            if !is_read {
                let _cut = tokio::time::timeout(LAST_WORDS, &mut reading).await;
            }
            status
        };
        tokio::time::timeout(timeout, waiting).await
    };
    let output = first_line(&out.0).or_else(|| first_line(&err.0));
    match ended {
        Ok(Ok(status)) => judge(command, status, output, started),
        Ok(Err(error)) => Err(Failed::Command(format!("cannot wait for `{}`: {error}", command.argv[0]))),
        Err(_elapsed) => Err(Failed::Command(with(format!("killed after {timeout:?}"), output))),
    }
}

fn start(command: &Command, environment: &[(String, String)]) -> Result<Child, Failed> {
    let (program, arguments) = command.argv.split_first().ok_or(Failed::Malformed("there is no program"))?;
    let mut process = Process::new(program);
    process.args(arguments).env_clear().current_dir("/").process_group(0).kill_on_drop(true);
    process.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| PATH.into())).env("LC_ALL", "C.UTF-8");
    process.envs(environment.iter().map(|(name, value)| (name, value)));
    process.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(user) = command.user {
        process.uid(user.uid).gid(user.gid);
    }
    process.spawn().map_err(|error| Failed::Command(format!("cannot start `{program}`: {error}")))
}

fn judge(command: &Command, status: ExitStatus, output: Option<String>, started: Instant) -> Result<Passed, Failed> {
    let latency = started.elapsed();
    match status.code() {
        Some(0) => Ok(Passed { latency, degraded: None }),
        Some(code) if u8::try_from(code).is_ok_and(|code| command.degraded.contains(&code)) => {
            Ok(Passed { latency, degraded: Some(with(format!("exit code {code}"), output)) })
        }
        Some(code) => Err(Failed::Command(with(format!("exit code {code}"), output))),
        // On Unix, no code means a signal, whose name `Display` knows.
        None => Err(Failed::Command(with(status.to_string(), output))),
    }
}

fn with(what: String, output: Option<String>) -> String {
    match output {
        Some(output) => format!("{what}: {output}"),
        None => what,
    }
}

/// The beginning of a stream.
#[derive(Default)]
struct Kept(Vec<u8>);

impl Kept {
    async fn fill(&mut self, stream: Option<impl AsyncRead + Unpin>) {
        let Some(mut stream) = stream else { return };
        let mut buffer = [0; 1024];
        // A stream that cannot be read any more is at its end for us.
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            let room = OUTPUT_MAX.saturating_sub(self.0.len());
            self.0.extend_from_slice(&buffer[..read.min(room)]);
        }
    }
}

/// The first line that is not empty: plug-ins of Nagios say there what is the matter.
fn first_line(output: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    let clean = |letter: char| if letter.is_control() { '\u{fffd}' } else { letter };
    let shown: String = line.chars().take(SHOWN_MAX).map(clean).collect();
    Some(if line.chars().count() > SHOWN_MAX { format!("{shown}...") } else { shown })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_for(script: &str, timeout: Duration) -> Result<Option<String>, String> {
        let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
        let command = Command { argv, degraded: vec![1, 7], user: None };
        let environment = [("MAINSTAY_HOST".to_owned(), "127.0.0.9".to_owned())];
        mainstay_runtime::thread::run_here(async move {
            let result = run(&command, &environment, timeout, Instant::now()).await;
            result.map(|passed| passed.degraded).map_err(|failed| failed.to_string())
        })
        .expect("a runtime")
    }

    fn says(script: &str) -> Result<Option<String>, String> {
        run_for(script, Duration::from_secs(20))
    }

    #[test]
    fn the_exit_code_decides_and_the_output_says_why() {
        for (script, expected) in [
            ("exit 0", Ok(None)),
            ("echo all is well", Ok(None)),
            ("echo; echo '  WARNING - lag 31s | lag=31'; exit 1", Ok(Some("exit code 1: WARNING - lag 31s | lag=31"))),
            ("exit 7", Ok(Some("exit code 7"))),
            ("echo no primary >&2; exit 2", Err("exit code 2: no primary")),
            ("echo out; echo err >&2; exit 3", Err("exit code 3: out")),
            ("exit 255", Err("exit code 255")),
            ("kill -9 $$", Err("signal: 9 (SIGKILL)")),
            ("printf '\\033[31mred\\n'; exit 2", Err("exit code 2: \u{fffd}[31mred")),
        ] {
            let expected = expected.map(|it| it.map(str::to_owned)).map_err(str::to_owned);
            assert_eq!(says(script), expected, "{script}");
        }
    }

    #[test]
    fn it_knows_where_the_endpoint_is_and_nothing_of_ours() {
        assert_eq!(says("test \"$MAINSTAY_HOST\" = 127.0.0.9"), Ok(None));
        let inherited = says("env | grep -c CARGO; exit 2");
        assert_eq!(inherited, Err("exit code 2: 0".to_owned()), "the environment of this process stays here");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let command = Command { argv: vec!["/nowhere/check".to_owned()], degraded: Vec::new(), user: None };
        let result = mainstay_runtime::thread::run_here(async move {
            run(&command, &[], Duration::from_secs(5), Instant::now()).await.map_err(|failed| failed.to_string())
        });
        let reason = "cannot start `/nowhere/check`: No such file or directory (os error 2)";
        assert_eq!(result.expect("a runtime"), Err(reason.to_owned()));
    }

    #[test]
    fn output_without_end_is_cut() {
        let reason = says("head -c 1000000 /dev/zero | tr '\\0' x; exit 2").expect_err("it fails");
        assert_eq!(reason, format!("exit code 2: {}...", "x".repeat(SHOWN_MAX)));
    }

    #[test]
    fn at_its_time_limit_the_whole_group_is_killed() {
        let dir = tempfile::tempdir().expect("a directory");
        let mark = dir.path().join("alive");
        let script = format!("(sleep 1; touch {}) & echo waiting; sleep 30", mark.display());
        let began = Instant::now();
        let result = run_for(&script, Duration::from_millis(300));
        assert_eq!(result, Err("killed after 300ms: waiting".to_owned()));
        assert!(began.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(1500));
        assert!(!mark.exists(), "what it started went with it");
    }

    #[test]
    fn what_it_leaves_behind_neither_holds_it_up_nor_lives_on() {
        let dir = tempfile::tempdir().expect("a directory");
        let mark = dir.path().join("alive");
        let script = format!("(sleep 2; touch {}) & echo done; exit 0", mark.display());
        let began = Instant::now();
        assert_eq!(says(&script), Ok(None));
        assert!(began.elapsed() < Duration::from_millis(1900), "{:?}", began.elapsed());
        std::thread::sleep(Duration::from_millis(2500));
        assert!(!mark.exists(), "what it started went with it");
    }
}
