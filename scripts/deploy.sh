#!/usr/bin/env bash
# The release: scripts/deploy.sh release|status [--json]|promote|abort|resume|rollback [N]. It acts on its own checkout.
# Only `release` may have to install packages first. The others begin at once with the installed packages, also after a broken upgrade.
# Status 0 done, 1 failed, 2 wrong use, 3 refused or aborted, 4 inconclusive, 75 another release holds the lock, 130 and 143 stopped.
set -Eeuo pipefail

ROOT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
readonly ROOT

fail() { # MESSAGE [STATUS]
  printf 'deploy.sh: %s\n' "$1" >&2
  exit "${2:-1}"
}

main() {
  case "${1:-}" in
  release | status | promote | abort | resume | rollback) ;;
  -h | --help | --version) exec "${ROOT}/scripts/run" --installed auto_deployment.release "$@" ;; # needs no engine
  *) fail 'use: scripts/deploy.sh release|status [--json]|promote|abort|resume|rollback [N]' 2 ;;
  esac
  cd -- "${ROOT}"
  [[ -f docker-compose.yml ]] || fail "${ROOT} is no checkout of the project: docker-compose.yml is missing"
  DOCKER="$(scripts/lib/docker.sh)" || fail 'no docker client will do: see above'
  export DOCKER
  case "${1}" in
  release) exec scripts/run auto_deployment.release "$@" ;;
  *) exec scripts/run --installed auto_deployment.release "$@" ;;
  esac
}

main "$@"
