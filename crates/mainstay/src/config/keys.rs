//! Every key that a configuration may hold. `docs/config.md` is tested against these lists.

use super::problem::near;

/// The keys of one kind of table.
#[derive(Debug)]
pub(super) struct Keys {
    /// Where such a table stands, for people.
    pub(super) section: &'static str,
    /// Its keys.
    pub(super) names: &'static [&'static str],
}

macro_rules! sections {
    ($($(#[$doc:meta])* $name:ident = $section:literal: $($key:literal),+;)+) => {
        $($(#[$doc])* pub(super) const $name: Keys = Keys { section: $section, names: &[$($key),+] };)+
        /// All kinds of tables.
        pub(super) const ALL: &[&Keys] = &[$(&$name),+];
    };
}

sections! {
    /// The document.
    ROOT = "the top of the file": "node", "cluster", "address", "database", "listener", "route", "service", "cell", "sessions",
        "events", "tracing", "otlp", "objective", "probe", "access", "alerting", "receiver", "acme";
    /// Which requests leave a line, and what stands in it.
    EVENTS = "events": "sample", "slow", "max_per_second", "headers", "query", "redact", "rotate";
    /// What is never written.
    EVENTS_REDACT = "events.redact": "headers", "query";
    /// When a file is put aside.
    EVENTS_ROTATE = "events.rotate": "size", "keep";
    /// Whether requests carry a trace.
    TRACING = "tracing": "enabled";
    /// Where requests and metrics are sent.
    OTLP = "otlp": "endpoint", "protocol", "headers", "signals", "timeout", "retry_for", "metrics_interval",
        "ca", "cert", "key";
    /// Which requests of a route leave a line.
    ROUTE_EVENTS = "route.events": "sample", "slow";
    /// What share of requests is to be good.
    OBJECTIVE = "objective": "name", "route", "service", "probe", "database", "good", "target", "window", "min_events", "slow_failures",
        "severities";
    /// The process.
    NODE = "node": "name", "zone", "workers", "admin", "admin_socket", "access_log", "explain", "shutdown",
        "resolver", "cache", "data_dir", "spare", "admin_tls";
    /// The certificate of the admin interface.
    ADMIN_TLS = "node.admin_tls": "cert", "key";
    /// Who may use the admin interface.
    ACCESS = "access": "session_idle", "session_max", "oidc";
    /// Who logs people in beside the node itself.
    ACCESS_OIDC = "access.oidc": "name", "issuer", "client_id", "client_secret", "external_url", "scopes", "user_claim",
        "groups_claim", "group", "ca";
    /// What a group of that provider may do.
    ACCESS_OIDC_GROUP = "access.oidc.group": "name", "role", "services";
    /// What several nodes agree by.
    CLUSTER = "cluster": "peers", "etcd", "etcd_tls", "etcd_user", "listen", "timings", "voter";
    /// Certificates for etcd.
    ETCD_TLS = "cluster.etcd_tls": "ca", "cert", "key";
    /// Who a node is to etcd.
    ETCD_USER = "cluster.etcd_user": "name", "password_file";
    /// Memory for stored responses.
    NODE_CACHE = "node.cache": "memory";
    /// How names are looked up.
    RESOLVER = "node.resolver": "servers", "min_ttl", "max_ttl", "timeout";
    /// The phases of a shutdown.
    SHUTDOWN = "node.shutdown": "lead", "deadline";
    /// What one node holds at a time.
    ADDRESS = "address": "ip", "interface", "mode", "prefer", "preempt", "drain";
    /// A group of database servers.
    DATABASE = "database": "name", "engine", "durability", "acks", "lag_max", "member", "write", "read", "read_lag_max",
        "read_fallback", "hold", "hold_max", "connect_timeout", "idle_timeout", "max_connections", "tls", "server_tls", "rest",
        "restart_within", "gather", "cooldown", "yield_within", "failsafe", "probe_rows", "server", "fencing";
    /// A server of it.
    DATABASE_MEMBER = "database.member": "node", "address", "priority", "zone", "no_reads", "no_sync";
    /// What this node runs of it.
    DATABASE_SERVER = "database.server": "bin_dir", "data_dir", "state_dir", "user", "replication_password", "extra",
        "min_replicas", "min_replicas_lag", "stale_reads";
    /// How an old primary is kept from acknowledging writes.
    DATABASE_FENCING = "database.fencing": "port_lease", "watchdog", "stonith";
    /// What ends a machine.
    DATABASE_STONITH = "database.fencing.stonith": "command", "timeout";
    /// Where connections come in.
    LISTENER = "listener": "name", "bind", "protocol", "service", "idle_timeout", "tls", "trusted_proxies",
        "head_timeout", "keep_alive_timeout", "body_timeout", "max_head", "max_headers", "max_connections", "redirect_https",
        "proxy_protocol", "http2", "max_streams";
    /// Whose PROXY headers are taken.
    PROXY_PROTOCOL = "listener.proxy_protocol": "trusted", "timeout";
    /// TLS towards clients.
    LISTENER_TLS = "listener.tls": "cert", "key", "certificates", "acme", "client_auth", "client_ca";
    /// A certificate that an authority issues.
    ACME = "acme": "name", "directory", "accept_terms", "contact", "domains", "challenge", "ca", "binding";
    /// An account that the authority knows from elsewhere.
    ACME_BINDING = "acme.binding": "id", "secret";
    /// A certificate and its key.
    CERTIFICATE = "listener.tls.certificates": "cert", "key";
    /// Which requests go where.
    ROUTE = "route": "name", "listener", "match", "service", "when_empty", "timeout", "attempt_timeout", "tunnel_timeout", "retry",
        "rewrite_prefix", "request_headers", "response_headers", "mirror", "fallback", "tenant", "breaker",
        "deadline", "rate_limit", "criticality", "bulkhead", "adaptive", "quarantine", "cache", "retry_budget", "hedge",
        "cells", "account", "events";
    /// Which requests.
    MATCH = "route.match": "host", "path", "path_exact", "method", "headers";
    /// When to try again.
    RETRY = "route.retry": "attempts", "on", "backoff", "backoff_cap", "retry_after_max";
    /// How traffic comes back after an outage.
    RESTART = "service.restart": "after", "ramp", "from";
    /// When another endpoint is asked beside a slow one.
    HEDGE = "route.hedge": "quantile", "min_delay";
    /// Copies for another service.
    MIRROR = "route.mirror": "service", "share", "timeout", "max_in_flight";
    /// What is answered in place of an error.
    FALLBACK = "route.fallback": "status", "content_type", "body", "file", "empty", "service", "on", "on_limit", "methods",
        "stale";
    /// How requests name their tenants.
    TENANT = "route.tenant, service.tenant and route.account": "header", "cookie", "api_key", "segment", "sni", "missing";
    /// When requests that reset connections are held.
    QUARANTINE = "route.quarantine": "endpoints", "window", "hold", "cap", "entries", "status", "query", "headers", "body";
    /// Sessions that stay with an endpoint.
    STICKY = "service.sticky": "cookie", "table", "ttl", "key_file", "max_age", "path", "same_site", "http_only", "secure";
    /// How tables of sessions are kept.
    SESSIONS = "sessions": "max", "ack", "ack_timeout", "redis";
    /// Where Redis is.
    SESSIONS_REDIS = "sessions.redis": "address", "database", "username", "password_file", "timeout";
    /// A copy of a set of services.
    CELL = "cell": "name", "capacity", "services", "pinned", "closed";
    /// Which endpoints a tenant may use.
    SHARD = "service.shard": "shuffle", "partitions", "max_overlap", "spill";
    /// How a deadline comes in and goes out.
    DEADLINE = "route.deadline": "header";
    /// How often.
    RATE_LIMIT = "route.rate_limit": "rate", "burst", "key", "max_keys", "scope";
    /// What has a bucket of its own.
    RATE_KEY = "route.rate_limit.key": "header";
    /// How much requests matter.
    CRITICALITY = "route.criticality": "default", "header";
    /// How many at once.
    BULKHEAD = "route.bulkhead": "concurrency", "queue", "queue_timeout";
    /// How many at once, by their latency.
    ADAPTIVE = "route.adaptive": "min", "max", "initial", "probe", "tolerance", "remeasure", "jitter", "queue",
        "queue_timeout";
    /// Responses that are stored and served again.
    CACHE = "route.cache": "default_ttl", "max_ttl", "jitter", "stale_while_revalidate", "stale_if_error", "max_object",
        "obey_clients";
    /// Who is told of what is wrong, and when.
    ALERTING = "alerting": "group_wait", "group_interval", "repeat_interval", "group_by", "dead_man", "dead_man_interval",
        "runbooks", "dashboard", "rule";
    /// How a built-in alert differs.
    ALERT_RULE = "alerting.rule": "name", "enabled", "for", "keep_firing_for", "severity";
    /// Somebody who is told.
    RECEIVER = "receiver": "name", "type", "severities", "match", "group_by", "group_wait", "group_interval",
        "repeat_interval", "resolved", "timeout", "url", "routing_key", "authorization", "host", "port", "tls", "from", "to",
        "user", "smtp_password";
    /// A secret that is somewhere else.
    SECRET = "receiver.url, receiver.routing_key, receiver.authorization, receiver.smtp_password, \
        acme.binding.secret, probe.secrets, access.oidc.client_secret, otlp.headers and database.server.replication_password": "file", "env";
    /// A journey that is tried from the outside.
    PROBE = "probe": "name", "interval", "timeout", "from", "secrets", "ca", "step";
    /// A part of it.
    PROBE_STEP = "probe.step": "name", "timeout", "url", "method", "headers", "body", "follow", "max_body", "expect",
        "expect_headers", "expect_text", "json", "capture", "tcp", "send", "tls", "server_name", "min_days", "dns", "type",
        "server", "records";
    /// Changes to headers.
    HEADERS = "route.request_headers and route.response_headers": "set", "remove";
    /// A group of endpoints.
    SERVICE = "service": "name", "protocol", "balance", "hash", "health", "outlier", "breaker", "restart", "retry_budget", "when_empty", "tls",
        "connect_timeout", "idle_timeout", "max_idle", "max_age", "endpoint", "endpoints", "srv",
        "send_proxy", "tenant", "shard", "sticky", "slow_start", "guard", "zones", "capacity";
    /// What consistent hashing goes by.
    HASH = "service.hash": "header", "cookie", "source", "bounded_load";
    /// Active checks.
    HEALTH = "service.health": "preset", "tcp", "http", "https", "grpc", "host", "port", "expect", "interval", "timeout",
        "unhealthy", "healthy", "json", "degraded_weight",
        "command", "degraded_code", "user", "steps";
    /// What an answer's body must say.
    HEALTH_JSON = "service.health.json": "status", "up", "degraded", "assert", "max_body";
    /// One thing that must hold of it.
    HEALTH_ASSERT = "service.health.json.assert": "path", "equals", "present", "min", "max", "otherwise";
    /// One request of a transaction.
    HEALTH_STEP = "service.health.steps": "method", "path", "headers", "body", "expect", "json", "capture";
    /// Where a value for later steps is.
    HEALTH_CAPTURE = "service.health.steps.capture": "json", "header", "regex";
    /// Passive ejection.
    OUTLIER = "service.outlier": "consecutive", "base", "cap", "max_ejected", "gray";
    /// Comparison of endpoints.
    GRAY = "service.outlier.gray": "interval", "slower", "slower_by", "errors", "min_requests", "min_endpoints";
    /// What happens when checks fail nearly everywhere at once.
    GUARD = "service.guard": "share", "window", "liveness";
    /// Preference of the own zone.
    ZONES = "service.zones": "min_endpoints";
    /// What a service must bear.
    CAPACITY = "service.capacity": "peak_rps", "endpoint_rps";
    /// When calls are stopped before they are made.
    BREAKER = "route.breaker and service.breaker": "preset", "window", "window_calls", "min_calls", "failure_rate",
        "consecutive", "slow_rate", "slow_after", "open_for", "open_max", "jitter", "probes", "probe_timeout", "ramp";
    /// How many retries a service may cause.
    RETRY_BUDGET = "route.retry_budget and service.retry_budget": "ratio", "floor", "scope";
    /// TLS towards endpoints.
    SERVICE_TLS = "service.tls": "verify", "ca", "server_name", "cert", "key";
    /// One server.
    ENDPOINT = "service.endpoint": "address", "weight", "drain", "priority", "resolve", "zone", "spare",
        "rps";
}

/// Words of other products for what is here, first theirs, then ours.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("ratelimit", "rate_limit"),
    ("throttle", "rate_limit"),
    ("max_concurrency", "concurrency"),
    ("max_concurrent", "concurrency"),
    ("adaptive_concurrency", "adaptive"),
    ("priority_class", "criticality"),
    ("listen", "bind"),
    ("address", "bind"),
    ("backend", "service"),
    ("upstream", "service"),
    ("cluster", "service"),
    ("frontend", "listener"),
    ("servers", "endpoints"),
    ("server", "endpoint"),
    ("nameservers", "servers"),
    ("nameserver", "servers"),
    ("dns", "resolver"),
    ("resolvers", "resolver"),
    ("targets", "endpoints"),
    ("certificate", "cert"),
    ("cert_file", "cert"),
    ("key_file", "key"),
    ("private_key", "key"),
    ("hosts", "host"),
    ("prefix", "path"),
    ("path_prefix", "path"),
    ("methods", "method"),
    ("sni", "server_name"),
    ("ssl", "tls"),
    ("threads", "workers"),
    ("health_check", "health"),
    ("healthcheck", "health"),
    ("lb", "balance"),
    ("algorithm", "balance"),
    ("retries", "retry"),
    ("threshold", "unhealthy"),
    ("send-proxy", "send_proxy"),
    ("proxy_protocol", "send_proxy"),
    ("accept_proxy", "proxy_protocol"),
    ("accept-proxy", "proxy_protocol"),
    ("proxyProtocol", "proxy_protocol"),
    ("trusted_ips", "trusted"),
    ("trustedIPs", "trusted"),
    ("trusted_proxies", "trusted"),
];

/// The key of this table that an unknown one was probably meant to be.
pub(super) fn meant(key: &str, keys: &Keys) -> Option<&'static str> {
    let other = OTHER_WORDS.iter().find(|(theirs, ours)| theirs.eq_ignore_ascii_case(key) && keys.names.contains(ours));
    other.map(|(_theirs, ours)| *ours).or_else(|| near(key, keys.names.iter().copied()))
}

/// Another kind of table that has this key, one inside the present one before all others.
pub(super) fn home_of(key: &str, keys: &Keys) -> Option<&'static str> {
    let mut homes: Vec<&Keys> = ALL.iter().copied().filter(|other| other.names.contains(&key)).collect();
    homes.sort_by_key(|other| !other.section.starts_with(keys.section));
    homes.first().map(|home| home.section)
}
