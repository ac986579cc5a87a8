#!/usr/bin/env bash
# The long runs, one part after another: all of them, or those that are named (`tests/soak.sh cluster slow-link`). What a part prints
# is also kept in target/soak/PART.log. A part that fails stops no other; at the end stands how each ended and how long it took.
set -uo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
export MAINSTAY_SOAK=1 SOAK_SECONDS=${SOAK_SECONDS:-600} SOAK_ROUNDS=${SOAK_ROUNDS:-20}

parts=(load histories cluster groups addresses slow-link flapping databases database-load admin configurations upgrades)

# Tests of the workspace, built as `make test` builds them. The argument is the test, what follows goes to it.
tests() {
  local test=$1
  shift
  "$cargo" test --locked --workspace --test "$test" -- --nocapture "$@"
}

# Tests that know no rounds of their own, SOAK_ROUNDS times.
rounds() {
  local round
  for ((round = 1; round <= SOAK_ROUNDS; round++)); do
    echo "round $round of $SOAK_ROUNDS"
    tests "$1" --test-threads=1 || return 1
  done
}

part() {
  case $1 in
    load) # Services, endpoints and nodes that die under requests.
      "$cargo" build --locked --release -p mainstay &&
        ./target/release/mainstay demo --plain --duration "${SOAK_SECONDS}s" ;;
    histories) # What clients of a cluster under faults saw, checked for linearizability.
      "$cargo" test --locked --workspace --test histories seeded -- --nocapture ;;
    cluster) tests embedded ;;
    groups) # The model of a database group, deeper; optimised, since it is the states of it that take the time.
      "$cargo" test --locked --release -p mainstay-failover --test groups -- --nocapture ;;
    addresses) tests failover --test-threads=1 ;;
    slow-link) tests slow_link ;;
    flapping) # With what users run: an unoptimised build is slower by itself the more there is to be told.
      "$cargo" build --locked --release -p mainstay && MAINSTAY_BIN=$PWD/target/release/mainstay tests flapping ;;
    databases) # Whatever befalls a group.
      tests databases --test-threads=1 rows_that_were disks:: losses:: modes:: rejoin:: ;;
    database-load) tests databases load:: ;;
    admin) # The admin interface against its own description.
      "$cargo" test --locked --workspace --test access fuzzed -- --nocapture ;;
    configurations) rounds config_release ;;
    upgrades) rounds rolling_restart ;;
  esac
}

wanted=("$@")
[ "${#wanted[@]}" -gt 0 ] || wanted=("${parts[@]}")
for name in "${wanted[@]}"; do
  [[ " ${parts[*]} " == *" $name "* ]] || {
    echo "error: there is no part '$name' of the soak" >&2
    echo "  hint: the parts are: ${parts[*]}" >&2
    exit 2
  }
done

mkdir -p target/soak
"$cargo" build --locked --workspace --bins || exit 1
failed=0
summary=()
for name in "${wanted[@]}"; do
  echo "=== $name, part $((${#summary[@]} + 1)) of ${#wanted[@]}"
  begin=$SECONDS
  if part "$name" 2>&1 </dev/null | tee "target/soak/$name.log"; then result=ok; else result=FAILED failed=1; fi
  summary+=("$(printf '%-15s %-7s %6d s' "$name" "$result" $((SECONDS - begin)))")
  echo "=== ${summary[-1]}"
done
printf '\n'
printf '%s\n' "${summary[@]}"
exit "$failed"
