#!/bin/sh
# Compiles the program, in a container that is thrown away: /recipe is this folder, /made what the Dockerfile takes.
set -eu
apt-get -qq update
apt-get -qq -y install -t sid golang-go
cd /recipe
GOTOOLCHAIN=local GOFLAGS=-mod=readonly CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o /made/cadvisor .
