#!/usr/bin/env bash
# Processes that outlive the command that starts them. engine.sh and cluster/names.sh source this file.

# Facts about a process that no later process with the same number has, not even after a reboot.
identity() { # PID
  local stat
  stat="$(cat "/proc/$1/stat" 2>/dev/null)" || return 1
  read -ra stat <<<"${stat##*) }"
  printf '%s %s %s\n' "$1" "${stat[19]}" "$(</proc/sys/kernel/random/boot_id)"
}

# Such a process must not inherit open files of the caller: a lock would never be free again.
close_inherited() {
  local fd
  for fd in "/proc/${BASHPID}/fd/"*; do
    fd="${fd##*/}"
    ((fd <= 2)) || exec {fd}>&-
  done
}
