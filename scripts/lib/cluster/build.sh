#!/usr/bin/env bash
# Fills the cache that names.sh names: binaries from Go modules, containerd and network plugins from Debian, and two images.
# What is there already is kept. Each part is built in a folder next to its place, and renamed.
set -Eeuo pipefail

ROOT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../../.." && pwd)"
readonly ROOT
# shellcheck source=scripts/lib/cluster/names.sh
source "${ROOT}/scripts/lib/cluster/names.sh"

readonly WORK="${CACHE}/work" LOG="${CACHE}/build.log"
readonly BUILD_SECONDS=2400
# Without optimisation the build takes a quarter less time. Nothing here needs fast code.
readonly FLAGS=(-p 2 -trimpath -buildvcs=false -gcflags 'all=-N -l')

run() { # WHAT COMMAND...
  timeout "${BUILD_SECONDS}" "${@:2}" >>"${LOG}" 2>&1 || fail "$1: $(tail -n 1 -- "${LOG}") (all of it: ${LOG})"
}

go_build() { # NAME PACKAGE LDFLAGS
  say "builds $1"
  run "$1 could not be built" nice -n 10 env GOGC=800 GOCACHE="${WORK}/go" GOFLAGS=-mod=mod CGO_ENABLED=0 \
    go build "${FLAGS[@]}" -ldflags "-s -w $3" -o "${WORK}/$1" "$2"
  mv -- "${WORK}/$1" "${BIN}/$1"
}

# The folder of a module in Go's own cache.
module() { # MODULE@VERSION
  (cd / && GOFLAGS=-mod=mod timeout 300 go mod download -json "$1" 2>>"${LOG}") | sed -nE 's/^\t"Dir": "(.*)",$/\1/p' | grep . ||
    fail "$1 could not be fetched: see ${LOG}"
}

# A module that requires NAME@VERSION, with the very versions that NAME itself was tested with.
wrap() { # FOLDER MODULE@VERSION
  local source
  source="$(module "$2")"
  mkdir -p -- "$1"
  install -m 644 -- "${source}/go.mod" "${source}/go.sum" "$1"
  cd -- "$1"
  go mod edit -module=movierec.test/wrap -require="$2"
}

build_kubernetes() {
  local library version="k8s.io/component-base/version" libraries=()
  wrap "${WORK}/kubernetes.d" "k8s.io/kubernetes@v${KUBERNETES}"
  # The module replaces each library with a folder of its own repository. The same library is published as v0.MINOR.PATCH.
  mapfile -t libraries < <(sed -nE 's/^\t(k8s\.io\/[a-z-]+) => \.\/staging\/.*/\1/p; s/^replace (k8s\.io\/[a-z-]+) => \.\/staging\/.*/\1/p' go.mod)
  for library in "${libraries[@]}"; do
    go mod edit -replace="${library}=${library}@v0.${KUBERNETES#*.}"
  done
  install -m 644 -- "${SOURCES}/kubernetes/main.go" .
  run 'the modules of Kubernetes could not be fetched' env GOFLAGS=-mod=mod go mod tidy
  go_build kubernetes . "-X ${version}.gitVersion=v${KUBERNETES} -X ${version}.gitMajor=1 -X ${version}.gitMinor=$(cut -d . -f 2 <<<"${KUBERNETES}") -X ${version}.gitTreeState=clean -X k8s.io/client-go/pkg/version.gitVersion=v${KUBERNETES}"
}

build_coredns() {
  wrap "${WORK}/coredns.d" "github.com/coredns/coredns@v${COREDNS}"
  run 'the modules of CoreDNS could not be fetched' env GOFLAGS=-mod=mod go get "k8s.io/client-go@v0.${KUBERNETES#*.}"
  install -m 644 -- "${SOURCES}/coredns/main.go" .
  go_build coredns . ''
}

build_helm() {
  wrap "${WORK}/helm.d" "helm.sh/helm/v3@v${HELM}"
  # Without a cluster, Helm checks a chart for the Kubernetes of these two numbers.
  go_build helm helm.sh/helm/v3/cmd/helm "-X helm.sh/helm/v3/internal/version.version=v${HELM} -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=$(cut -d . -f 2 <<<"${KUBERNETES}")"
}

build_rollouts-controller() {
  local of=github.com/argoproj/argo-rollouts
  wrap "${WORK}/rollouts.d" "${of}@v${ROLLOUTS}"
  go_build rollouts-controller "${of}/cmd/rollouts-controller" "-X ${of}/utils/version.version=${ROLLOUTS}"
}

# What its project installs, roles included, with the image that is made here.
rollouts_objects() {
  local file
  file="$(module "github.com/argoproj/argo-rollouts@v${ROLLOUTS}")/manifests/install.yaml"
  sed -E 's|^( +-? *)image: [^ ]+/argo-rollouts:latest$|\1image: movierec-cluster/rollouts-controller:1|; s|^( +imagePullPolicy: )Always$|\1Never|' "${file}" >"${WORK}/rollouts.yaml"
  grep -q 'image: movierec-cluster/rollouts-controller:1$' "${WORK}/rollouts.yaml" || fail "${file} has no image of the controller"
  mv -- "${WORK}/rollouts.yaml" "${ROLLOUTS_FILE}"
}

build_pause() {
  cd -- "${SOURCES}/pause"
  go_build pause main.go ''
}

# containerd, runc and the network plugins, unpacked and not installed: the engine's containerd stays as it is.
unpack_debian() {
  local apt="${WORK}/apt" options package
  say "unpacks containerd, runc and network plugins from Debian"
  mkdir -p -- "${apt}"/{sources,preferences,lists/partial,cache/archives/partial,packages} "${WORK}/debian"
  "${ROOT}/scripts/lib/debian-sources.sh" sid >"${apt}/sources/sid.sources"
  options=(-qq -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=${apt}/sources" -o "Dir::Etc::PreferencesParts=${apt}/preferences"
    -o "Dir::State::Lists=${apt}/lists" -o "Dir::Cache=${apt}/cache" -o Acquire::Check-Valid-Until=false -o APT::Sandbox::User=root)
  run 'apt could not read the package lists' apt-get "${options[@]}" update
  cd -- "${apt}/packages"
  run 'apt could not fetch containerd' apt-get "${options[@]}" download containerd/sid runc/sid containernetworking-plugins/sid
  for package in *.deb; do
    run "${package} could not be unpacked" dpkg -x "${package}" "${WORK}/debian"
  done
  mv -- "${WORK}/debian" "${DEBIAN}"
}

main() {
  local name user
  type -P go >/dev/null || fail 'Kubernetes is built from its Go modules, and there is no go on PATH: install Go 1.26 or newer'
  mkdir -p -- "${BIN}" "${IMAGES}" "${WORK}"
  [[ -d ${DEBIAN} ]] || (unpack_debian)
  for name in pause kubernetes coredns helm rollouts-controller; do
    [[ -x ${BIN}/${name} ]] || ("build_${name}")
  done
  printf '#!/bin/sh\nexec "%s" kubectl "$@"\n' "${BIN}/kubernetes" >"${WORK}/kubectl"
  chmod 755 "${WORK}/kubectl"
  mv -- "${WORK}/kubectl" "${BIN}/kubectl"
  [[ -f ${ROLLOUTS_FILE} ]] || (rollouts_objects)
  for name in pause coredns rollouts-controller; do
    # The controller's pod demands that its image names a user without rights.
    [[ ${name} == rollouts-controller ]] && user=999 || user=0
    [[ -f ${IMAGES}/${name}.tar ]] ||
      python3 "${SOURCES}/archive.py" "movierec-cluster/${name}:1" "${BIN}/${name}" "${IMAGES}/${name}.tar" "${user}"
  done
  rm -rf -- "${WORK}"
}

main "$@"
