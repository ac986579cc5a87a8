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

cargo fuzz build -s none
built=fuzz/target/$(rustc -vV | sed -n 's/^host: //p')/release

for target in config http1_head http1_chunked proxy_protocol database redis_answers hpack_decode http2_frames peer_frames fields admin; do
  echo "--- $target, $seconds s"
  mkdir -p "fuzz/corpus/$target" "fuzz/artifacts/$target"
  log="fuzz/artifacts/$target/log"
  if ! "$built/$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -max_total_time="$seconds" -max_len=16384 -timeout=5 \
    -rss_limit_mb=2048 -artifact_prefix="fuzz/artifacts/$target/" -print_final_stats=1 >"$log" 2>&1; then
    tail -n 60 "$log" >&2
    echo "error: $target failed; the input is in fuzz/artifacts/$target" >&2
    exit 1
  fi
  grep -E 'number_of_executed_units|new_units_added' "$log"
done
