#!/bin/sh
# Starts NGINX with a copy of the checkout's files, and bounds its logs: 20 old logs of tries of about TRIES_LOG_MB each, one
# old log of errors of 10 MB. The oldest are removed.
# start.sh reload: loads the checkout's present files, if they are valid. No request fails.
# Plain sh: the image has no bash.
set -eu

checkout=/etc/movierec/checkout copy=/etc/movierec/nginx place=/etc/movierec/place
logs=/var/log/nginx

if [ "${1:-}" = reload ]; then
  trial="$(mktemp -d)"
  trap 'rm -rf "${trial}"' EXIT
  cp -R "${checkout}" "${trial}/nginx"
  ln -s "${place}" "${trial}/place"
  nginx -t -q -c "${trial}/nginx/nginx.conf"
  cp -R "${trial}/nginx/." "${copy}"
  nginx -s reload -c "${copy}/nginx.conf"
  exit
fi

cp -R "${checkout}/." "${copy}"

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

exec nginx -c "${copy}/nginx.conf"
