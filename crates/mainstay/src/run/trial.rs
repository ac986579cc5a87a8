//! Whether a program could take over: asked of the program itself, before it is started in earnest.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use crate::run::successor::Refusal;
use crate::run::{handover, notify};

/// For each question.
const LIMIT: Duration = Duration::from_secs(15);
/// Lines of an answer that are passed on.
const LINES: usize = 30;

/// The program's version.
pub(super) async fn version(program: &Path) -> Result<String, Refusal> {
    let shown = program.display();
    let hint = "name another program with --binary, or install it where the node was started from";
    let output = ask(program, &["--version".as_ref()]).await.map_err(|refusal| refusal.hint(hint))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.trim().strip_prefix("mainstay ") {
        Some(version) if output.status.success() => Ok(version.to_owned()),
        _other if output.status.success() => {
            Err(Refusal::new(format!("{shown} is not mainstay: it says it is `{}`", first_line(&text))).hint(hint))
        }
        _failed => Err(Refusal::new(format!("{shown} --version failed ({})", output.status))
            .log(lines(&output.stderr))
            .hint(hint)),
    }
}

/// Whether the program accepts the configuration.
pub(super) async fn accepts(program: &Path, version: &str, file: &Path) -> Result<(), Refusal> {
    let output = ask(program, &["check".as_ref(), "-c".as_ref(), file.as_os_str()]).await?;
    if output.status.success() {
        return Ok(());
    }
    let mut log = lines(&output.stdout);
    log.extend(lines(&output.stderr));
    let file = file.display();
    let error = format!("version {version} does not accept {file} ({})", output.status);
    Err(Refusal::new(error).log(log).hint(format!("`{} check -c {file}` says why", program.display())))
}

async fn ask(program: &Path, arguments: &[&std::ffi::OsStr]) -> Result<Output, Refusal> {
    let first = arguments.first().map(|argument| argument.to_string_lossy()).unwrap_or_default();
    let shown = format!("{} {first}", program.display());
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    // Both are for the node itself.
    command.env_remove(handover::VARIABLE).env_remove(notify::VARIABLE);
    match tokio::time::timeout(LIMIT, command.output()).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) => Err(Refusal::new(format!("cannot run {shown}: {error}"))),
        Err(_elapsed) => Err(Refusal::new(format!("{shown} did not end within {} s", LIMIT.as_secs()))),
    }
}

fn first_line(text: &str) -> &str {
    text.trim().lines().next().unwrap_or_default()
}

fn lines(output: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(output).lines().take(LINES).map(str::to_owned).collect()
}
