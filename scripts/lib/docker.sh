#!/usr/bin/env bash
# Prints the docker client that the project calls: the first one that has compose 2.24 or newer and buildx.
# DOCKER in the environment names another client, which is not checked. Status 1 and one line on standard error if none is found.
# Every call of docker in the project uses it: from bash  DOCKER="$(scripts/lib/docker.sh)"; from Python  scripts.lib.images.docker.
set -Eeuo pipefail

readonly COMPOSE_LEAST=2.24
readonly ANSWER_SECONDS=20

# Debian's client is last in the list, but often the right one: PATH may have a client without plugins before it.
candidates() {
  type -aP docker || true
  printf '%s\n' /usr/bin/docker
}

has_compose() { # DOCKER
  local version
  version="$(timeout "${ANSWER_SECONDS}" "$1" compose version --short 2>/dev/null)" || return 1
  [[ "$(printf '%s\n' "${COMPOSE_LEAST}" "${version#v}" | sort --version-sort | head -n 1)" == "${COMPOSE_LEAST}" ]]
}

will_do() { # DOCKER
  [[ -x $1 ]] && has_compose "$1" && timeout "${ANSWER_SECONDS}" "$1" buildx version >/dev/null 2>&1
}

main() {
  local docker
  if [[ -n ${DOCKER:-} ]]; then
    type -P -- "${DOCKER}" && return
    printf 'docker: DOCKER=%s is no program: name a docker client, or unset it\n' "${DOCKER}" >&2
    return 1
  fi
  while read -r docker; do
    if will_do "${docker}"; then
      printf '%s\n' "${docker}"
      return
    fi
  done < <(candidates)
  printf 'docker: no client with compose %s or newer and buildx: scripts/dev engine installs one, on Debian as root\n' "${COMPOSE_LEAST}" >&2
  return 1
}

main "$@"
