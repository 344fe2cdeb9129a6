#!/usr/bin/env bash
# Starts the cluster that names.sh describes, from the cache that build.sh fills. stop.sh ends all of it, also a half-started one.
set -Eeuo pipefail

ROOT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../../.." && pwd)"
readonly ROOT
# shellcheck source=scripts/lib/cluster/names.sh
source "${ROOT}/scripts/lib/cluster/names.sh"

readonly VOLUMES_A_NODE=3

# ---- what the machine has before ---------------------------------------------------------------------------------------

# The kubelet sets these for the whole machine, and writes to these folders whatever its settings are.
readonly SYSCTLS=(vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes)
readonly FOLDERS=(/var/lib/cni /var/lib/kubelet /var/log/containers)

note_machine() {
  local folder
  sysctl -e "${SYSCTLS[@]}" >"${STATE}/sysctl" 2>/dev/null
  for folder in "${FOLDERS[@]}"; do
    [[ -e ${folder} ]] || printf '%s\n' "${folder}"
  done >"${STATE}/new-folders"
}

# ---- processes ---------------------------------------------------------------------------------------------------------

spawn() { # NODE NAME COMMAND...
  (cd / && close_inherited && exec setsid nsenter --net="/run/netns/$(netns "$1")" "${@:3}" >"${STATE}/log/$2.log" 2>&1 </dev/null) &
  printf '%s %s\n' "$2" "$(identity "$!")" >>"${PROCESSES}"
}

await() { # SECONDS WHAT LOG COMMAND...
  local until=$((SECONDS + $1))
  until "${@:4}" >/dev/null 2>&1; do
    ((SECONDS < until)) || fail "$2 within $1 s; the end of ${STATE}/log/$3.log: $(tail -n 1 -- "${STATE}/log/$3.log")"
    sleep 0.2
  done
}

# ---- the network -------------------------------------------------------------------------------------------------------

# No node has a default route: nothing can leave the machine. Rules of kube-proxy end with the node's namespace.
make_network() {
  local node other name
  ip netns add "$(netns switch)"
  ip -n "$(netns switch)" link add bridge type bridge
  ip -n "$(netns switch)" link set bridge up
  for node in "${NODES[@]}"; do
    name="$(netns "${node}")"
    ip netns add "${name}"
    ip link add "${node}" netns "$(netns switch)" type veth peer name eth0 netns "${name}"
    ip -n "$(netns switch)" link set "${node}" master bridge up
    ip -n "${name}" address add "$(node_address "${node}")/24" dev eth0
    ip -n "${name}" link set eth0 up
    ip -n "${name}" link set lo up
    ip -n "${name}" route add "${SERVICE_NET}" dev eth0
    for other in "${NODES[@]}"; do
      [[ ${other} == "${node}" ]] || ip -n "${name}" route add "$(pod_net "${other}")" via "$(node_address "${other}")"
    done
    nsenter --net="/run/netns/${name}" sysctl -q net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1
  done
  ip link add host netns "$(netns switch)" type veth peer name movierec0
  ip -n "$(netns switch)" link set host master bridge up
  ip address add "${NODE_NET}.1/24" dev movierec0
  ip link set movierec0 up
}

# ---- control groups ----------------------------------------------------------------------------------------------------

# All pods are in one control group, which would get as much processor time as one busy process of the machine, and start too late.
readonly TIMES_A_PROCESS=8

make_cgroups_v1() {
  local controller folder kind
  for controller in "${CONTROLLERS[@]}"; do
    [[ -d ${CGROUPS}/${controller} ]] || continue
    for folder in "${CGROUP}" "${NODES[@]/#/${CGROUP}/}"; do
      mkdir -p -- "${CGROUPS}/${controller}/${folder}"
    done
  done
  for folder in "${CGROUP}" "${NODES[@]/#/${CGROUP}/}"; do
    for kind in cpus mems; do # a new group of cpuset has no processor and no memory
      cat -- "${CGROUPS}/cpuset/cpuset.${kind}" >"${CGROUPS}/cpuset/${folder}/cpuset.${kind}"
    done
  done
  printf '%d' "$((1024 * TIMES_A_PROCESS))" >"${CGROUPS}/cpu/${CGROUP}/cpu.shares"
}

make_cgroups_v2() {
  local folder controller
  for folder in "" "/${CGROUP}" "${NODES[@]/#//${CGROUP}/}"; do
    mkdir -p -- "${CGROUPS}${folder}"
    for controller in cpuset cpu io memory pids; do
      printf '+%s' "${controller}" >"${CGROUPS}${folder}/cgroup.subtree_control" ||
        fail "the control group ${CGROUPS}${folder} cannot pass on ${controller}: a container without a cgroup namespace of its own can host no node"
    done
  done
  printf '%d' "$((100 * TIMES_A_PROCESS))" >"${CGROUPS}/${CGROUP}/cpu.weight"
}

# ---- control plane -----------------------------------------------------------------------------------------------------

api_is_ready() {
  [[ "$(kubectl get --raw /readyz --request-timeout 2s)" == ok ]]
}

start_control_plane() {
  local first="${NODES[0]}"
  # The data are thrown away at the stop, so nothing waits for the disk.
  spawn "${first}" etcd "${BIN}/kubernetes" etcd --data-dir "${STATE}/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
    --initial-cluster default=http://127.0.0.1:2380
  start_api
  await 120 'the API server did not answer' kube-apiserver api_is_ready
  spawn "${first}" kube-controller-manager "${BIN}/kubernetes" kube-controller-manager --kubeconfig "${PKI}/kube-controller-manager.conf" \
    --leader-elect=false --bind-address 127.0.0.1 --use-service-account-credentials --root-ca-file "${PKI}/ca.crt" \
    --service-account-private-key-file "${PKI}/service-accounts.key" \
    --cluster-signing-cert-file "${PKI}/ca.crt" --cluster-signing-key-file "${PKI}/ca.key" \
    --allocate-node-cidrs=false --node-monitor-period 2s --node-monitor-grace-period 20s
  spawn "${first}" kube-scheduler "${BIN}/kubernetes" kube-scheduler --kubeconfig "${PKI}/kube-scheduler.conf" \
    --leader-elect=false --bind-address 127.0.0.1
}

start_api() {
  spawn "${NODES[0]}" kube-apiserver "${BIN}/kubernetes" kube-apiserver --etcd-servers http://127.0.0.1:2379 \
    --bind-address 0.0.0.0 --secure-port 6443 --advertise-address "${API}" \
    --service-cluster-ip-range "${SERVICE_NET}" --service-node-port-range 8000-9000 --allow-privileged \
    --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction --client-ca-file "${PKI}/ca.crt" \
    --tls-cert-file "${PKI}/apiserver.crt" --tls-private-key-file "${PKI}/apiserver.key" \
    --kubelet-client-certificate "${PKI}/apiserver-kubelet.crt" --kubelet-client-key "${PKI}/apiserver-kubelet.key" \
    --kubelet-preferred-address-types InternalIP --service-account-issuer https://kubernetes.default.svc \
    --service-account-key-file "${PKI}/service-accounts.key" --service-account-signing-key-file "${PKI}/service-accounts.key"
}

# ---- nodes -------------------------------------------------------------------------------------------------------------

network_plugins() { # NODE
  cat <<CONFIG
{"cniVersion": "1.0.0", "name": "movierec", "plugins": [
  {"type": "bridge", "bridge": "pods", "isGateway": true, "hairpinMode": true, "ipMasq": false,
   "ipam": {"type": "host-local", "dataDir": "${STATE}/$1/addresses", "ranges": [[{"subnet": "$(pod_net "$1")"}]],
            "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
CONFIG
}

containerd_settings() { # NODE
  cat <<CONFIG
version = 3
root = "${STATE}/$1/containerd"
state = "${RUNTIME}/$1/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.blockfile", "io.containerd.nri.v1.nri", "io.containerd.internal.v1.tracing"]
[grpc]
address = "${RUNTIME}/$1/containerd.sock"
[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "docker.io/movierec-cluster/pause:1"
[plugins."io.containerd.cri.v1.runtime"]
disable_apparmor = true
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["${DEBIAN}/usr/lib/cni"]
conf_dir = "${STATE}/$1/plugins"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "${DEBIAN}/usr/sbin/runc"
SystemdCgroup = false
CONFIG
}

# failCgroupV1: this version refuses cgroup v1 otherwise. oomScoreAdj: a lower one needs a capability that containers lack.
kubelet_settings() { # NODE
  cat <<CONFIG
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
cgroupDriver: cgroupfs
cgroupRoot: /${CGROUP}/$1
containerRuntimeEndpoint: unix://${RUNTIME}/$1/containerd.sock
podLogsDir: ${STATE}/$1/pod-logs
volumePluginDir: ${STATE}/$1/volume-plugins
resolvConf: ${STATE}/resolv.conf
clusterDNS: [${DNS_SERVICE}]
clusterDomain: cluster.local
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: ${PKI}/ca.crt}}
authorization: {mode: Webhook}
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: "1%", imagefs.available: "1%", nodefs.inodesFree: "1%", imagefs.inodesFree: "1%"}
nodeStatusUpdateFrequency: 4s
maxPods: 60
CONFIG
}

start_containerd() { # NODE
  mkdir -p -- "${STATE}/$1"/{plugins,kubelet,pod-logs} "${RUNTIME}/$1"
  network_plugins "$1" >"${STATE}/$1/plugins/10-movierec.conflist"
  containerd_settings "$1" >"${STATE}/$1/containerd.toml"
  kubelet_settings "$1" >"${STATE}/$1/kubelet.yaml"
  PATH="${DEBIAN}/usr/bin:${DEBIAN}/usr/sbin:${PATH}" spawn "$1" "containerd-$1" "${DEBIAN}/usr/bin/containerd" -c "${STATE}/$1/containerd.toml" -l warn
}

start_node() { # NODE
  spawn "$1" "kubelet-$1" "${BIN}/kubernetes" kubelet --config "${STATE}/$1/kubelet.yaml" --kubeconfig "${PKI}/$1.conf" \
    --hostname-override "$1" --node-ip "$(node_address "$1")" --containerd "${RUNTIME}/$1/containerd.sock" \
    --root-dir "${STATE}/$1/kubelet" --cert-dir "${STATE}/$1/kubelet-pki"
  # The limits of connection tracking are the whole machine's: they stay as they are.
  spawn "$1" "kube-proxy-$1" "${BIN}/kubernetes" kube-proxy --kubeconfig "${PKI}/kube-proxy.conf" --proxy-mode iptables \
    --cluster-cidr "${POD_NET}.96.0/23" --hostname-override "$1" --conntrack-max-per-core 0 --conntrack-tcp-timeout-established 0 \
    --conntrack-tcp-timeout-close-wait 0 --metrics-bind-address 127.0.0.1:10249 --healthz-bind-address 127.0.0.1:10256
}

node_is_ready() { # NODE
  [[ "$(kubectl get node "$1" --output 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')" == True ]]
}

# A few volumes on each node's disk, for the default class: there is no program here that makes volumes on request.
volumes() {
  local node number folder
  printf '%s\n' 'apiVersion: storage.k8s.io/v1' 'kind: StorageClass' 'provisioner: kubernetes.io/no-provisioner' \
    'volumeBindingMode: WaitForFirstConsumer' \
    'metadata: {name: local, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}'
  for node in "${NODES[@]}"; do
    for ((number = 1; number <= VOLUMES_A_NODE; number++)); do
      folder="${STATE}/${node}/volumes/${number}"
      mkdir -p -- "${folder}"
      cat <<VOLUME
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: ${node}-${number}}
spec:
  capacity: {storage: 10Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: local
  local: {path: ${folder}}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [${node}]}]}]}}
VOLUME
    done
  done
}

# By its own roles. A client would write an object whole into an annotation of it, where the descriptions of its kinds are too large.
start_rollouts() {
  kubectl create namespace argo-rollouts >>"${STATE}/log/apply.log"
  kubectl apply --server-side --namespace argo-rollouts --filename "${ROLLOUTS_FILE}" >>"${STATE}/log/apply.log"
}

main() {
  local node imports=() import
  mkdir -p -- "${STATE}/log" "${RUNTIME}"
  : >"${PROCESSES}"
  note_machine
  printf 'nameserver %s\n' "${DNS_SERVICE}" >"${STATE}/resolv.conf"
  make_network
  if has_cgroup_v2; then make_cgroups_v2; else make_cgroups_v1; fi
  "${SOURCES}/certificates.sh"
  for node in "${NODES[@]}"; do
    start_containerd "${node}"
  done
  start_control_plane
  for node in "${NODES[@]}"; do
    await 60 "containerd of ${node} did not answer" "containerd-${node}" ctr "${node}" version
  done
  for node in "${NODES[@]}"; do
    for import in "${IMAGES}"/*.tar; do
      ctr "${node}" images import "${import}" >>"${STATE}/log/import-${node}.log" 2>&1 &
      imports+=("$!")
    done
  done
  for import in "${imports[@]}"; do
    wait "${import}" || fail "an image could not be imported: see ${STATE}/log"
  done
  for node in "${NODES[@]}"; do
    start_node "${node}"
  done
  for node in "${NODES[@]}"; do
    await 120 "${node} was not ready" "kubelet-${node}" node_is_ready "${node}"
  done
  kubectl apply --filename "${SOURCES}/dns.yaml" >"${STATE}/log/apply.log"
  volumes | kubectl apply --filename - >>"${STATE}/log/apply.log"
  start_rollouts
  await 60 'the DNS of the cluster did not answer' apply kubectl --namespace kube-system rollout status deployment/coredns --timeout 50s
  await 60 'Argo Rollouts did not start' apply kubectl --namespace argo-rollouts rollout status deployment/argo-rollouts --timeout 50s
}

main "$@"
