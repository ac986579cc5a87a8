#!/usr/bin/env bash
# Installs the Debian packages named in the file given, one a line, that this machine does not have.
set -euo pipefail
list=$1

missing=()
while read -r name _; do
  case "$name" in ''|'#'*) continue ;; esac
  if [ "$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null || true)" != installed ]; then
    missing+=("$name")
  fi
done < "$list"
[ "${#missing[@]}" -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
  echo "note: these Debian packages are needed: ${missing[*]}" >&2
  echo "  hint: install what holds the same programs on your distribution; whatever misses one will say which" >&2
  exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || {
    echo "error: not root, and sudo is not installed" >&2
    echo "  hint: as root, run: apt-get install ${missing[*]}" >&2
    exit 1
  }
  as_root=(sudo)
fi

install() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
}
echo "installing: ${missing[*]}"
# The lists of packages may be old or absent: they are fetched anew only when the first try fails.
if ! install >/dev/null 2>&1; then
  "${as_root[@]}" apt-get update -qq
  install
fi
