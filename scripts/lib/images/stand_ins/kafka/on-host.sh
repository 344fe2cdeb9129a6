#!/usr/bin/env bash
# Fetches the broker's jars into the folder that it is given, by this machine's Maven: the same ones as the tests' own broker.
set -Eeuo pipefail

ROOT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../../../../.." && pwd)"
readonly ROOT

main() {
  type -P mvn >/dev/null || {
    printf 'mvn is not on PATH: the jars are fetched by Maven, install it\n' >&2
    exit 1
  }
  mvn -q -B -f "${ROOT}/scripts/broker/pom.xml" dependency:copy-dependencies "-DoutputDirectory=$1/libs" >&2
}

main "$@"
