//! Port rules that an earlier process of the node has left and nobody would renew or remove any more: those of a group that was
//! renamed, given another port or taken out while the node did not run.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use super::port;

/// Removes what stands in `file` and belongs to none of these servers, and writes down theirs. Other nodes on the same machine
/// have a file of their own.
///
/// # Errors
/// If the file cannot be written: nothing was removed then.
pub fn tidy(file: &Path, servers: &[(String, SocketAddr)]) -> io::Result<()> {
    let wanted: Vec<String> = servers.iter().map(|(group, address)| port::table(group, address.port())).collect();
    let text = fs::read_to_string(file).unwrap_or_default();
    let is_ours = |line: &&str| {
        line.starts_with(port::PREFIX) && line.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let known: Vec<&str> = text.lines().filter(is_ours).collect();
    let gone = known.iter().filter(|table| !wanted.iter().any(|it| it == *table));
    // What cannot be removed is tried again at the next start.
    let stays: Vec<&str> = gone.copied().filter(|table| !is_removed(table)).collect();
    let lines: String = wanted.iter().map(String::as_str).chain(stays).map(|table| format!("{table}\n")).collect();
    if lines == text {
        return Ok(());
    }
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, lines)
}

fn is_removed(table: &str) -> bool {
    match port::remove_table(table) {
        Ok(()) => {
            tracing::info!(table, "databases: a port rule of a group that is not configured any more was removed");
            true
        }
        Err(problem) => {
            tracing::warn!(table, problem, "databases: a port rule of a group that is not configured any more stays");
            false
        }
    }
}
