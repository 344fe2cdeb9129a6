#!/usr/bin/env bash
# Prints the path of a Python 3.11 to 3.14 of this machine. PYTHON in the environment names another one.
# Status 1 and one line on standard error if there is none.
set -Eeuo pipefail

fail() { # MESSAGE
  printf 'scripts/lib/python.sh: %s\n' "$1" >&2
  exit 1
}

fits() { # PYTHON
  "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null
}

version_of() { # PYTHON
  "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || printf 'no Python that runs'
}

# A name on PATH may be a shim for a version that is not installed: only a Python that runs and states its version counts.
main() {
  local candidate found=''
  if [[ -n ${PYTHON:-} ]]; then
    type -P -- "${PYTHON}" >/dev/null || fail "PYTHON=${PYTHON}: no such program"
    fits "${PYTHON}" || fail "PYTHON=${PYTHON} is $(version_of "${PYTHON}"), not 3.11 to 3.14"
    command -v -- "${PYTHON}"
    return
  fi
  for candidate in python3.13 python3.12 python3.11 python3.14 python3 python; do
    if fits "${candidate}"; then
      command -v -- "${candidate}"
      return
    fi
    command -v -- "${candidate}" >/dev/null && found+="${found:+, }${candidate} is $(version_of "${candidate}")"
  done
  fail "no Python 3.11 to 3.14 found${found:+ (${found})}: install one with its venv module, or name it with PYTHON=/path/to/python3"
}

main "$@"
