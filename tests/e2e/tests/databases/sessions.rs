//! Sessions that are in the middle of something.

use std::io::Write;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mainstay_e2e::eventually;
use mainstay_e2e::lab::databases::Databases;
use mainstay_e2e::lab::{enter, writer};
use postgres::{Client, Config, NoTls};

const SOON: Duration = Duration::from_secs(60);
/// Who did what.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS deeds (who text); TRUNCATE deeds; GRANT ALL ON deeds TO app";

/// One that runs on a thread in the client's namespace, and how it ended.
struct Session {
    who: &'static str,
    ended: Receiver<Result<(), postgres::Error>>,
}

pub(crate) struct Sessions {
    namespace: String,
    login: Config,
    middle: Vec<Session>,
    warnings: Arc<Mutex<Vec<String>>>,
}

impl Sessions {
    /// Begins a transaction that does nothing more, a long statement and a long copy.
    ///
    /// # Errors
    /// If the server goes away, as one does whose machine has no time for its lease.
    pub(crate) fn begin(databases: &Databases, node: usize, superuser: &mut Client) -> Result<Self, postgres::Error> {
        superuser.batch_execute(TABLE)?;
        let (namespace, warnings) = (databases.lab().client(), Arc::new(Mutex::new(Vec::new())));
        let mut login = writer::to(&Databases::login(), databases.writes()[node]);
        let noted = Arc::clone(&warnings);
        login.notice_callback(move |notice| {
            noted.lock().expect("nobody panics").push(notice.message().to_owned());
        });
        let mut sessions = Self { namespace, login, middle: Vec::new(), warnings };
        let idle = sessions.start("idle", |client| {
            let mut transaction = client.transaction()?;
            transaction.execute("INSERT INTO deeds VALUES ('idle')", &[])?;
            // Nothing more is said until the connection has gone.
            while transaction.batch_execute("").is_ok() {
                std::thread::sleep(Duration::from_secs(1));
            }
            transaction.commit()
        });
        let statement = sessions.start("statement", |client| {
            let sql = "INSERT INTO deeds SELECT concat('statement', pg_sleep(0.01)) FROM generate_series(1, 100000)";
            client.execute(sql, &[]).map(drop)
        });
        let copy = sessions.start("copy", |client| {
            let mut copy = client.copy_in("COPY deeds FROM STDIN")?;
            loop {
                if copy.write_all(b"copy\n").and_then(|()| copy.flush()).is_err() {
                    return copy.finish().map(drop);
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        sessions.middle = vec![idle, statement, copy];
        let busy = "SELECT count(*) FROM pg_locks WHERE relation = 'deeds'::regclass AND mode = 'RowExclusiveLock'";
        until("three in the middle of something", || {
            Ok((superuser.query_one(busy, &[])?.get::<_, i64>(0) == 3).then_some(()))
        })?;
        Ok(sessions)
    }

    /// While no replica is to be had: one commit waits, the wait of another one is cancelled, and one waits for nobody.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub(crate) fn commit_alone(&mut self, superuser: &mut Client) -> Result<(), postgres::Error> {
        let waits = |superuser: &mut Client, what: &str| {
            let sql = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE $1";
            until("a commit waits", || {
                let row = superuser.query_opt(sql, &[&format!("%'{what}')")])?;
                Ok(row.map(|row| row.get::<_, i32>(0)))
            })
        };
        let waiting = self.start("waiting", |client| client.batch_execute("INSERT INTO deeds VALUES ('waiting')"));
        waits(superuser, "waiting")?;
        let cancelled =
            self.start("cancelled", |client| client.batch_execute("INSERT INTO deeds VALUES ('cancelled')"));
        let pid = waits(superuser, "cancelled")?;
        superuser.execute("SELECT pg_cancel_backend($1)", &[&pid])?;
        // It is told that its command succeeded; that it is on no replica is in a warning alone.
        cancelled.ended.recv_timeout(SOON).expect("an answer")?;
        let warned = |text: &str| self.warnings.lock().expect("nobody panics").iter().any(|it| it.contains(text));
        eventually("a warning", SOON, || warned("canceling wait for synchronous replication due to user request"));
        let local = self.start("local", |client| {
            client.batch_execute("SET synchronous_commit = local; INSERT INTO deeds VALUES ('local')")
        });
        local.ended.recv_timeout(SOON).expect("it waits for nobody")?;
        assert_eq!(who(superuser)?, ["cancelled", "local"], "what waits is there for nobody yet");
        self.middle.push(waiting);
        Ok(())
    }

    /// After another one has taken over: nothing of all that is there, and nobody was told otherwise.
    pub(crate) fn end(self, mut superuser: impl FnMut() -> Option<Client>) {
        for session in &self.middle {
            let ended = session.ended.recv_timeout(SOON).expect("its connection has gone");
            assert!(ended.is_err(), "{} was told that all is well", session.who);
        }
        let mut there = None;
        eventually("the table", SOON, || {
            there = superuser().and_then(|mut it| who(&mut it).ok());
            there.is_some()
        });
        assert_eq!(there, Some(Vec::new()), "what no replica had is lost, and was promised to nobody");
    }

    fn start(
        &self,
        who: &'static str,
        work: impl FnOnce(&mut Client) -> Result<(), postgres::Error> + Send + 'static,
    ) -> Session {
        let (end, ended) = channel();
        let (namespace, login) = (self.namespace.clone(), self.login.clone());
        std::thread::spawn(move || {
            enter(&namespace);
            let done = login.connect(NoTls).and_then(|mut client| work(&mut client));
            // Nobody may wait for it any more.
            let _heard = end.send(done);
        });
        Session { who, ended }
    }
}

/// Asks until there is something.
fn until<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>, postgres::Error>) -> Result<T, postgres::Error> {
    let end = Instant::now() + SOON;
    loop {
        match ask()? {
            Some(found) => return Ok(found),
            None => assert!(Instant::now() < end, "{what}: not within {SOON:?}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn who(client: &mut Client) -> Result<Vec<String>, postgres::Error> {
    Ok(client.query("SELECT DISTINCT who FROM deeds ORDER BY who", &[])?.iter().map(|row| row.get(0)).collect())
}
