#!/usr/bin/env bash
# The entry point of the mysql stand-in: what upstream's does with the variables that the stack uses.
# MYSQL_ROOT_PASSWORD, MYSQL_DATABASE, MYSQL_USER and MYSQL_PASSWORD, each also as NAME_FILE; MYSQL_ROOT_HOST (%).
set -Eeuo pipefail

readonly DATA=/var/lib/mysql
readonly SOCKET=/var/run/mysqld/mysqld.sock
readonly READY_SECONDS=120

fail() {
  printf '[entrypoint] %s\n' "$1" >&2
  exit 1
}

setting() { # NAME [DEFAULT]
  local file="$1_FILE"
  if [[ -n ${!file:-} ]]; then
    [[ -r ${!file} ]] || fail "${file} names ${!file}, which cannot be read"
    printf '%s' "$(<"${!file}")"
  else
    printf '%s' "${!1:-${2:-}}"
  fi
}

quoted() { # TEXT
  local text="${1//\\/\\\\}"
  printf "'%s'" "${text//\'/\'\'}"
}

first_statements() { # ROOT_PASSWORD
  local root_host user password database
  root_host="$(setting MYSQL_ROOT_HOST %)"
  user="$(setting MYSQL_USER)"
  password="$(setting MYSQL_PASSWORD)"
  database="$(setting MYSQL_DATABASE)"
  printf 'SET @@SESSION.SQL_LOG_BIN = 0;\n'
  [[ -z ${root_host} || ${root_host} == localhost ]] ||
    printf 'CREATE USER root@%s IDENTIFIED BY %s; GRANT ALL ON *.* TO root@%s WITH GRANT OPTION;\n' \
      "$(quoted "${root_host}")" "$(quoted "$1")" "$(quoted "${root_host}")"
  [[ -z ${database} ]] || printf "CREATE DATABASE IF NOT EXISTS \`%s\`;\n" "${database}"
  [[ -z ${user} ]] || printf "CREATE USER %s@'%%' IDENTIFIED BY %s;\n" "$(quoted "${user}")" "$(quoted "${password}")"
  [[ -z ${user} || -z ${database} ]] || printf "GRANT ALL ON \`%s\`.* TO %s@'%%';\n" "${database//_/\\_}" "$(quoted "${user}")"
  printf 'ALTER USER root@localhost IDENTIFIED BY %s;\n' "$(quoted "$1")"
}

wait_ready() { # PID
  for ((i = 0; i < READY_SECONDS * 5; i++)); do
    ! mysqladmin --protocol=socket --socket="${SOCKET}" -uroot ping >/dev/null 2>&1 || return 0
    kill -0 "$1" 2>/dev/null || fail 'mysqld ended before it answered: its messages stand above'
    sleep 0.2
  done
  fail "mysqld did not answer within ${READY_SECONDS} s"
}

initialise() { # MYSQLD ARGUMENTS...
  local password pid
  password="$(setting MYSQL_ROOT_PASSWORD)"
  [[ -n ${password} ]] || fail 'an empty database needs MYSQL_ROOT_PASSWORD or MYSQL_ROOT_PASSWORD_FILE'
  "$@" --initialize-insecure --default-time-zone=SYSTEM
  "$@" --daemonize=OFF --skip-networking --mysqlx=OFF --default-time-zone=SYSTEM --socket="${SOCKET}" &
  pid=$!
  wait_ready "${pid}"
  first_statements "${password}" | mysql --protocol=socket --socket="${SOCKET}" -uroot
  kill -TERM "${pid}"
  wait "${pid}" || fail 'mysqld did not end well after its first start'
}

main() {
  [[ ${1:-} != -* ]] || set -- mysqld "$@"
  if [[ ${1:-} == mysqld && ! -d ${DATA}/mysql ]]; then
    initialise "$@"
  fi
  exec "$@"
}

main "$@"
