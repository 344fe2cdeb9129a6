#!/usr/bin/env bash
# Writes the file system of debian:trixie-slim to the tar file that it is given, from this machine's own Debian source. As root.
set -Eeuo pipefail

ROOT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../../../../.." && pwd)"
readonly ROOT

main() {
  local sources
  type -P mmdebstrap >/dev/null || {
    printf 'mmdebstrap is not on PATH: install it (apt-get install mmdebstrap)\n' >&2
    exit 1
  }
  sources="$("${ROOT}/scripts/lib/debian-sources.sh" trixie)"
  # shellcheck disable=SC2016 # mmdebstrap's shell expands $1, the folder of the new system
  mmdebstrap --quiet --variant=minbase --include=ca-certificates \
    --aptopt='Acquire::Check-Valid-Until "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/var/log/*' \
    trixie "$1" - <<<"${sources}"
}

main "$@"
