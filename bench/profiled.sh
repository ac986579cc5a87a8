#!/usr/bin/env bash
# The binary that is meant to be deployed, target/profiled/mainstay: built once so that it counts what it does, put under the bench's
# load, and built again by those counts. The compiler then lays out and inlines what requests pass, and leaves the rest small.
# What was counted is used again as long as the counting binary stays the same.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
host=$(rustc -vV | sed -n 's/^host: //p')
profdata=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
work=$PWD/target/profiled
# Everything that a request may pass. What is not in it is taken for rare.
load=keep-alive-64,keep-alive-256,patterns,telemetry,short,tls-keep-alive,tls-resumed,tls-full,h2-tls,h2-clear,large

if [ ! -x "$profdata" ]; then
  echo "error: llvm-profdata, which belongs to the Rust toolchain, is not installed" >&2
  echo "  hint: rustup component add llvm-tools" >&2
  exit 1
fi

# With the target named, the flags are not for build scripts and macros. The second argument is a folder under target/profiled.
build() {
  RUSTFLAGS="${RUSTFLAGS:-} $1" "$cargo" build --locked --release --target "$host" --target-dir "$work/$2" \
    -p mainstay --bin mainstay
}

mkdir -p "$work"
echo "1 of 3: a binary that counts"
build "-Cprofile-generate=$work/counts" counting
counting=$work/counting/$host/release/mainstay
profile=$work/$(sha256sum "$counting" | cut -c1-16).profdata

if [ -f "$profile" ]; then
  echo "2 of 3: its counts are there from before"
else
  echo "2 of 3: it is put under load, for a minute"
  "$cargo" build --locked --release -p mainstay-bench
  rm -rf "$work/counts" "$work"/*.profdata "$work/built"
  ./target/release/mainstay-bench --mainstay "$counting" --proxies ours,ours-patterns,ours-telemetry --only "$load" --rounds 1 --seconds 2 \
    --results "$work/load" --work "$work/load"
  "$profdata" merge -o "$profile" "$work"/counts/*.profraw
fi

echo "3 of 3: the binary by these counts"
# A function that was compiled in two ways, of which one was counted, is no reason to warn.
build "-Cprofile-use=$profile -Cllvm-args=-no-pgo-warn-mismatch" built
cp "$work/built/$host/release/mainstay" "$work/mainstay"
echo "target/profiled/mainstay"
