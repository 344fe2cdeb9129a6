#!/usr/bin/env bash
# Prints the path of a Python 3.11 to 3.14 of this machine. PYTHON in the environment names one and is tried first.
# Status 1, one line on standard error, where there is none.
set -Eeuo pipefail

# A name on PATH may be a shim for a version that is not installed: only a Python that runs and states its version counts.
main() {
  local candidate
  for candidate in "${PYTHON:-}" python3.13 python3.12 python3.11 python3.14 python3 python; do
    if [[ -n ${candidate} ]] &&
      "${candidate}" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then
      command -v -- "${candidate}"
      return
    fi
  done
  printf 'python: no Python 3.11 to 3.14 found: install one with its venv module, or name it with PYTHON=/path/to/python3\n' >&2
  return 1
}

main "$@"
