#!/usr/bin/env bash
# Ends what start.sh started, and puts the machine back: processes, mounts, network namespaces, control groups, sysctls, folders.
# It also ends a cluster that started halfway. Images and data of the cluster are gone afterwards; its logs and the cache stay.
set -Eeuo pipefail

ROOT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../../.." && pwd)"
readonly ROOT
# shellcheck source=scripts/lib/cluster/names.sh
source "${ROOT}/scripts/lib/cluster/names.sh"

readonly STOP_SECONDS=15

send() { # SIGNAL NAMES_AS_PATTERN
  local name pid rest
  while read -r name pid rest; do
    [[ ! ${name} =~ ^($2)$ ]] || kill "-$1" "${pid}" 2>/dev/null || true
  done < <(running)
}

await_end() { # NAMES_AS_PATTERN
  local until=$((SECONDS + STOP_SECONDS))
  while running | grep -qE "^($1) "; do
    ((SECONDS < until)) || return 0
    sleep 0.1
  done
}

# A shim outlives its containerd. Its command line has the socket of ours.
shims() {
  local folder
  for folder in /proc/[0-9]*; do
    [[ -r ${folder}/cmdline ]] || continue
    if tr '\0' ' ' 2>/dev/null <"${folder}/cmdline" | grep -qE "containerd-shim-runc-v2 .*${RUNTIME}/"; then
      printf '%s\n' "${folder#/proc/}"
    fi
  done
}

end_containers() {
  local node task shim
  for node in "${NODES[@]}"; do
    [[ -S ${RUNTIME}/${node}/containerd.sock ]] || continue
    while read -r task; do
      timeout 10 "${DEBIAN}/usr/bin/ctr" --address "${RUNTIME}/${node}/containerd.sock" --namespace k8s.io tasks rm --force "${task}" >/dev/null 2>&1 || true
    done < <(timeout 10 "${DEBIAN}/usr/bin/ctr" --address "${RUNTIME}/${node}/containerd.sock" --namespace k8s.io tasks ls --quiet 2>/dev/null || true)
  done
  while read -r shim; do
    kill -TERM "${shim}" 2>/dev/null || true
  done < <(shims)
}

end_processes() {
  send TERM 'kubelet-.*|kube-proxy-.*|kube-controller-manager|kube-scheduler'
  send KILL 'etcd|kube-apiserver' # their data are thrown away
  await_end 'kubelet-.*'
  end_containers
  send TERM '.*'
  await_end '.*'
  send KILL '.*'
  await_end '.*'
}

unmount_all() {
  local place
  while read -r place; do
    umount --lazy -- "${place}" 2>/dev/null || true
  done < <(awk -v state="${STATE}/" -v runtime="${RUNTIME}/" 'index($2, state) == 1 || index($2, runtime) == 1 { print $2 }' /proc/self/mounts | sort --reverse)
}

remove_network() {
  local name
  ip link delete movierec0 2>/dev/null || true
  for name in "${NODES[@]}" switch; do
    ip netns delete "$(netns "${name}")" 2>/dev/null || true
  done
}

remove_cgroups() {
  local folder
  for folder in "${CGROUPS}/${CGROUP}" "${CGROUPS}"/*/"${CGROUP}"; do
    [[ ! -d ${folder} ]] || find "${folder}" -depth -type d -exec rmdir {} \; 2>/dev/null || true
  done
}

restore_machine() {
  local folder
  [[ ! -s ${STATE}/sysctl ]] || sysctl -q -p "${STATE}/sysctl" >/dev/null
  if [[ -f ${STATE}/new-folders ]]; then
    while read -r folder; do
      rm -rf -- "${folder}"
    done <"${STATE}/new-folders"
  fi
  [[ ! -d /var/log/containers ]] || find /var/log/containers -xtype l -delete
}

main() {
  end_processes
  unmount_all
  remove_network
  remove_cgroups
  restore_machine
  rm -rf -- "${RUNTIME}"
  find "${STATE}" -mindepth 1 -maxdepth 1 ! -name lock ! -name log -exec rm -rf -- {} +
}

main "$@"
