//! `mainstay demo --databases`: three nodes on this machine, each with a PostgreSQL and a Redis, and clients that write all the
//! time while a machine dies, a server is killed and a primary is changed by plan. At the end what was acknowledged is counted.

mod clients;
mod place;
mod report;
mod resp;
mod stage;

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use mainstay_core::database::Engine;
use mainstay_runtime::signal::Signals;
use mainstay_runtime::thread::run_here;
use mainstay_runtime::user;
use tokio::time::sleep;
use tokio_postgres::Config;

use crate::admin::databases::document::{DatabaseStatus, FailoverStatus};
use crate::config::database::installed;
use crate::failure::Failure;
use clients::Tally;
use place::Group;
use report::{Change, Report};
use stage::Stage;

/// Of the replication role, and of Redis' clients. The servers listen on loopback and are gone with the demo.
const PASSWORD: &str = "only-for-the-demo";
/// How long it takes until both groups are whole, at most.
const WHOLE_MAX: Duration = Duration::from_secs(90);
/// The same of a change of primary.
const CHANGE_MAX: Duration = Duration::from_secs(60);
/// Clients write undisturbed for so long before each fault.
const CALM: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(50);

/// Runs it. Exits with 1 if an acknowledged row of PostgreSQL is gone.
///
/// # Errors
/// If something is not installed, or does not come up.
pub(super) fn run(json: bool) -> Result<ExitCode, Failure> {
    let users = users()?;
    let report = run_here(course(users, json)).map_err(|error| Failure::from_error(&error))??;
    report.print(json)?;
    Ok(if report.rows.lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Who the servers run as, once it is clear that they can: PostgreSQL refuses to run as root.
fn users() -> Result<[Option<&'static str>; 2], Failure> {
    let missing = [(Engine::Postgres, "postgresql"), (Engine::Redis, "redis-server")]
        .into_iter()
        .filter_map(|(engine, package)| Some((installed(engine).err()?, package)))
        .collect::<Vec<_>>();
    if !missing.is_empty() {
        let what: Vec<&str> = missing.iter().map(|(why, _)| why.split(':').next().unwrap_or(why)).collect();
        let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
        let failure = Failure::new(format!("this demo needs PostgreSQL and Redis: {}", what.join(", ")));
        return Err(failure.hint(format!("on Debian: apt-get install {}", packages.join(" "))));
    }
    if !user::is_root() {
        return Ok([None, None]);
    }
    let named = |name: &'static str| match user::find(name) {
        Ok(Some(_user)) => Ok(Some(name)),
        Ok(None) | Err(_) => Err(Failure::new(format!("this machine has no user `{name}` to run a server as"))
            .hint("run the demo as another user than root, or install the server's package, which makes one")),
    };
    Ok([named("postgres")?, named("redis")?])
}

async fn course(users: [Option<&'static str>; 2], json: bool) -> Result<Report, Failure> {
    let mut signals = Signals::catch().map_err(|error| Failure::from_error(&error))?;
    let begun = Instant::now();
    let play = async {
        let told = Told { begun, json };
        told.say("three nodes start, each with a PostgreSQL and a Redis");
        let mut stage = Stage::start(users).await?;
        let played = play(&mut stage, &told).await;
        let played = played.map_err(|failure| stage.keep(failure));
        stage.end().await;
        played
    };
    tokio::select! {
        played = play => played.map(|report| Report { seconds: begun.elapsed().as_secs_f64(), ..report }),
        signal = signals.next() => Err(Failure::new(format!("ended by {}", signal.name()))),
    }
}

/// Tells how it goes.
struct Told {
    begun: Instant,
    json: bool,
}

impl Told {
    fn say(&self, what: &str) {
        if !self.json {
            let mut out = std::io::stdout().lock();
            let line = format!("{:5.1} s  {what}\n", self.begun.elapsed().as_secs_f64());
            // Whoever reads has read enough.
            let _closed = out.write_all(line.as_bytes()).and_then(|()| out.flush());
        }
    }
}

async fn play(stage: &mut Stage, told: &Told) -> Result<Report, Failure> {
    for group in Group::ALL {
        whole(stage, group).await?;
    }
    let login = let_clients_in(stage).await?;
    told.say("both groups have a primary and two replicas; clients begin to write");
    let (rows, keys) = (Tally::default(), Tally::default());
    let [orders, cache] = stage.ports.writes;
    let changes = tokio::select! {
        changes = faults(stage, told, [&rows, &keys]) => changes?,
        () = clients::write_rows(&orders, &login, &rows) => Vec::new(),
        () = clients::write_keys(&cache, PASSWORD, &keys) => Vec::new(),
    };
    told.say("clients have ended; what was acknowledged is counted");
    let (port, acknowledged) = (primary_port(stage, Group::Orders).await?, rows.numbers());
    let found = clients::rows(port, &login).await?;
    let lost = acknowledged.difference(&found).count();
    let rows = report::Kept { acknowledged: acknowledged.len(), found: acknowledged.len() - lost, lost };
    let (port, acknowledged) = (primary_port(stage, Group::Cache).await?, keys.numbers());
    let found = clients::keys(port, PASSWORD, &acknowledged).await?;
    let keys = report::Kept { acknowledged: acknowledged.len(), found, lost: acknowledged.len() - found };
    let (all, bad) = stage.seconds().await?;
    Ok(Report { rows, keys, changes, objective: report::Seconds { all, bad }, seconds: 0.0 })
}

/// One after the other, each until everything is whole again.
async fn faults(stage: &mut Stage, told: &Told, tallies: [&Tally; 2]) -> Result<Vec<Change>, Failure> {
    let mut changes = Vec::new();
    sleep(CALM).await;
    let status = whole(stage, Group::Orders).await?;
    let victim = node_of(&status)?;
    told.say(&format!("kill -9 of {} and its PostgreSQL, as if the machine had lost power", place::NAMES[victim]));
    let began = Instant::now();
    stage.kill_node(victim);
    let status = changed(stage, Group::Orders, status.term, tallies[0]).await?;
    told.say(&format!("{} takes writes; {} is started again", primary(&status), place::NAMES[victim]));
    stage.start_node(victim)?;
    changes.push(measured(stage, Group::Orders, "the primary's machine dies", began, tallies[0]).await?);
    whole(stage, Group::Cache).await?;

    sleep(CALM).await;
    let status = whole(stage, Group::Cache).await?;
    let port = stage.ports.servers[Group::Cache as usize][node_of(&status)?];
    let process = clients::redis_process(port, PASSWORD).await;
    let process = process.ok_or_else(|| Failure::new("the primary of cache does not say which process it is"))?;
    told.say(&format!("kill -9 of the Redis server of {}", primary(&status)));
    let began = Instant::now();
    stage::kill(process);
    let status = changed(stage, Group::Cache, status.term, tallies[1]).await?;
    told.say(&format!("{} takes writes", primary(&status)));
    changes.push(measured(stage, Group::Cache, "the primary's Redis is killed", began, tallies[1]).await?);

    sleep(CALM).await;
    let status = whole(stage, Group::Orders).await?;
    told.say(&format!("mainstay database switchover orders: {} is to hand over", primary(&status)));
    let began = Instant::now();
    stage.switch_over(Group::Orders).await?;
    let status = changed(stage, Group::Orders, status.term, tallies[0]).await?;
    told.say(&format!("{} takes writes", primary(&status)));
    changes.push(measured(stage, Group::Orders, "a planned switchover", began, tallies[0]).await?);
    Ok(changes)
}

/// Looks at a group until it is as wanted.
async fn until(
    stage: &mut Stage,
    group: Group,
    (what, limit): (&str, Duration),
    is_so: impl Fn(&DatabaseStatus) -> bool,
) -> Result<DatabaseStatus, Failure> {
    let deadline = Instant::now() + limit;
    let mut last = "no node says anything of it".to_owned();
    loop {
        if let Some(status) = stage.status(group).await {
            if is_so(&status) {
                return Ok(status);
            }
            last = format!("{}{}", status.verdict, status.next.map(|next| format!("; {next}")).unwrap_or_default());
        }
        if Instant::now() > deadline {
            return Err(Failure::new(format!("{what} of {} takes too long: {last}", group.name())));
        }
        sleep(LOOK).await;
    }
}

/// A primary takes writes, and two replicas follow.
async fn whole(stage: &mut Stage, group: Group) -> Result<DatabaseStatus, Failure> {
    until(stage, group, ("the set-up", WHOLE_MAX), |status| status.state == "good").await
}

/// There is another primary, and a client has written to it.
async fn changed(stage: &mut Stage, group: Group, term: u64, tally: &Tally) -> Result<DatabaseStatus, Failure> {
    let is_changed = |status: &DatabaseStatus| {
        status.phase == "serving" && status.failovers.first().is_some_and(|last| last.term > term)
    };
    let status = until(stage, group, ("another primary", CHANGE_MAX), is_changed).await?;
    let (since, deadline) = (Instant::now(), Instant::now() + CHANGE_MAX);
    while tally.since(since) == 0 {
        if Instant::now() > deadline {
            return Err(Failure::new(format!("nobody can write to {} after its primary has changed", group.name())));
        }
        sleep(LOOK).await;
    }
    Ok(status)
}

/// The old primary has come back, and what it had is known.
async fn measured(
    stage: &mut Stage,
    group: Group,
    what: &str,
    began: Instant,
    tally: &Tally,
) -> Result<Change, Failure> {
    let last = |status: &DatabaseStatus| status.failovers.first().cloned();
    let is_back = |status: &DatabaseStatus| {
        status.state == "good" && last(status).is_some_and(|last| last.loss.measured && last.routed_by.is_some())
    };
    let status = until(stage, group, ("the old primary's return", WHOLE_MAX), is_back).await?;
    let failover: FailoverStatus = last(&status).ok_or_else(|| Failure::new("the failover is not remembered"))?;
    let without_writes = tally.gap(began).as_secs_f64();
    Ok(Change {
        what: what.to_owned(),
        database: group.name().to_owned(),
        server: group.server().to_owned(),
        without_writes,
        failover,
    })
}

fn primary(status: &DatabaseStatus) -> &str {
    status.primary.as_deref().unwrap_or("nobody")
}

fn node_of(status: &DatabaseStatus) -> Result<usize, Failure> {
    let known = stage::every_node().find(|node| place::NAMES.get(*node) == Some(&primary(status)));
    known.ok_or_else(|| Failure::new(format!("{} has no primary", status.name)))
}

async fn primary_port(stage: &mut Stage, group: Group) -> Result<u16, Failure> {
    let status = whole(stage, group).await?;
    Ok(stage.ports.servers[group as usize][node_of(&status)?])
}

/// Clients of PostgreSQL have a role of their own: the superuser only comes in over the local socket.
async fn let_clients_in(stage: &mut Stage) -> Result<(String, String), Failure> {
    let status = whole(stage, Group::Orders).await?;
    let node = node_of(&status)?;
    let state = stage.place(node).map(|place| place.state_dir(Group::Orders)).unwrap_or_default();
    let mut config = Config::new();
    config.host_path(state).port(stage.ports.servers[Group::Orders as usize][node]).user("postgres").dbname("postgres");
    let sql = format!(
        "CREATE ROLE demo LOGIN PASSWORD '{PASSWORD}'; CREATE TABLE demo_rows (n bigint PRIMARY KEY); \
         ALTER TABLE demo_rows OWNER TO demo"
    );
    let made = clients::with_postgres(&config, async |client| client.batch_execute(&sql).await).await;
    made.and_then(|made| made).map_err(|error| Failure::from_error(&error))?;
    Ok(("demo".to_owned(), PASSWORD.to_owned()))
}
