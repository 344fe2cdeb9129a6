#!/bin/sh
# NGINX, and beside it what keeps its logs within bounds: of tries 20 old ones of about TRIES_LOG_MB each, of errors one of
# 10 MB; the oldest go.
# Plain sh: the image has no bash.
set -eu

logs=/var/log/nginx

roll() { # LOG MEGABYTES OLD_ONES
  [ "$(stat -c %s "${logs}/$1.log")" -ge "$(($2 * 1048576))" ] || return 0
  mv "${logs}/$1.log" "${logs}/$1-$(date -u +%Y%m%dT%H%M%SZ).log"
  kill -USR1 "$(cat /tmp/nginx.pid)"
  # Names sort by time and hold no blanks.
  # shellcheck disable=SC2012
  ls -1r "${logs}/$1"-*.log | tail -n "+$(($3 + 1))" | xargs -r rm -f
}

while sleep 30; do
  roll tries "${TRIES_LOG_MB:-100}" 20 || echo "the log of tries cannot be rolled" >&2
  roll errors 10 1 || echo "the log of errors cannot be rolled" >&2
done &

exec nginx -c /etc/movierec/nginx/nginx.conf
