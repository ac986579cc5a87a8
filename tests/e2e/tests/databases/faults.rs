//! What befalls machines of a group, and how it ends.

use std::time::{Duration, Instant, SystemTime};

use mainstay_e2e::eventually;
use mainstay_e2e::lab::{Cut, signal_tree};

use crate::trial::{COOLDOWN, SOON, Trial};

/// Where nodes keep the agreement, and where servers listen.
pub const PEERS: u16 = 7946;
pub const SERVERS: u16 = 5432;
/// What a node says when it begins to make its server primary.
const PROMOTES: &str = "Promote {";

/// What the node that plans says when another one has taken over.
const REPLACED: &str = "writes go to another primary";

/// What befalls the primary's machine, unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9` of the server alone.
    Server,
    /// `kill -9` of the node alone.
    Agent,
    /// `kill -9` of both at the same time; the node's guard lives.
    AgentAndServer,
    /// Everything on the machine ends.
    Power,
    /// SIGSTOP of the node, with its guard.
    FrozenAgent,
    /// SIGSTOP of the server.
    FrozenServer,
    /// SIGSTOP of both.
    FrozenBoth,
    /// Nothing comes or goes.
    Cut(Cut),
    /// It cannot reach the other nodes, while replicas reach the server.
    FromQuorum,
    /// Replicas cannot reach the server, while nodes reach each other.
    FromReplicas,
    /// The servers of all machines are killed.
    AllServers,
    /// The power goes, and the server of the one that takes over is killed while it promotes.
    WhilePromoting,
    /// The same, and its power goes, too. Then both come back.
    PowerWhilePromoting,
    /// The node that plans is killed, and the primary's server hangs.
    Planner,
}

/// What happens to the primary's processes and to its machine.
pub const ENDS: [Fault; 8] = [
    Fault::Server,
    Fault::Agent,
    Fault::AgentAndServer,
    Fault::Power,
    Fault::FrozenAgent,
    Fault::FrozenServer,
    Fault::FrozenBoth,
    Fault::AllServers,
];

/// What happens to the network between machines, and while another one takes over.
pub const PARTS: [Fault; 8] = [
    Fault::Cut(Cut::Both),
    Fault::Cut(Cut::In),
    Fault::Cut(Cut::Out),
    Fault::FromQuorum,
    Fault::FromReplicas,
    Fault::WhilePromoting,
    Fault::PowerWhilePromoting,
    Fault::Planner,
];

impl Fault {
    /// Whether the primary's node goes on saying that it lives, which keeps a primary in its place during `cooldown`.
    fn is_of_a_server_that_hangs(self) -> bool {
        matches!(self, Self::FrozenServer | Self::Planner)
    }
}

/// What is to be undone.
#[derive(Default)]
struct Harm {
    /// Nodes that do not run.
    off: Vec<usize>,
    /// Processes that are frozen, in the order in which they go on.
    frozen: Vec<u32>,
    /// A machine that is cut off.
    cut: Option<usize>,
}

impl Trial {
    /// A fault, what follows from it, and its end; answers how long nobody acknowledged.
    pub fn befall(&mut self, fault: Fault) -> Duration {
        if fault.is_of_a_server_that_hangs() {
            // The trial's own failovers are no reason to wait for the next one.
            std::thread::sleep(self.calm_at.saturating_duration_since(Instant::now()));
        }
        std::thread::sleep(random(Duration::from_secs(1)));
        // Who plans may change at any time on a busy machine.
        let primary = if fault == Fault::Planner { self.planned_for_by_another() } else { self.settled() };
        let term = self.term();
        let (began, replaced) = (Instant::now(), self.replaced());
        let harm = self.strike(fault, primary);
        // What was on its way when it happened does not count as going on.
        std::thread::sleep(Duration::from_secs(1));
        if fault == Fault::FromReplicas {
            // Nobody else can be certain to have more than it does, and it needs them: it goes on once they can reach it.
            std::thread::sleep(Duration::from_secs(3));
            self.databases.lab().heal(primary);
        }
        if matches!(fault, Fault::FrozenAgent | Fault::FromQuorum) {
            // It acknowledges until its lease ends.
            eventually("another one takes over", SOON, || self.replaced() > replaced);
        }
        self.goes_on(&format!("writes after {fault:?}"));
        self.calm_at = Instant::now() + COOLDOWN;
        let gap = self.gap(began);
        self.mend(harm);
        self.settled();
        self.took_turns(&format!("{fault:?}"), began, self.term() - term);
        self.has_everything(&format!("{fault:?}"));
        gap
    }

    fn strike(&mut self, fault: Fault, primary: usize) -> Harm {
        let server = self.databases.postmaster(primary).expect("it runs");
        let agent = self.databases.nodes().process(primary).pid();
        let mut harm = Harm::default();
        match fault {
            Fault::Server => signal_tree(server, "KILL"),
            Fault::Agent => {
                self.databases.nodes().kill(primary);
                harm.off.push(primary);
            }
            Fault::AgentAndServer => {
                signal_tree(server, "KILL");
                self.databases.nodes().kill(primary);
                harm.off.push(primary);
            }
            Fault::Power => {
                self.databases.power_off(primary);
                harm.off.push(primary);
            }
            Fault::FrozenAgent => harm.frozen = vec![agent],
            // It is ended, or goes on by itself.
            Fault::FrozenServer => signal_tree(server, "STOP"),
            Fault::FrozenBoth => harm.frozen = vec![server, agent],
            Fault::Cut(cut) => {
                self.databases.lab().cut(primary, cut);
                harm.cut = Some(primary);
            }
            Fault::FromQuorum => {
                self.databases.lab().part(primary, PEERS);
                harm.cut = Some(primary);
            }
            Fault::FromReplicas => self.databases.lab().part(primary, SERVERS),
            Fault::AllServers => {
                let servers: Vec<u32> = (0..3).filter_map(|node| self.databases.postmaster(node)).collect();
                servers.into_iter().for_each(|server| signal_tree(server, "KILL"));
            }
            Fault::WhilePromoting => {
                let next = self.successor(primary);
                if let Some(server) = self.databases.postmaster(next) {
                    signal_tree(server, "KILL");
                }
                harm.off.push(primary);
            }
            Fault::PowerWhilePromoting => {
                let next = self.successor(primary);
                self.databases.power_off(next);
                self.databases.power_on(primary);
                harm.off.push(next);
            }
            Fault::Planner => {
                let planner = self.planner();
                assert_ne!(planner, primary, "the server that hangs has an agent that lives");
                signal_tree(server, "STOP");
                self.databases.nodes().kill(planner);
                harm.off.push(planner);
            }
        }
        harm.frozen.iter().rev().for_each(|pid| signal_tree(*pid, "STOP"));
        harm
    }

    fn mend(&mut self, harm: Harm) {
        harm.frozen.iter().for_each(|pid| signal_tree(*pid, "CONT"));
        harm.off.iter().for_each(|node| self.databases.power_on(*node));
        harm.cut.iter().for_each(|node| self.databases.lab().heal(*node));
    }

    fn planner(&self) -> usize {
        let mut planner = None;
        eventually("somebody plans", SOON, || {
            planner = self.databases.planner();
            planner.is_some()
        });
        planner.expect("just found")
    }

    /// The primary of a group that is whole, after it was moved away from the node that plans.
    fn planned_for_by_another(&mut self) -> usize {
        let primary = self.settled();
        if self.planner() == primary {
            // Nodes know a little later than the group is whole.
            eventually("a switchover", SOON, || {
                let asked = self.databases.nodes().command(primary, &["database", "switchover", "orders", "--yes"]);
                asked.status.success()
            });
            eventually("another primary", SOON, || self.databases.primary().is_some_and(|now| now != primary));
        }
        self.settled()
    }

    /// Takes the primary's power, and answers who has just begun to be promoted in its place.
    fn successor(&mut self, primary: usize) -> usize {
        let mut said = |node: usize| self.databases.nodes().said(node, PROMOTES);
        let before: Vec<usize> = (0..3).map(&mut said).collect();
        self.databases.power_off(primary);
        let end = Instant::now() + SOON;
        loop {
            let mut said = |node: usize| self.databases.nodes().said(node, PROMOTES);
            let next = (0..3).find(|node| *node != primary && said(*node) > before[*node]);
            if let Some(next) = next {
                return next;
            }
            assert!(Instant::now() < end, "nobody is promoted");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// How often nodes have said so far that another one took over.
    fn replaced(&mut self) -> usize {
        (0..3).map(|node| self.databases.nodes().said(node, REPLACED)).sum()
    }
}

/// Some time up to this one.
pub fn random(most: Duration) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    most.mul_f64(f64::from(now.subsec_nanos() % 1_000_003) / 1_000_003.0)
}
