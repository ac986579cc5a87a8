# Everything a person does with this checkout. `make help` says what there is.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo build release dashboard screenshots test conformance lint advisories bench profile soak failover databases database-cost redis fuzz clean need-build need-lint

# Cargo.lock is part of the release: a build that would change it fails instead.
CARGO ?= cargo
CARGO_FLAGS ?= --locked
# The end-to-end tests start whole clusters of processes; more than two at a time only measure each other.
TEST_THREADS ?= 2
# Seconds a fuzz target runs, seconds a soak runs, and the options of the bench and the profile (`make bench ARGS=--quick`).
FUZZ_SECONDS ?= 20
SOAK_SECONDS ?= 600
ARGS ?=
PARTS ?=

help: ## this list
	@echo "Mainstay: keeps services available while their parts fail."
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

demo: need-build dashboard-if-possible ## build, then watch a gateway hide dying services for a minute (ARGS="--nodes 3": three gateways that die, too; ARGS="--databases": PostgreSQL and Redis)
	$(CARGO) build $(CARGO_FLAGS) --release -p mainstay
	./target/release/mainstay demo $(ARGS)

build: need-build dashboard-if-possible ## an optimised binary, target/release/mainstay
	$(CARGO) build $(CARGO_FLAGS) --release -p mainstay

release: need-build dashboard-if-possible ## the binary to deploy, target/profiled/mainstay: built twice, the second time by what it did under load (half an hour)
	@tests/install-packages.sh bench/packages.txt
	bench/profiled.sh

dashboard: need-npm ## the dashboard, dashboard/dist, which the next build puts into the binary
	cd dashboard && npm ci && npm run build

screenshots: dashboard ## docs/images anew: the dashboard of nodes that run, in a browser
	@tests/install-packages.sh tests/packages.txt
	$(CARGO) build $(CARGO_FLAGS) -p mainstay -p mainstay-e2e --bins
	LINGER_SECONDS=240 $(CARGO) test $(CARGO_FLAGS) -p mainstay-e2e --test dashboard -- --nocapture a_real_node a_cluster
	mkdir -p docs/images
	for name in killed service request incident; do cp target/dashboard/real-$$name.png docs/images/dashboard-$$name.png; done
	cp target/dashboard/three-cluster.png docs/images/dashboard-cluster.png

test: need-build dashboard ## every test; first installs the Debian packages that they need
	@tests/install-packages.sh tests/packages.txt
	cd tests/oidc && npm ci
	@$(MAKE) --no-print-directory $(SCHEMATHESIS)
	$(CARGO) build $(CARGO_FLAGS) --workspace --all-targets
	$(CARGO) test $(CARGO_FLAGS) --workspace --no-fail-fast -- --test-threads=$(TEST_THREADS)

# The fuzzer of the admin API, for the tests alone.
SCHEMATHESIS := tests/schemathesis/.venv/installed
.PHONY: schemathesis
schemathesis: $(SCHEMATHESIS) ## the fuzzer of the admin API, which its test uses
$(SCHEMATHESIS): tests/schemathesis/requirements.txt
	python3 -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

conformance: need-build ## docs/conformance.md anew: every case against ours, haproxy, nginx and caddy
	@tests/install-packages.sh tests/packages.txt
	$(CARGO) build $(CARGO_FLAGS) -p mainstay -p mainstay-e2e -p mainstay-conformance
	./target/debug/mainstay-conformance $(ARGS)

lint: need-build need-lint ## formatting, clippy, and the licences and sources of dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(CARGO_FLAGS) --workspace --all-targets -- -D warnings
	$(CARGO) deny $(CARGO_FLAGS) check --hide-inclusion-graph bans licenses sources
	@echo "known vulnerabilities were not looked up, since that needs a database from the network: make advisories"

advisories: need-lint ## known vulnerabilities of dependencies (fetches the advisory database)
	$(CARGO) deny $(CARGO_FLAGS) check advisories

bench: release ## compare `make release` with haproxy, nginx, caddy and envoy, written to bench/results/ (ARGS=--quick for a short one)
	@bench/install-envoy.sh
	$(CARGO) build $(CARGO_FLAGS) --release -p mainstay-bench
	./target/release/mainstay-bench --mainstay target/profiled/mainstay $(ARGS)

profile: need-build ## what one request costs, by perf and callgrind (ARGS="--scenario tls-keep-alive" for another kind)
	@tests/install-packages.sh bench/packages.txt
	$(CARGO) build $(CARGO_FLAGS) --release -p mainstay -p mainstay-bench
	./target/release/mainstay-bench --mainstay target/release/mainstay profile $(ARGS)

soak: need-build ## hours of load, checked histories and every fault SOAK_ROUNDS (20) times (PARTS="databases slow-link" for some of it)
	@tests/install-packages.sh tests/packages.txt
	@$(MAKE) --no-print-directory $(SCHEMATHESIS)
	SOAK_SECONDS=$(SOAK_SECONDS) tests/soak.sh $(PARTS)

failover: need-build ## how long failovers take beside keepalived: the table of docs/failover.md
	@tests/install-packages.sh tests/packages.txt
	$(CARGO) build $(CARGO_FLAGS) -p mainstay -p mainstay-e2e
	./target/debug/mainstay-e2e-compare-failover

databases: need-build ## how long failovers of PostgreSQL take beside Patroni: the table of docs/databases.md
	@tests/install-packages.sh tests/packages.txt
	@tests/install-packages.sh tests/compare-packages.txt
	$(CARGO) build $(CARGO_FLAGS) -p mainstay -p mainstay-e2e
	./target/debug/mainstay-e2e-compare-databases

database-cost: need-build ## what a query costs by a listener of a database group, beside a TCP listener: figures of docs/databases.md
	$(CARGO) test $(CARGO_FLAGS) --release -p mainstay-e2e --test database_cost -- --nocapture

redis: need-build ## how long failovers of Redis take beside Sentinel: the table of docs/databases.md
	@tests/install-packages.sh tests/packages.txt
	@tests/install-packages.sh tests/compare-packages.txt
	$(CARGO) build $(CARGO_FLAGS) -p mainstay -p mainstay-e2e
	./target/debug/mainstay-e2e-compare-redis

fuzz: need-build ## every fuzz target for FUZZ_SECONDS (20) each
	@$(CARGO) fuzz --version >/dev/null 2>&1 || { \
	  echo "cargo-fuzz is not installed: building it, which takes a minute once"; \
	  $(CARGO) install --locked cargo-fuzz; }
	SECONDS_EACH=$(FUZZ_SECONDS) fuzz/smoke.sh

clean: ## remove what was built
	$(CARGO) clean
	rm -rf fuzz/target fuzz/corpus fuzz/artifacts bench/work dashboard/node_modules dashboard/unit-built tests/oidc/node_modules tests/schemathesis/.venv
	find dashboard/dist -mindepth 1 ! -name .gitkeep -delete

# A missing tool is named together with the command that installs it.
need-build:
	@command -v $(CARGO) >/dev/null || { \
	  echo "error: cargo (the Rust toolchain) is not installed" >&2; \
	  echo "  hint: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh" >&2; exit 1; }
	@command -v cc >/dev/null || { \
	  echo "error: cc (a C compiler, for the TLS library) is not installed" >&2; \
	  echo "  hint: apt-get install -y build-essential" >&2; exit 1; }
	@command -v protoc >/dev/null || tests/install-packages.sh crates/packages.txt

# The binary works without the dashboard: whoever has no npm gets the page /status instead.
.PHONY: dashboard-if-possible need-npm
dashboard-if-possible:
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory dashboard; \
	  else echo "note: without npm the dashboard is left out: apt-get install npm"; fi

need-npm:
	@command -v npm >/dev/null || tests/install-packages.sh dashboard/packages.txt

need-lint:
	@$(CARGO) fmt --version >/dev/null 2>&1 || { \
	  echo "error: rustfmt is not installed" >&2; echo "  hint: rustup component add rustfmt" >&2; exit 1; }
	@$(CARGO) clippy --version >/dev/null 2>&1 || { \
	  echo "error: clippy is not installed" >&2; echo "  hint: rustup component add clippy" >&2; exit 1; }
	@$(CARGO) deny --version >/dev/null 2>&1 || { \
	  echo "cargo-deny is not installed: building it, which takes some minutes once"; \
	  $(CARGO) install --locked cargo-deny; }
