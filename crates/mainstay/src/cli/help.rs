//! What `mainstay COMMAND --help` says after the options.

pub(super) const RUN_HELP: &str = "\
The file is read again when it or a certificate changes, and on SIGHUP. A new configuration is applied whole, or the
old one is kept and the reason is logged. SIGTERM and SIGINT drain connections and leave; a second one leaves at once.

Examples:
  mainstay run -c /etc/mainstay/lb.toml
  mainstay run -c lb.toml --log-format text --log-level debug
  kill -HUP $(pidof mainstay)        reload, and reopen the access log's file";

pub(super) const CHECK_HELP: &str = "\
Reports every problem with its file, line and key, then exits with 2; with 0 if there are only warnings or none.

Examples:
  mainstay check -c lb.toml
  mainstay check -c lb.toml --json | jq '.problems[]'";

pub(super) const PROXY_HELP: &str = "\
A listen address without a host (`:8080`) means 127.0.0.1. Endpoints are checked over TCP every 2 s.

Examples:
  mainstay proxy --listen :8080 127.0.0.1:3001 127.0.0.1:3002
  mainstay proxy --listen 0.0.0.0:80 --balance round-robin app1:3000 app2:3000
  mainstay proxy --listen :8080 unix:/run/app.sock
  mainstay proxy --listen :8080 --access-log off --admin off --admin-socket off 127.0.0.1:3001";

pub(super) const STATUS_HELP: &str = "\
Without --admin, the default admin socket is asked first, then 127.0.0.1:7900.

Examples:
  mainstay status
  mainstay status --watch
  mainstay status --admin /run/mainstay/admin.sock --json | jq '.services[].endpoints[]'
  mainstay status --admin 127.0.0.1:7901";

pub(super) const EXPLAIN_HELP: &str = "\
The id is in the response's header x-request-id and in the access log. A node remembers the last 1024 requests that
ended; `explain` under [node] changes that. Without --admin, the default admin socket is asked first, then 127.0.0.1:7900.

Examples:
  mainstay explain 0af7651916cd43dd8448eb211c80319c
  mainstay explain 0af7651916cd43dd8448eb211c80319c --admin 127.0.0.1:7901
  mainstay explain 0af7651916cd43dd8448eb211c80319c --json | jq '.requests[0].attempts'";

pub(super) const LEDGER_HELP: &str = "\
Kept in `ledger` in the node's data_dir. Figures are of the time in which somebody looked; the coverage says how much of
the time that was. `verify` exits with 1 if a byte is not as it was written.

Examples:
  mainstay ledger --service shop
  mainstay ledger --service shop --since 7d --html shop.html
  mainstay ledger --service shop --json | jq .figures.mtbf_seconds
  mainstay ledger verify
  mainstay ledger verify --folder /var/lib/mainstay/ledger";

pub(super) const DRAIN_HELP: &str = "\
Requests in flight are finished; new ones go to the other endpoints. The drain lasts until --undo or until the node
restarts; to make it last, set `drain = true` in the configuration. Works only over the node's admin socket.

Examples:
  mainstay drain checkout/10.0.1.10:8080
  mainstay drain checkout/10.0.1.10:8080 --undo";

pub(super) const WEIGHT_HELP: &str = "\
The weight is the node's own until --undo or its restart; reloads and upgrades keep it. In a cluster ask each node, or change
the configuration.

Examples:
  mainstay weight checkout/10.0.1.10:8080 10
  mainstay weight checkout/10.0.1.10:8080 --undo";

pub(super) const EJECT_HELP: &str = "\
The endpoint comes back by itself. Unlike a drain it needs nobody to remember it; unlike an ejection by failures it happens
although no other endpoint is left.

Example:
  mainstay eject checkout/10.0.1.10:8080 --for 5m";

pub(super) const RESET_HELP: &str = "\
Ends the endpoint's ejection, gives it its whole weight and closes its circuit breaker. What its health checks say stands.

Example:
  mainstay reset checkout/10.0.1.10:8080";

pub(super) const CELL_HELP: &str = "\\
New requests of an account that is moved are answered 503 until those under way in the old cell are over; then they go
to the new one. Works only over the node's admin socket.

Examples:
  mainstay cell list
  mainstay cell move acme cell-2
  mainstay cell move acme cell-2 --drain 60 --json";

pub(super) const CONFIG_HELP: &str = "\
Any node can be asked. A new version is checked by every node first; one that cannot serve it (a certificate is missing
there) vetoes it. Then one node serves it alone and is watched: if its clients see more errors or wait longer than before
and than those of the other nodes, it goes back by itself. Only then all get it. Works only over a node's admin socket.

Examples:
  mainstay config apply lb.toml
  mainstay config apply lb.toml --bake 10m --canary lb2
  mainstay config apply lb.toml --now
  mainstay config diff lb.toml
  mainstay config history
  mainstay config rollback 3
  mainstay config status --json | jq .release";

pub(super) const PROBE_HELP: &str = "\
Probes are written as [[probe]] in the configuration. `run` shows each step; its exit code is 1 if a step fails.

Examples:
  mainstay probe
  mainstay probe run login
  mainstay probe --json | jq '.items[] | select(.state != \"up\") | .name'";

pub(super) const SLO_HELP: &str = "\
Objectives are written as [[objective]] in the configuration. A burn rate of 1 uses the error budget up in exactly the
objective's window; rules fire while both their windows exceed 14.4 (P1), 6 (P2), 3 (P3) or 1 (P4).

Examples:
  mainstay slo
  mainstay slo --json | jq '.items[] | {name, budget_left_percent}'
  mainstay slo export --prometheus -c lb.toml > rules.yml
  mainstay slo import checkout.openslo.yaml >> lb.toml";

pub(super) const ADDRESS_HELP: &str = "\
An address that is moved stays where it is put until that node fails, whatever the configuration prefers. Connections that
are open on it are ended. Works only over a node's admin socket.

Examples:
  mainstay address list
  mainstay address move 10.0.1.100 lb2
  mainstay address list --json | jq '.[] | {ip, holder}'";

pub(super) const ACCESS_HELP: &str = "\
A token is shown once, when it is made; the node keeps its digest. Passwords are read from the terminal or from standard
input, never from the command line. Works over the node's admin socket, or with a token of an admin.

Examples:
  mainstay access token create ci --role operator --for 90d --service shop
  mainstay access token list
  mainstay access token revoke 1a2b3c4d5e6f
  mainstay access user add jane --role admin
  mainstay access user password jane
  mainstay access user remove jane";

pub(super) const AUDIT_LOG_HELP: &str = "\
Each line builds on the digest of the one before it. Write the `head` that `verify` prints down elsewhere: it shows later
whether the end was cut off.

Examples:
  mainstay audit-log list
  mainstay audit-log verify
  mainstay audit-log verify /var/lib/mainstay/audit
  mainstay audit-log export | tail -n 1";
pub(super) const ALERTS_HELP: &str = "\
Without a command, lists alerts, the gravest first, with the page that says what to do. Acknowledging one works only over
a node's admin socket.

Examples:
  mainstay alerts
  mainstay alerts --json | jq '.items[] | select(.state == \"firing\") | .summary'
  mainstay alerts acknowledge 0af7651916cd43dd --note looking
  mainstay alerts receivers";

pub(super) const SILENCE_HELP: &str = "\
A silence is about the alerts of which all of its matchers are true. Patterns have text, `.`, `.*`, `.+` and `|`, and match
whole values. What still is so when it ends is told then. Works only over a node's admin socket; amtool can do it too.

Examples:
  mainstay silence add service=checkout --for 2h --comment maintenance
  mainstay silence add alertname=~Endpoint.* zone=b --for 30m --comment rack
  mainstay silence list
  mainstay silence remove 3c6a1b52-0000-4000-a000-000000000000";

pub(super) const LOG_HELP: &str = "\
What was asked for ends by itself, or by `reset`; `mainstay status` shows it meanwhile. A level of one component goes before
the level of all. Components: addresses, admin, alerts, cluster, consensus, discovery, failover, gateway, health, history,
ledger, otlp, probes, runtime.

Examples:
  mainstay log level
  mainstay log level debug --for 2m
  mainstay log level health=debug --for 10m
  mainstay log level reset";

pub(super) const EVENTS_HELP: &str = "\
Requests that failed, were slow or were tried again leave a line in any case. What was asked for ends by itself, or by
`reset`; `mainstay status` shows it meanwhile. A rate of one route goes before the rate of all.

Examples:
  mainstay events sampling
  mainstay events sampling 100% --route checkout --for 10m
  mainstay events sampling reset";

pub(super) const INIT_HELP: &str = "\
Makes the cluster's certificate authority, and this node's certificate and key, in the folder `cluster` of the node's
`data_dir`. Only their owner can read them; they are not part of the configuration. Start the node afterwards.

Examples:
  mainstay init -c /etc/mainstay/lb.toml
  mainstay init -c lb.toml --address 10.0.1.1:7946";

pub(super) const JOIN_HELP: &str = "\
Asks a node of the cluster, which checks the token and gives this node a number and a certificate. Start the node
afterwards; it is taken in once it runs. The token is used up by this. With `-` in its place it is read from standard
input, where other users of the machine do not see it.

Examples:
  mainstay join mainstay-join-1.ABC -c /etc/mainstay/lb.toml
  mainstay join - -c lb.toml --address 10.0.1.2:7946";

pub(super) const CLUSTER_HELP: &str = "\
A cluster has one, three or five voters; further nodes follow without a vote. A node that joins votes once it has caught
up and the number of voters is odd with it: the second one waits for the third. Tokens and removals work only over the
node's admin socket.

Examples:
  mainstay cluster status
  mainstay cluster add lb2
  mainstay cluster token --for 30m --no-vote
  mainstay cluster add lb4 --replace lb3
  mainstay cluster remove lb3";

pub(super) const UPGRADE_HELP: &str = "\
Install the new binary over the old one first, or name it with --binary. It must accept the configuration; then it is
started with the same arguments, gets the listening sockets and what is known of endpoints, and once it serves the old
process finishes its connections and leaves. If anything goes wrong before, the old process serves on as if nothing had
happened. SIGUSR2 to the node does the same. Works only over the node's admin socket.

Examples:
  mainstay upgrade
  mainstay upgrade --binary /opt/mainstay-0.2/mainstay --timeout 60
  mainstay upgrade --json | jq .connections_left";

pub(super) const DEMO_HELP: &str = "\
Starts a gateway and three small HTTP servers on free ports of 127.0.0.1, sends 200 requests a second through the
gateway, and kills, hangs, slows, breaks and restarts the servers on a schedule that scales with the duration. Ends with
a report of what the clients saw. Nothing is left behind; logs are kept if something failed.

With --nodes 3 there are three gateways, a cluster with one address: the node that holds it is killed, frozen and cut off as
well. The report then says how long nobody answered, and whether ever two nodes listened at once.

Examples:
  mainstay demo
  mainstay demo --nodes 3
  mainstay demo --databases
  mainstay demo --duration 10s --plain
  mainstay demo --json | jq '{availability_percent, failures}'";

pub(super) const DATABASE_HELP: &str = "\
A command that changes something says first what it will do and what that risks, and asks; --yes does not ask, --dry-run only
says it. `status` exits with 1 while a group takes no writes.

Examples:
  mainstay database status
  mainstay database status orders --json
  mainstay database switchover orders --to db2
  mainstay database failover orders --to db2 --dry-run
  mainstay database reinit orders db3 --yes
  mainstay database pause orders
  mainstay database import-patroni db1.yml db2.yml db3.yml";
