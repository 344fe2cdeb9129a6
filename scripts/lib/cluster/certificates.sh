#!/usr/bin/env bash
# Makes a certificate authority, a certificate for each program of the cluster, and the kubeconfig of each client.
# They are valid for 30 days, and every start of a cluster makes new ones.
set -Eeuo pipefail

ROOT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../../.." && pwd)"
readonly ROOT
# shellcheck source=scripts/lib/cluster/names.sh
source "${ROOT}/scripts/lib/cluster/names.sh"
readonly DAYS=30

make_key() { # NAME
  openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
}

certificate() { # NAME SUBJECT [OTHER_NAMES]
  make_key "$1"
  openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days "${DAYS}" -out "$1.crt" \
    -extfile <(printf 'extendedKeyUsage=clientAuth,serverAuth\n%s\n' "${3:+subjectAltName=$3}") 2>/dev/null
  rm -- "$1.csr"
}

kubeconfig() { # NAME
  cat <<CONFIG
apiVersion: v1
kind: Config
clusters: [{name: movierec, cluster: {server: "https://${API}:6443", certificate-authority: ${PKI}/ca.crt}}]
users: [{name: $1, user: {client-certificate: ${PKI}/$1.crt, client-key: ${PKI}/$1.key}}]
contexts: [{name: movierec, context: {cluster: movierec, user: $1}}]
current-context: movierec
CONFIG
}

main() {
  local name node names=kubernetes.default.svc
  umask 077
  mkdir -p -- "${PKI}"
  cd -- "${PKI}"
  make_key ca
  openssl req -x509 -new -key ca.key -subj /CN=movierec-cluster -days "${DAYS}" -out ca.crt
  certificate apiserver /CN=kube-apiserver \
    "DNS:kubernetes,DNS:kubernetes.default,DNS:${names},DNS:${names}.cluster.local,IP:127.0.0.1,IP:${API},IP:${API_SERVICE}"
  certificate apiserver-kubelet /O=system:masters/CN=kube-apiserver
  certificate admin /O=system:masters/CN=admin
  for name in kube-controller-manager kube-scheduler kube-proxy; do
    certificate "${name}" "/CN=system:${name}"
  done
  for node in "${NODES[@]}"; do
    certificate "${node}" "/O=system:nodes/CN=system:node:${node}"
  done
  make_key service-accounts
  for name in admin kube-controller-manager kube-scheduler kube-proxy "${NODES[@]}"; do
    kubeconfig "${name}" >"${name}.conf"
  done
  install -m 600 admin.conf "${KUBECONFIG_FILE}"
}

main "$@"
