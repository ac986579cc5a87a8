//! pgbench with numbered transactions: which of them were acknowledged stands in its own log, and which are there in a table.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use postgres::Client;

use super::Lab;
use crate::process::Process;
use crate::tools;

/// Accounts that transactions share.
const ACCOUNTS: u32 = 1_000;
/// One that lost its server begins again with new connections after this time.
const PAUSE: Duration = Duration::from_millis(20);
const LOOK: Duration = Duration::from_millis(20);
/// What the thread is told.
const GOES_ON: u8 = 0;
/// The pgbench that runs is the last one.
const FINISHED: u8 = 1;
/// It is killed.
const DROPPED: u8 = 2;
/// Each writes to an account and notes its own number, in one transaction. A client that loses its connection ends, so that its
/// number is the count of what was acknowledged to it, and one that was not.
const SCRIPT: &str = "\\set n :n + 1\n\\set account random(1, 1000)\nBEGIN;\n\
    UPDATE accounts SET balance = balance + 1 WHERE id = :account;\n\
    INSERT INTO noted (run, client, n) VALUES (:run, :client_id, :n);\nEND;\n";

/// A transaction: which start of pgbench, which of its clients, and the how manieth of that.
pub type Number = (i32, i32, i32);

/// Clients that write all the time. A pgbench whose clients have lost their connections is followed by another one.
#[derive(Debug)]
pub struct Pgbench {
    dir: PathBuf,
    ending: Arc<AtomicU8>,
    thread: Option<JoinHandle<()>>,
}

impl Pgbench {
    /// Starts so many clients in the client's namespace, which all come in at `target` and begin `rate` transactions a second
    /// together. Files go to `dir`, which is to be empty; the
    /// tables have to be there ([`prepare`]).
    ///
    /// # Panics
    /// If `dir` cannot be written to. If pgbench cannot be started, once this is finished.
    pub fn start(lab: &Lab, dir: &Path, target: SocketAddr, clients: u32, rate: u32) -> Self {
        let script = dir.join("script.sql");
        fs::write(&script, SCRIPT).expect("the folder is there");
        let program = tools::find("pgbench", "postgresql");
        let namespace = lab.client();
        let command = lab.command(&namespace, &program);
        let arguments: Vec<String> = command.get_args().map(|it| it.to_string_lossy().into_owned()).collect();
        let (wrapper, folder) = (PathBuf::from(command.get_program()), dir.to_owned());
        let told = Arc::new(AtomicU8::new(GOES_ON));
        let ending = Arc::clone(&told);
        let thread = std::thread::spawn(move || {
            // Whoever else writes to the table with another number of clients has other runs.
            for run in clients * 1_000.. {
                let mut command = std::process::Command::new(&wrapper);
                command.args(&arguments).args(["-n", "-U", "app", "-M", "simple", "-T", "3600", "-j", "2"]);
                command.args(["-c", &clients.to_string(), "-R", &rate.to_string(), "-h", &target.ip().to_string()]);
                command.args(["-p", &target.port().to_string(), "-D", &format!("run={run}"), "-D", "n=0"]);
                command.arg("-f").arg(&script).arg("-l").arg("--log-prefix").arg(folder.join(format!("{run}.log")));
                command.arg("postgres").env("PGPASSWORD", "secret").env("PGCONNECT_TIMEOUT", "10");
                let mut process = Process::start("pgbench", &folder, &mut command, None);
                while process.wait(LOOK).is_none() {
                    if ending.load(Ordering::Relaxed) == DROPPED {
                        return;
                    }
                }
                if ending.load(Ordering::Relaxed) != GOES_ON {
                    return;
                }
                std::thread::sleep(PAUSE);
            }
        });
        Self { dir: dir.to_owned(), ending: told, thread: Some(thread) }
    }

    /// Ends the clients by ending their sessions on the primary, and answers what was acknowledged to them.
    ///
    /// # Panics
    /// If the clients do not end.
    pub fn finish(mut self, mut superuser: impl FnMut() -> Option<Client>) -> BTreeSet<Number> {
        self.ending.store(FINISHED, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is finished once");
        crate::eventually("pgbench ends", Duration::from_secs(60), || {
            if let Some(mut client) = superuser() {
                let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgbench'";
                let _next_time = client.batch_execute(end);
            }
            thread.is_finished()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let files = fs::read_dir(&self.dir).expect("the folder is there").flatten();
        files.flat_map(|file| acknowledged(&file.path())).collect()
    }
}

impl Drop for Pgbench {
    fn drop(&mut self) {
        self.ending.store(DROPPED, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
        if std::thread::panicking() {
            let said = fs::read_to_string(self.dir.join("pgbench.stderr")).unwrap_or_default();
            let last: Vec<&str> = said.lines().rev().take(20).collect();
            eprintln!("pgbench said last, the latest first:\n{}", last.join("\n"));
        }
    }
}

/// What one log says: a line of client, number, duration and more for each transaction that has ended.
fn acknowledged(file: &Path) -> Vec<Number> {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Some(run) = name.split_once(".log.").and_then(|(run, _)| run.parse().ok()) else { return Vec::new() };
    let text = fs::read_to_string(file).expect("a log of pgbench");
    let number = |line: &str| {
        let mut words = line.split(' ');
        Some((run, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    };
    let has_failed = |line: &&str| line.split(' ').nth(2) == Some("failed");
    text.lines().filter(|line| !has_failed(line)).map(|line| number(line).expect("pgbench's format")).collect()
}

/// Makes the tables.
///
/// # Errors
/// If the server refuses.
pub fn prepare(superuser: &mut Client) -> Result<(), postgres::Error> {
    superuser.batch_execute(&format!(
        "CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL);\n\
         INSERT INTO accounts SELECT id, 0 FROM generate_series(1, {ACCOUNTS}) AS id;\n\
         CREATE TABLE noted (run int, client int, n int, PRIMARY KEY (run, client, n));\n\
         GRANT ALL ON accounts, noted TO app"
    ))
}

/// All transactions that are there.
///
/// # Errors
/// If the server cannot be asked.
///
/// # Panics
/// If one is there by half.
pub fn noted(superuser: &mut Client) -> Result<BTreeSet<Number>, postgres::Error> {
    let rows = superuser.query("SELECT run, client, n FROM noted", &[])?;
    let noted: BTreeSet<Number> = rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    let balances: i64 = superuser.query_one("SELECT sum(balance) FROM accounts", &[])?.get(0);
    assert_eq!(usize::try_from(balances).ok(), Some(noted.len()), "each has written twice, or not at all");
    Ok(noted)
}
