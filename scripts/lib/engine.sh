#!/usr/bin/env bash
# scripts/dev engine: makes sure that a Docker engine answers, with compose and buildx, and says what it did.
# scripts/dev engine --stop: stops the engine that this command started, and no other.
# Status 0 done, 1 failed, 2 wrong use, 75 another call holds the lock.
set -Eeuo pipefail

HERE="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
readonly HERE
# shellcheck source=scripts/lib/processes.sh
source "${HERE}/processes.sh"
readonly STATE=/var/lib/movierec-engine # the machine's, not a clone's: it has one engine
readonly PIDFILE=/run/docker.pid        # dockerd's own, so that no second dockerd starts
readonly LOG=/var/log/movierec-engine.log
readonly CONFIG=/etc/docker/daemon.json             # the machine's own settings, if it has any
readonly CONTAINERD=/run/containerd/containerd.sock # the path of every packaged engine, which cAdvisor uses
readonly LOCK_SECONDS=900
readonly READY_SECONDS=60
readonly STOP_SECONDS=60

fail() { # MESSAGE [STATUS]
  printf 'engine: %s\n' "$1" >&2
  exit "${2:-1}"
}

say() {
  printf 'engine: %s\n' "$1"
}

find_docker() {
  "${HERE}/docker.sh" 2>/dev/null
}

is_installed() {
  find_docker >/dev/null && type -P dockerd >/dev/null
}

answers() {
  local docker
  docker="$(find_docker)" || return 1
  timeout 10 "${docker}" version --format '{{.Server.Version}}' >/dev/null 2>&1
}

# A client without compose can still show that an engine runs. Then no second engine may start.
foreign_engine_answers() {
  timeout 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1
}

report() { # WHAT
  local docker
  docker="$(find_docker)"
  say "$1: $("${docker}" version --format '{{.Server.Version}}'), compose $("${docker}" compose version --short), $("${docker}" buildx version | cut -d ' ' -f 2) buildx; call it as ${docker}"
}

require_debian_root() {
  [[ -z ${DOCKER_HOST:-} ]] || fail "DOCKER_HOST names an engine that does not answer: start that one, or unset DOCKER_HOST"
  grep -qsxE 'ID="?debian"?' /etc/os-release || fail 'no engine answers, and only on Debian can this command install one: install and start Docker with compose 2.24 or newer'
  [[ ${EUID} == 0 ]] || fail 'no engine answers: start Docker, or run this as root to have one installed'
  ! foreign_engine_answers || fail 'an engine answers, but its client lacks compose 2.24 or newer, or buildx: install the two plugins'
}

hold_lock() {
  mkdir -p -- "${STATE}"
  exec 9>"${STATE}/lock"
  flock -w "${LOCK_SECONDS}" 9 || fail "another scripts/dev engine has been at work for $((LOCK_SECONDS / 60)) minutes: stop it and run this again" 75
}

ours_runs() {
  local pid
  read -r pid _ 2>/dev/null <"${STATE}/started" && [[ "$(identity "${pid}")" == "$(<"${STATE}/started")" ]]
}

# If /run is on a disk, then after a reboot any process may have dockerd's old number, and dockerd would refuse to start.
forget_stale() { # PIDFILE PROGRAM
  [[ ! -f $1 || "$(cat "/proc/$(<"$1")/comm" 2>/dev/null)" == "$2" ]] || rm -f -- "$1"
}

# Docker 29's default, so the store that users have.
settings() {
  if [[ -f ${CONFIG} ]]; then
    printf '%s\n' "${CONFIG}"
    return
  fi
  printf '{"features": {"containerd-snapshotter": true}}\n' >"${STATE}/daemon.json"
  printf '%s\n' "${STATE}/daemon.json"
}

# Started like this, dockerd runs its own containerd at another path. A link that exists earlier would prevent this.
link_containerd() {
  [[ -e ${CONTAINERD} ]] || { mkdir -p -- "${CONTAINERD%/*}" && ln -sfn ../docker/containerd/containerd.sock "${CONTAINERD}"; }
}

unlink_containerd() {
  [[ ! -L ${CONTAINERD} ]] || rm -f -- "${CONTAINERD}"
}

start_dockerd() {
  local pid config
  config="$(settings)"
  unlink_containerd
  forget_stale "${PIDFILE}" dockerd
  forget_stale /run/docker/containerd/containerd.pid containerd
  [[ ! -f ${LOG} ]] || mv -- "${LOG}" "${LOG}.1"
  (cd / && close_inherited && exec setsid dockerd --config-file "${config}" --pidfile "${PIDFILE}" >"${LOG}" 2>&1 </dev/null) &
  pid=$!
  identity "${pid}" >"${STATE}/started"
  for ((i = 0; i < READY_SECONDS * 4; i++)); do
    if answers; then
      link_containerd
      return
    fi
    kill -0 "${pid}" 2>/dev/null || fail "dockerd ended at once: $(tail -n 1 "${LOG}") (all of it: ${LOG})"
    sleep 0.25
  done
  fail "dockerd did not answer within ${READY_SECONDS} s: ${LOG} says why"
}

start() {
  local began=${SECONDS}
  if answers; then
    report 'uses the engine that is there'
    return
  fi
  require_debian_root
  hold_lock
  if answers; then
    report 'uses the engine that another call just started'
    return
  fi
  is_installed || "${HERE}/install-engine.sh"
  answers || start_dockerd
  report "started in $((SECONDS - began)) s"
  say "its log: ${LOG}; scripts/dev engine --stop stops it"
}

stop() {
  local pid
  [[ ${EUID} == 0 ]] || fail 'only root can stop an engine that root started'
  hold_lock
  if ! ours_runs; then
    rm -f -- "${STATE}/started"
    say 'this command started none that still runs: nothing to stop'
    return
  fi
  read -r pid _ <"${STATE}/started"
  kill -TERM "${pid}"
  for ((i = 0; i < STOP_SECONDS * 4; i++)); do
    if ! ours_runs; then
      rm -f -- "${STATE}/started"
      unlink_containerd
      say 'stopped; images and volumes are kept'
      return
    fi
    sleep 0.25
  done
  fail "dockerd (process ${pid}) has not ended within ${STOP_SECONDS} s: see ${LOG}"
}

main() {
  case "${*}" in
  '') start ;;
  --stop) stop ;;
  *) fail 'use: scripts/dev engine [--stop]' 2 ;;
  esac
}

main "$@"
