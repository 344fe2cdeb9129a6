#!/usr/bin/env bash
# scripts/dev cluster: uses the cluster that kubectl reaches, or makes one of two nodes here (Debian, root), and says what it did.
# scripts/dev cluster --load IMAGE...: gives images of the Docker engine to every node of the cluster that was made here.
# scripts/dev cluster --stop: ends the cluster that was made here, and no other, and restores what it changed on the machine.
# Status 0 done, 1 failed, 2 wrong use, 75 another call holds the lock.
set -Eeuo pipefail

ROOT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)"
readonly ROOT
# shellcheck source=scripts/lib/cluster/names.sh
source "${ROOT}/scripts/lib/cluster/names.sh"

readonly LOCK_SECONDS=2400

answers() { # KUBECTL...
  [[ "$(timeout 10 "$@" get --raw /readyz 2>/dev/null)" == ok ]]
}

ours_answers() {
  [[ -f ${KUBECONFIG_FILE} ]] && answers "${BIN}/kubernetes" kubectl --kubeconfig "${KUBECONFIG_FILE}"
}

require_host() {
  grep -qsxE 'ID="?debian"?' /etc/os-release || fail 'kubectl reaches no cluster, and only on Debian can this command make one: point kubectl to a cluster'
  [[ ${EUID} == 0 ]] || fail 'kubectl reaches no cluster, and only root can make one here: point kubectl to a cluster, or run this as root'
  [[ "$(uname -m)" == x86_64 ]] || fail "this machine is $(uname -m), and only for x86_64 can this command make a cluster: point kubectl to a cluster"
  [[ -e /proc/sys/net/bridge/bridge-nf-call-iptables ]] || modprobe br_netfilter 2>/dev/null ||
    fail 'this kernel has no br_netfilter, so no node can reach a Service: point kubectl to a cluster'
  ip netns add movierec-probe 2>/dev/null || fail 'this machine lets root make no network namespace: point kubectl to a cluster'
  ip netns delete movierec-probe
  has_cgroup_v2 || [[ -w ${CGROUPS}/memory && -w ${CGROUPS}/cpuset ]] ||
    fail "the control groups under ${CGROUPS} cannot be written: point kubectl to a cluster"
}

# Debian's own: kube-proxy calls iptables, and containerd needs the C library that the engine's packages bring.
require_programs() {
  local program
  for program in ip nsenter openssl sysctl; do
    type -P "${program}" >/dev/null || fail "${program} is missing: apt-get install iproute2 util-linux openssl procps"
  done
  if ! type -P iptables >/dev/null || dpkg --compare-versions "$(dpkg-query --show --showformat '${Version}' libc6)" lt 2.38; then
    "${ROOT}/scripts/lib/install-engine.sh"
  fi
}

hold_lock() {
  mkdir -p -- "${STATE}"
  exec 9>"${STATE}/lock"
  flock -w "${LOCK_SECONDS}" 9 || fail "another scripts/dev cluster has been at work for $((LOCK_SECONDS / 60)) minutes: stop it and run this again" 75
}

report() { # WHAT
  say "$1: $(kubectl version --output yaml | sed -nE '/^serverVersion/,$ s/^  gitVersion: //p'), $(kubectl get nodes --no-headers | wc -l) nodes, at ${API}"
  say "to use it: export KUBECONFIG=${KUBECONFIG_FILE} PATH=${BIN}:\${PATH}"
  say "scripts/dev cluster --stop ends it"
}

start() {
  local began=${SECONDS}
  if type -P kubectl >/dev/null && answers kubectl; then
    say "uses the cluster that kubectl reaches: $(type -P kubectl), context $(command kubectl config current-context)"
    return
  fi
  require_host
  hold_lock
  require_programs
  "${SOURCES}/build.sh"
  if ours_answers; then
    report 'uses the cluster that was made here'
    return
  fi
  "${SOURCES}/stop.sh" # what a reboot or an interrupted start left
  if ! "${SOURCES}/start.sh"; then
    "${SOURCES}/stop.sh"
    fail "the cluster did not start: see above; its logs are in ${STATE}/log"
  fi
  report "made in $((SECONDS - began)) s"
}

load() { # IMAGE...
  local docker image archive node
  [[ -f ${KUBECONFIG_FILE} ]] || fail 'no cluster was made here: scripts/dev cluster makes one'
  docker="$("${ROOT}/scripts/lib/docker.sh")" || exit 1
  archive="$(mktemp --tmpdir="${STATE}")"
  # shellcheck disable=SC2064 # the name of now
  trap "rm -f -- '${archive}'" EXIT
  timeout 300 "${docker}" save --output "${archive}" "$@" || fail 'the engine could not write the images: see above'
  for node in "${NODES[@]}"; do
    ctr "${node}" images import "${archive}" >/dev/null || fail "${node} could not take the images: see above"
  done
  for image in "$@"; do
    say "every node has ${image}"
  done
}

stop() {
  [[ ${EUID} == 0 ]] || fail 'only root can stop a cluster that root made'
  hold_lock
  if [[ ! -f ${PROCESSES} ]]; then
    say 'none was made here: nothing to stop'
    return
  fi
  "${SOURCES}/stop.sh"
  say "ended, and the machine is as before; the binaries stay in ${CACHE}"
}

main() {
  local use='use: scripts/dev cluster [--stop | --load IMAGE...]'
  case "$#:${1:-}" in
  0:) start ;;
  1:--stop) stop ;;
  1:--load) fail "${use}" 2 ;;
  *:--load) load "${@:2}" ;;
  *) fail "${use}" 2 ;;
  esac
}

main "$@"
