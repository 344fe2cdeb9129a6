#!/usr/bin/env bash
# scripts/dev chart [FOLDER]: writes the Helm chart with the project's files of NGINX, mtail and Prometheus: FOLDER/movierec (.cache/chart).
# The chart in kubernetes/movierec has no copies of them, so it cannot be installed as it is.
set -Eeuo pipefail

ROOT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)"
readonly ROOT

main() {
  local to="${1:-${ROOT}/.cache/chart}" aside
  mkdir -p -- "${to}"
  aside="$(mktemp -d -- "${to}/.movierec.XXXXXX")"
  # shellcheck disable=SC2064 # the name of now
  trap "rm -rf -- '${aside}'" EXIT
  chmod 755 "${aside}"
  cp -R -- "${ROOT}/kubernetes/movierec/." "${aside}"
  mkdir -p -- "${aside}/files/monitoring"
  cp -R -- "${ROOT}/nginx" "${aside}/files/nginx"
  cp -R -- "${ROOT}/monitoring/mtail" "${ROOT}/monitoring/prometheus" "${aside}/files/monitoring"
  rm -rf -- "${to}/movierec"
  mv -- "${aside}" "${to}/movierec"
  printf '%s\n' "${to}/movierec"
}

main "$@"
