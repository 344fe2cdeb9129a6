#!/usr/bin/env bash
# Prints an apt source (deb822) for the Debian suites that are its arguments, at the address of this machine's own Debian source.
set -Eeuo pipefail

main() {
  local uri
  uri="$(apt-get indextargets --format "\$(REPO_URI) \$(CODENAME)" 'Created-By: Packages' |
    awk '$2 !~ /-/ && $1 ~ /debian\/?$/ { print $1; exit }')"
  if [[ -z ${uri} ]]; then
    printf 'engine: this machine names no Debian package source: add one under /etc/apt/sources.list.d\n' >&2
    exit 1
  fi
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' "${uri}" "$*"
}

main "$@"
