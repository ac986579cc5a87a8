#!/usr/bin/env bash
# Runs every fuzz target for SECONDS_EACH (20) seconds, starting from the seeds. The stable toolchain has no sanitizers, so the
# targets run with coverage only (-s none): panics, overflows and hangs are what they look for.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${SECONDS_EACH:-20}

if ! cargo fuzz --version >/dev/null 2>&1; then
  echo "error: cargo-fuzz is not installed" >&2
  echo "  hint: cargo install cargo-fuzz --locked" >&2
  exit 1
fi

for target in config http1_head http1_chunked; do
  mkdir -p "fuzz/corpus/$target"
  cargo fuzz build -s none "$target"
  cargo fuzz run -s none "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
    -max_total_time="$seconds" -max_len=16384 -timeout=5 -rss_limit_mb=2048 -print_final_stats=1
done
