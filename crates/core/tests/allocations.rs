//! A pick and a lookup allocate nothing: they are on the path of every request.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use mainstay_core::adaptive::{self, Adaptive};
use mainstay_core::balance::{Balancer, Candidate, Policy, Wanted};
use mainstay_core::bulkhead::{self, Bulkhead};
use mainstay_core::criticality::Criticality;
use mainstay_core::limiter;
use mainstay_core::random::{Rng, mix};
use mainstay_core::route::{Header, Host, Match, Path, Request, Table};
use mainstay_core::shard::{self, Member, Shards};
use mainstay_core::time::Moment;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches a constant-initialised cell without a
// destructor, which allocates nothing itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System.alloc` above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn the_counter_counts() {
    assert!(allocations(|| drop(std::hint::black_box(vec![1u8; 100]))) >= 1);
}

#[test]
fn picks_allocate_nothing() {
    for policy in [Policy::RoundRobin, Policy::Random, Policy::LeastRequest, Policy::PeakEwma, Policy::Hash] {
        for weight_of in [|_index: u32| 1, |index: u32| 1 + index % 7] {
            let candidates: Vec<Candidate> =
                (0..200).map(|index| Candidate { weight: weight_of(index), identity: mix(u64::from(index)) }).collect();
            let mut balancer = Balancer::new(policy, &candidates).bounded(Some(1.25));
            balancer.set_eligible(&(0..200).map(|index| index % 5 > 0).collect::<Vec<bool>>());
            let mut rng = Rng::seeded(1);
            let everyone: Vec<usize> = (0..200).collect();
            let count = allocations(|| {
                for key in 0..5000 {
                    let excluded = &everyone[..key % 201];
                    let within = (key % 3 == 0).then_some(&everyone[key % 150..key % 150 + 8]);
                    let wanted = Wanted { key: Some(key as u64), excluded, within };
                    std::hint::black_box(balancer.pick(&wanted, &|index: usize| index as u32 % 3, &mut rng));
                }
            });
            assert_eq!(count, 0, "{policy:?}");
        }
    }
}

#[test]
fn lookups_allocate_nothing() {
    let routes: Vec<Match> = (0..300)
        .map(|number| Match {
            host: if number % 2 == 0 {
                Host::Exact(format!("h{number}.test"))
            } else {
                Host::Suffix(format!(".s{number}.test"))
            },
            path: Path::Prefix(format!("/{}", number % 7)),
            methods: if number % 3 == 0 { vec!["GET".to_owned()] } else { Vec::new() },
            headers: if number % 5 == 0 { vec![Header { name: "x".to_owned(), value: None }] } else { Vec::new() },
        })
        .collect();
    let table = Table::new(&routes);
    let requests: Vec<(String, String)> = (0..300)
        .map(|number| (format!("{}{number}.test", ["h", "a.s", "z"][number % 3]), format!("/{}/1/2", number % 7)))
        .collect();
    let mut found = 0;
    let count = allocations(|| {
        for (host, path) in &requests {
            found += usize::from(table.lookup(Request { host, path, method: "GET" }, |_header| true).is_some());
        }
    });
    assert_eq!(count, 0);
    assert!(found >= 100, "{found}");
}

#[test]
fn admissions_allocate_nothing() {
    let policy = bulkhead::Policy { concurrency: 2, queue: 50, ..bulkhead::Policy::default() };
    let mut bulkhead = Bulkhead::new(policy);
    let mut table = limiter::Table::new(limiter::Rate::new(10, Duration::from_secs(1), 10), 100);
    let mut adaptive = Adaptive::new(adaptive::Policy::default(), Moment::ZERO, 1);
    let mut tickets: Vec<bulkhead::Ticket> = Vec::with_capacity(100);
    let mut round = |number: u64| {
        let now = Moment::from_millis(number);
        let _allowed = table.take(now, mix(number), 1.0);
        adaptive.sample(now, adaptive::Sample { latency: Duration::from_millis(5), entered_with: 9, left_with: 9 });
        if let bulkhead::Entry::Waiting(ticket) = bulkhead.enter(now, Criticality::ALL[number as usize % 4]) {
            tickets.push(ticket);
        }
        if number.is_multiple_of(3) {
            bulkhead.release(now);
        }
        while let Some(called) = bulkhead.poll_output() {
            tickets.retain(|ticket| *ticket != called);
            std::hint::black_box(bulkhead.leave(now, called));
        }
    };
    // Places for those who are called and not back yet are taken when they are needed first.
    (0..1000).for_each(&mut round);
    assert_eq!(allocations(|| (1000..20_000).for_each(round)), 0);
}

#[test]
fn shards_allocate_nothing_once_they_were_used() {
    let members: Vec<Member> = (0..20).map(|number| Member { identity: mix(number), zone: number % 3 }).collect();
    for policy in [
        shard::Policy::Partition(4),
        shard::Policy::Shuffle { size: 3, max_overlap: None },
        shard::Policy::Shuffle { size: 3, max_overlap: Some(1) },
    ] {
        let mut shards = Shards::new(policy, &members);
        let mut all = |tenants: std::ops::Range<u64>| {
            for tenant in tenants {
                std::hint::black_box(shards.of(mix(tenant)));
            }
        };
        all(0..20_000);
        assert_eq!(allocations(|| all(20_000..30_000)), 0, "{policy:?}");
    }
}
