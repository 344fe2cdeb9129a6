#!/bin/sh
# NGINX, and beside it what keeps its log of tries within bounds: 20 old ones of about TRIES_LOG_MB each, the oldest go.
# Plain sh: the image has no bash.
set -eu

logs=/var/log/nginx
keep=20
bytes=$((${TRIES_LOG_MB:-100} * 1048576))

roll() {
  [ "$(stat -c %s "${logs}/tries.log")" -ge "${bytes}" ] || return 0
  mv "${logs}/tries.log" "${logs}/tries-$(date -u +%Y%m%dT%H%M%SZ).log"
  kill -USR1 "$(cat /tmp/nginx.pid)"
  # Names sort by time and hold no blanks.
  # shellcheck disable=SC2012
  ls -1r "${logs}"/tries-*.log | tail -n "+$((keep + 1))" | xargs -r rm -f
}

while sleep 30; do
  roll || echo "the log of tries cannot be rolled" >&2
done &

exec nginx -c /etc/movierec/nginx/nginx.conf
