//! A node's process: its drivers on a thread, which can be frozen and ended.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use mainstay_cluster::coordinator::Coordinator;
use mainstay_cluster::memory::Link;
use mainstay_cluster::session::{Session, Settings};
use mainstay_cluster::timings::Timings;
use mainstay_core::database::Policy;
use mainstay_failover::group::board::{Board, Engine};
use mainstay_failover::group::failsafe::Failsafe;
use mainstay_failover::group::handover::Handed;
use mainstay_failover::group::member::{self, Departure, Seat};
use mainstay_failover::group::planning;
use mainstay_failover::group::view::{self, Feeds, Group};
use mainstay_runtime::clock::Boottime;
use mainstay_runtime::journal::Journal;
use tokio::sync::watch;

use crate::fake::{Fake, Ward};
use crate::site::GROUP;
use crate::world::NAMES;

/// What a thread does beside its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Run,
    Freeze,
    Die,
    Leave,
    /// Another process takes over.
    HandOver,
}

pub(crate) type Orders = Arc<(Mutex<Order>, Condvar)>;

/// Freezes the thread, or ends it.
pub(crate) async fn obey(orders: &Orders, leave: &watch::Sender<Option<Departure>>) {
    loop {
        {
            let mut order = orders.0.lock().expect("nobody panics with it");
            while *order == Order::Freeze {
                order = orders.1.wait(order).expect("nobody panics with it");
            }
            match *order {
                Order::Die => return,
                Order::Leave => {
                    leave.send_replace(Some(Departure::Leave));
                }
                Order::HandOver => {
                    leave.send_replace(Some(Departure::HandOver));
                }
                Order::Run | Order::Freeze => {}
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What a process leaves at its end.
pub(crate) type Work = Pin<Box<dyn Future<Output = Option<Handed>>>>;

/// A node's drivers.
pub(crate) fn live(
    at: usize,
    link: Arc<Link>,
    policy: Policy,
    timings: Timings,
    board: Board,
    (failsafe, handed): (Option<Failsafe>, Option<Handed>),
) -> impl FnOnce(Fake, watch::Receiver<Option<Departure>>) -> Work + Send {
    move |fake, leave| {
        Box::pin(async move {
            let coordinator: Arc<dyn Coordinator> = link;
            let (session, _driver) = Session::start(Arc::clone(&coordinator), settings(at, timings));
            let address = SocketAddr::from(([127, 0, 0, 1], 1));
            let group = Group {
                name: GROUP.to_owned(),
                engine: Engine::Postgres,
                members: NAMES.iter().map(|name| ((*name).to_owned(), address)).collect(),
                policy: policy.clone(),
            };
            let groups = vec![group];
            let feeds = Feeds::new(&groups);
            let seat = Seat {
                session: session.clone(),
                coordinator: Arc::clone(&coordinator),
                feed: feeds.of(GROUP).expect("it is one of them"),
                board: board.clone(),
                group: GROUP.to_owned(),
                engine: Engine::Postgres,
                warden: Some(Box::new(Ward(Arc::clone(&fake.mood)))),
                seed: at as u64,
                times: mainstay_cluster::session::policy(&timings),
                failsafe,
                handed,
            };
            let policies = BTreeMap::from([(GROUP.to_owned(), policy)]);
            let (viewing, plans) = (
                view::run(session.clone(), Arc::clone(&coordinator), groups, feeds, board, std::future::pending()),
                planning::run(
                    session.clone(),
                    coordinator,
                    policies,
                    BTreeMap::new(),
                    Journal::default(),
                    std::future::pending(),
                ),
            );
            let handed = tokio::select! {
                handed = member::run(seat, fake, departure(leave)) => handed,
                () = viewing => None,
                planned = plans => {
                    planned.expect("there is room");
                    None
                }
            };
            // The end of the lease says that the server has stopped.
            if handed.is_none() {
                session.close().await;
            }
            handed
        })
    }
}

fn settings(at: usize, timings: Timings) -> Settings {
    let (clock, journal) = (Boottime::system(), Journal::default());
    Settings { node: NAMES[at].to_owned(), timings, clock, seed: at as u64, journal }
}

/// Waits for the process to be told to leave, and how.
async fn departure(mut leave: watch::Receiver<Option<Departure>>) -> Departure {
    let left = leave.wait_for(Option::is_some).await.ok().and_then(|left| *left);
    left.unwrap_or(Departure::Leave)
}
