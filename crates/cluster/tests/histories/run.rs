//! One run: a cluster, its clients, what goes wrong, and the verdict.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use mainstay_cluster::coordinator::{Consistency, Range};
use mainstay_core::random::Rng;
use mainstay_runtime::thread::run_here;
use tokio::time::{Instant, sleep};

use crate::clients::{Around, read_all, work};
use crate::record::{End, Record};
use crate::roles::{self, Terms, campaign};
use crate::site::{NODES, SOON, Site};
use crate::watches::{self, AllTold, follow};

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    /// What is built.
    Sound,
    /// Reads are answered by the asked node's own replica.
    StaleReads,
    /// A change without an answer is said not to have been made.
    UnknownCalledUndone,
    /// Renewals are answered and change nothing.
    RenewalIgnored,
    /// A watch leaves something out.
    WatchSkips,
}

/// What happened in runs, to tell a quiet run from a good one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) runs: u64,
    pub(crate) requests: u64,
    pub(crate) acknowledged: u64,
    pub(crate) unknown: u64,
    pub(crate) faults: u64,
    pub(crate) watched: u64,
    pub(crate) held: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.requests += other.requests;
        self.acknowledged += other.acknowledged;
        self.unknown += other.unknown;
        self.faults += other.faults;
        self.watched += other.watched;
        self.held += other.held;
    }
}

/// Clients of registers, and candidates for the role.
const CLIENTS: u64 = 5;
const CANDIDATES: u64 = 3;

/// Runs a site and judges what it said.
///
/// # Errors
/// What no sound store would have said.
pub(crate) fn run<S: Site + 'static>(
    seed: u64,
    variant: Variant,
    start: impl AsyncFnOnce() -> S,
) -> Result<Counts, String> {
    run_here(async move {
        let site: Rc<dyn Site> = Rc::new(start().await);
        let around = Around { site, record: Rc::default(), over: Rc::new(Cell::new(false)), variant };
        let verdict = history(&around, seed).await;
        around.site.stop().await;
        verdict
    })
    .map_err(|error| error.to_string())?
}

async fn history(around: &Around, seed: u64) -> Result<Counts, String> {
    let from = serving(&*around.site).await? + 1;
    let seeded = |part: u64| Rng::seeded(seed.wrapping_mul(1000) + part);
    let terms = Terms::default();
    let told: AllTold = Rc::new((0..NODES).map(|_| RefCell::default()).collect());
    let last = Rc::new(RefCell::new(None));
    let mut clients: Vec<Pin<Box<dyn Future<Output = ()>>>> = Vec::new();
    for number in 0..CLIENTS {
        clients.push(Box::pin(work(around.clone(), number, seeded(number))));
    }
    for number in 100..100 + CANDIDATES {
        clients.push(Box::pin(campaign(around.clone(), number, seeded(number), Rc::clone(&terms))));
    }
    let watchers =
        join_all((0..NODES).map(|number| follow(around.clone(), number, told.clone(), from, Rc::clone(&last))));
    let course = async {
        let trouble = async {
            let faults = around.site.torment(seeded(999)).await;
            around.over.set(true);
            faults
        };
        let (_all_done, faults) = join(join_all(clients), trouble).await;
        let verdict = read_all(around).await;
        *last.borrow_mut() = Some(settled(&*around.site).await?);
        verdict.map(|()| faults)
    };
    let (watched, faults) = join(watchers, course).await;
    let faults = faults?;
    watched.into_iter().collect::<Result<Vec<()>, String>>()?;
    around.record.check()?;
    roles::check(&terms.borrow())?;
    let watched = watches::check(&told, from, &around.record)?;
    Ok(count(&around.record, faults, watched, terms.borrow().len() as u64))
}

fn count(record: &Record, faults: u64, watched: u64, held: u64) -> Counts {
    let requests = record.requests.borrow();
    let of = |end: fn(&End) -> bool| requests.iter().filter(|request| end(&request.end)).count() as u64;
    Counts {
        runs: 1,
        requests: requests.len() as u64,
        acknowledged: of(|end| matches!(end, End::Done { .. })),
        unknown: of(|end| matches!(end, End::Unknown)),
        faults,
        watched,
        held,
    }
}

/// Waits until the site serves for the first time, and answers the revision that it has then.
async fn serving(site: &dyn Site) -> Result<u64, String> {
    let end = Instant::now() + SOON;
    loop {
        if let Some((store, _deaths)) = site.client(0)
            && let Ok(listing) = store.range(Range::key("up"), None, 1, Consistency::Linearizable).await
        {
            return Ok(listing.revision);
        }
        if Instant::now() > end {
            return Err("nobody serves".to_owned());
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// The revision at which nothing happens any more: all leases have ended, which may take a while.
async fn settled(site: &dyn Site) -> Result<u64, String> {
    let end = Instant::now() + SOON;
    let mut before = None;
    loop {
        if let Some((store, _deaths)) = site.client(0)
            && let Ok(listing) = store.range(Range::prefix("roles/"), None, 1, Consistency::Linearizable).await
        {
            if listing.entries.is_empty() && before == Some(listing.revision) {
                return Ok(listing.revision);
            }
            before = Some(listing.revision);
        }
        if Instant::now() > end {
            return Err("the last lease never ends".to_owned());
        }
        sleep(Duration::from_millis(100)).await;
    }
}
