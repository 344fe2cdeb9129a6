#!/usr/bin/env bash
# Installs Debian's Docker engine, client, compose and buildx on a Debian machine, as root: called by engine.sh alone.
# The machine's own package sources stay as they are: trixie and sid are named in a folder of this command's, pinned low.
set -Eeuo pipefail

HERE="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
readonly HERE
SOURCES="$(mktemp -d)"
readonly SOURCES
trap 'rm -rf -- "${SOURCES}"' EXIT

apt() { # ARGUMENTS...
  DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -qq -y \
    -o "Dir::Etc::SourceParts=${SOURCES}/sources.d" -o "Dir::Etc::PreferencesParts=${SOURCES}/preferences.d" -o "Dir::State::Lists=${SOURCES}/lists" \
    -o Acquire::Check-Valid-Until=false -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold "$@" </dev/null
}

main() {
  local log="${SOURCES}/log"
  chmod 755 "${SOURCES}"
  mkdir -p "${SOURCES}/sources.d" "${SOURCES}/preferences.d" "${SOURCES}/lists/partial"
  cp -r /etc/apt/sources.list.d/. "${SOURCES}/sources.d"
  cp -r /etc/apt/preferences.d/. "${SOURCES}/preferences.d"
  "${HERE}/debian-sources.sh" trixie sid >"${SOURCES}/sources.d/movierec-engine.sources"
  printf 'Package: *\nPin: release n=%s\nPin-Priority: %s\n\n' trixie 90 sid 80 >"${SOURCES}/preferences.d/movierec-engine"
  printf 'engine: installs docker.io, docker-compose and docker-buildx from Debian (about half a minute)\n'
  if ! {
    apt update
    apt install --no-install-recommends -t trixie docker.io docker-cli containerd runc iptables mmdebstrap
    apt install --no-install-recommends docker-compose/sid docker-buildx/sid
  } >"${log}" 2>&1; then
    cp -- "${log}" /var/log/movierec-engine-install.log
    printf 'engine: apt could not install the engine: %s (all of it: /var/log/movierec-engine-install.log)\n' "$(grep -m 1 '^E:' "${log}" || tail -n 1 "${log}")" >&2
    exit 1
  fi
}

main "$@"
