#!/usr/bin/env bash
# Prints the path of a Chromium for the tests of the console. Where there is none it installs Debian's, as root.
# BROWSER in the environment names another one. Status 1 and one line on standard error if none is found.
set -Eeuo pipefail

readonly LOG=/var/log/movierec-browser-install.log

apt() { # ARGUMENTS...
  DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -qq -y -o DPkg::Lock::Timeout=300 "$@" </dev/null
}

main() {
  type -P -- "${BROWSER:-chromium}" && return
  if [[ -n ${BROWSER:-} || $(id -u) != 0 ]] || ! type -P apt-get >/dev/null; then
    printf 'browser: %s is not installed: install it, or run this as root on Debian\n' "${BROWSER:-chromium}" >&2
    return 1
  fi
  if ! { apt update && apt install --no-install-recommends chromium fonts-dejavu-core; } >"${LOG}" 2>&1; then
    printf 'browser: apt could not install chromium: %s (all of it: %s)\n' "$(grep -m 1 '^E:' "${LOG}" || tail -n 1 "${LOG}")" "${LOG}" >&2
    return 1
  fi
  type -P chromium
}

main "$@"
