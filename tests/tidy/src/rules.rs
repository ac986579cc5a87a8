//! The tables: which crate is on which layer, and the named exceptions, each with its reason.

/// The layers of the crates, bottom first. A crate imports only from lower ones. `runtime` is below `probe` and
/// `resilience`, the one exception inside what DESIGN calls a layer.
pub const LAYERS: &[&[&str]] = &[
    &["mainstay-core"],
    &["mainstay-runtime", "mainstay-http2"],
    &["mainstay-probe", "mainstay-resilience"],
    &["mainstay-gateway", "mainstay-dns", "mainstay-cluster"],
    &[
        "mainstay-failover",
        "mainstay-delivery",
        "mainstay-queue",
        "mainstay-backup",
        "mainstay-observe",
        "mainstay-chaos",
    ],
    &["mainstay-admin"],
    &["mainstay"],
    &["mainstay-e2e", "mainstay-tidy", "mainstay-bench", "mainstay-resilience-bench", "mainstay-sim", "mainstay-fuzz"],
    &["mainstay-conformance"],
];

/// Crates that `mainstay-core` must not reach, directly or through others: each brings I/O, a clock or a runtime.
pub const CORE_NEVER: &[&str] =
    &["tokio", "mio", "socket2", "libc", "rustix", "nix", "hyper", "async-std", "smol", "rustls", "chrono", "time"];

/// Paths that must not occur in the sources of `mainstay-core`, for the same reason.
pub const CORE_NEVER_PATHS: &[&[&str]] = &[
    &["std", "fs"],
    &["std", "io"],
    &["std", "env"],
    &["std", "process"],
    &["std", "thread"],
    &["Instant", "now"],
    &["SystemTime"],
    &["TcpStream"],
    &["TcpListener"],
    &["UdpSocket"],
    &["ToSocketAddrs"],
];

/// Dependencies that belong to one crate alone, and why.
pub const OWNED: &[(&str, &[&str], &str)] = &[
    ("toml", &["mainstay"], "only the binary knows the syntax of the configuration"),
    ("clap", &["mainstay"], "only the binary knows the command line"),
];

/// Lines of a file without its inline tests.
pub const FILE_LINES: usize = 400;
/// Lines of a file with everything in it.
pub const FILE_LINES_HARD: usize = 700;
/// Lines of a function, from its signature to its closing brace.
pub const FUNCTION_LINES: usize = 70;

/// Files that may be longer: path, most lines, reason.
pub const LONG_FILES: &[(&str, usize, &str)] = &[];

/// Functions that may be longer: file, function, most lines, reason.
pub const LONG_FUNCTIONS: &[(&str, &str, usize, &str)] = &[];

/// Names that say nothing about what is inside.
pub const EMPTY_NAMES: &[&str] = &["common", "util", "utils", "helper", "helpers", "manager", "types", "misc"];

/// Files that may use `unsafe`, and for what.
pub const UNSAFE: &[(&str, &str)] = &[
    ("bench/src/machine.rs", "asks the system for the number of cores"),
    ("bench/src/measure.rs", "limits and affinity of processes, for which std has no call"),
    ("bench/src/open_loop.rs", "pins the load generator between fork and exec, and makes its timers exact"),
    ("bench/src/process.rs", "pins processes, and stops them with a signal"),
    ("crates/cluster/src/address/link_layer.rs", "an address of AF_PACKET, which std, rustix and socket2 cannot make"),
    (
        "crates/failover/src/fence/watchdog/driver.rs",
        "two ioctls of a watchdog, for which neither std nor rustix has calls",
    ),
    ("crates/core/tests/allocations.rs", "an allocator that counts, to show that there is nothing to count"),
    ("crates/gateway/tests/allocations.rs", "an allocator that counts what a worker's thread allocates"),
    ("tests/e2e/src/lab/arp.rs", "an address of AF_PACKET, and bytes that the system wrote"),
    ("tests/e2e/src/process.rs", "processes that end with the test, and signals"),
    ("tests/e2e/src/tools.rs", "asks who the user is"),
];

/// Directories whose Rust files belong to this repository.
pub const SOURCES: &[&str] = &["crates", "tests", "bench", "fuzz"];
