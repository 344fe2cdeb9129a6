#!/usr/bin/env bash
# Versions, places and addresses of the cluster that scripts/dev cluster makes. The scripts next to this file source it.
# shellcheck disable=SC2034,SC2154 # the scripts that source this file have ROOT, and use the names

# shellcheck source=scripts/lib/processes.sh
source "${ROOT}/scripts/lib/processes.sh"

readonly KUBERNETES=1.35.4 COREDNS=1.14.7 HELM=3.22.0 ROLLOUTS=1.10.1
readonly SOURCES="${ROOT}/scripts/lib/cluster"
# A changed source is another version, so a cache never has a binary of an older source.
VERSION="${KUBERNETES}-$({ printf '%s\n' "${COREDNS}" "${HELM}" "${ROLLOUTS}" && cat -- "${SOURCES}/build.sh" "${SOURCES}/archive.py" "${SOURCES}"/*/main.go; } | sha256sum | cut -c 1-12)"
readonly VERSION
readonly CACHE="${XDG_CACHE_HOME:-${HOME}/.cache}/movierec-cluster/${VERSION}"
readonly BIN="${CACHE}/bin" DEBIAN="${CACHE}/debian" IMAGES="${CACHE}/images" ROLLOUTS_FILE="${CACHE}/rollouts.yaml"

# The machine's, not a clone's: a machine has one cluster.
readonly STATE=/var/lib/movierec-cluster RUNTIME=/run/movierec-cluster
readonly PKI="${STATE}/pki" PROCESSES="${STATE}/processes" KUBECONFIG_FILE="${STATE}/admin.conf"
readonly CGROUP=movierec-cluster CGROUPS=/sys/fs/cgroup
readonly CONTROLLERS=(cpu cpuacct cpuset memory pids devices freezer blkio systemd)

# Each node is a network namespace. A bridge in a namespace of its own joins the nodes, and `movierec0` leads from the host to it.
readonly NODES=(node-1 node-2)
readonly NODE_NET=10.213.98 POD_NET=10.213 SERVICE_NET=10.213.99.0/24 API_SERVICE=10.213.99.1 DNS_SERVICE=10.213.99.10
readonly API="${NODE_NET}.11"

fail() { # MESSAGE [STATUS]
  printf 'cluster: %s\n' "$1" >&2
  exit "${2:-1}"
}

say() {
  printf 'cluster: %s\n' "$1"
}

netns() { # NODE
  printf 'movierec-%s\n' "$1"
}

node_address() { # NODE
  printf '%s.%d\n' "${NODE_NET}" "$((10 + ${1#node-}))"
}

# 10.213.96.0/24 of the first node, and 10.213.97.0/24 of the second.
pod_net() { # NODE
  printf '%s.%d.0/24\n' "${POD_NET}" "$((95 + ${1#node-}))"
}

has_cgroup_v2() {
  [[ "$(stat -fc %T "${CGROUPS}")" == cgroup2fs ]]
}

kubectl() {
  "${BIN}/kubernetes" kubectl --kubeconfig "${KUBECONFIG_FILE}" "$@"
}

ctr() { # NODE ARGUMENTS...
  "${DEBIAN}/usr/bin/ctr" --address "${RUNTIME}/$1/containerd.sock" --namespace k8s.io "${@:2}"
}

# The lines "NAME PID ..." of the processes that scripts/dev cluster started and that still run.
running() {
  local name rest
  [[ -f ${PROCESSES} ]] || return 0
  while read -r name rest; do
    [[ "$(identity "${rest%% *}" || true)" != "${rest}" ]] || printf '%s %s\n' "${name}" "${rest}"
  done <"${PROCESSES}"
}
