#!/usr/bin/env bash
# Installs exactly what a lock names: scripts/lib/install-lock.sh PYTHON LOCK [ARGUMENTS OF pip install...]
# Every installation of Python packages in this project calls this script, so that none fetches newest versions:
# - No dependency is resolved. The lock is complete, and pip before 23.3 would resolve an extra such as coverage[toml].
# - Only wheels are installed, but for the packages in SOURCES. These are built with the setuptools of the same lock, because a
#   build in isolation fetches the newest setuptools.
# Status: 0 installed, 1 not installed (pip's message is on standard error), 2 wrong use.
set -Eeuo pipefail

readonly SOURCES=antlr4-python3-runtime,pyspark # they are published without a wheel
readonly SECONDS_AT_MOST=1800

# The lines of one package in a lock: its pin, then its hashes.
entry() { # PACKAGE LOCK
  awk -v pin="$1==" '/^[a-z0-9]/ { inside = index($0, pin) == 1 } inside && !/^ *#/' "$2"
}

install() { # PYTHON LOCK [ARGUMENTS...]
  timeout --foreground "${SECONDS_AT_MOST}" "$1" -m pip install -qq --disable-pip-version-check --no-input \
    --no-deps --require-hashes --only-binary :all: "${@:3}" -r "$2" >&2
}

main() {
  local python="${1:-}" lock="${2:-}"
  [[ $# -ge 2 && -r ${lock} ]] || {
    printf 'install-lock.sh: use: install-lock.sh PYTHON LOCK [ARGUMENTS OF pip install...], and LOCK is a readable file\n' >&2
    exit 2
  }
  if grep -qE "^(${SOURCES//,/|})==" "${lock}"; then
    install "${python}" <(entry setuptools "${lock}") "${@:3}" || exit 1
  fi
  install "${python}" "${lock}" --no-binary "${SOURCES}" --no-build-isolation --use-pep517 "${@:3}" || exit 1
}

main "$@"
