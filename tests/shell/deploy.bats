#!/usr/bin/env bats
# scripts/deploy.sh: every subcommand where there is nothing to do, and every refusal. ROOT and PYTHON come from test_bats.py.

setup() {
  cd "${BATS_TEST_TMPDIR}"
  mkdir -p scripts/lib data .stack/release
  cp "${ROOT}/scripts/deploy.sh" scripts/
  cp "${ROOT}/scripts/lib/docker.sh" scripts/lib/
  # shellcheck disable=SC2016 # it is the stand-in that expands these
  printf '#!/usr/bin/env bash\necho "$*" >>calls\n[[ $1 != --installed ]] || shift\nexec "${PYTHON}" -m "$@"\n' >scripts/run
  printf '#!/usr/bin/env bash\necho "the engine is away" >&2\nexit 1\n' >docker
  chmod +x scripts/run docker
  touch docker-compose.yml
  echo 7 >data/version.txt
  export PYTHONPATH="${ROOT}" DOCKER="${BATS_TEST_TMPDIR}/docker" MYSQL_USER='' SMTP_HOST='' SLACK_WEBHOOK_URL=''
}

deploy() {
  scripts/deploy.sh "$@"
}

# The FIELDS of a state, as Python's keyword arguments.
put_state() {
  "${PYTHON}" -c "
from dataclasses import replace
from auto_deployment.release.services import FIRST
from auto_deployment.release.state import FOLDER, INITIAL, save
from auto_deployment.release.state_machine import ReleaseStep, Rollout
UNDER_WAY = Rollout('release', 7, 6, 'ann', 0.0, '7-x', ReleaseStep.BAKE, before=FIRST)
save(FOLDER, replace(INITIAL, since=1.0, $1))"
}

# Holds the lock as a running release does, until the test ends.
hold_lock() {
  (
    flock 9
    echo 'release of version 7 by ann, process 1 since then' >.stack/release/lock
    touch held
    sleep 30
  ) 9>>.stack/release/lock 3>&- &
  holder=$!
  until [[ -f held ]]; do sleep 0.05; done
}

teardown() {
  [[ -z ${holder:-} ]] || { pkill -P "${holder}" || true; }
}

# STATUS WORDS
ends_with() {
  echo "status ${status}: ${output}"
  [[ ${status} == "$1" && ${output} == *"$2"* ]]
}

@test "without a command it says how it is used" {
  run deploy
  ends_with 2 'use: scripts/deploy.sh release|status [--json]|promote|abort|resume|rollback [N]'
  [[ ${#lines[@]} == 1 ]]
}

@test "an unknown command, or option, is wrong use" {
  run deploy relaese
  ends_with 2 'use: scripts/deploy.sh'
  run deploy release --agian
  ends_with 2 '--agian'
}

@test "it acts on the checkout it stands in, and on nothing else" {
  rm docker-compose.yml
  run deploy status
  ends_with 1 'is no checkout of the project'
}

@test "without a docker client it says so" {
  DOCKER=no-such-docker run deploy status
  ends_with 1 'no-such-docker is no program'
}

@test "help and version need no docker client" {
  export DOCKER=no-such-docker
  run deploy --version
  [[ ${status} == 0 && ${output} == "$("${ROOT}/scripts/dev" --version)" ]]
  run deploy --help
  ends_with 0 'rollback'
}

@test "only a release may have to install packages first" {
  for command in release status promote abort resume rollback; do
    run deploy "${command}"
  done
  run grep -v -e --installed calls
  [[ ${output} == 'auto_deployment.release release' ]]
}

@test "abort and promote have nothing to do while nothing is under way" {
  run deploy abort
  ends_with 3 'no release is under way: there is nothing to abort'
  run deploy promote
  ends_with 3 'no release is under way: there is nothing to promote'
}

@test "resume has nothing to do while nothing is under way" {
  run deploy resume
  ends_with 0 'nothing is under way'
}

@test "there is no rollback before the second version" {
  run deploy rollback
  ends_with 3 'there is no version to roll back to'
}

@test "there is no rollback to a version whose image is gone" {
  put_state 'in_service=6, served=(5,)'
  run deploy rollback
  ends_with 3 'the image of version 5 is not on this machine (kept: 5)'
}

@test "there is no rollback to what is in service" {
  put_state 'in_service=6, served=(5,)'
  run deploy rollback 6
  ends_with 3 'version 6 is in service already'
}

@test "there is no rollback over a release that was broken off" {
  put_state 'in_service=6, served=(5,), under_way=UNDER_WAY'
  run deploy rollback
  ends_with 3 'resume or abort it first'
}

@test "a tree without a version is not released" {
  echo 0 >data/version.txt
  run deploy release
  ends_with 3 'there is no version to release yet'
  rm data/version.txt
  run deploy release
  ends_with 1 'version.txt'
}

@test "a version that was taken back is not released by itself" {
  put_state "in_service=6, taken_back={'7': 'aborted'}"
  run deploy release
  ends_with 3 'version 7 was aborted before, and is not released again by itself: --again does it'
}

@test "a version older than the one in service is not released" {
  put_state 'in_service=8'
  run deploy release
  ends_with 3 'rollback 7 goes back to it'
}

@test "a version in service is not released once more" {
  put_state 'in_service=7'
  run deploy release
  ends_with 0 'version 7 is in service already'
}

@test "a version without its model is not released" {
  put_state 'in_service=6'
  run deploy release
  ends_with 1 'names 7: run `dvc pull`'
}

@test "a second release is told who runs the first, and a rollback too" {
  put_state 'in_service=6, served=(5,), under_way=UNDER_WAY'
  hold_lock
  run deploy release
  ends_with 75 'release of version 7 by ann'
  run deploy rollback
  ends_with 75 'release of version 7 by ann'
  run deploy resume
  ends_with 75 'release of version 7 by ann'
}

@test "an abort is done when the running release has taken it" {
  put_state 'in_service=6, under_way=UNDER_WAY'
  hold_lock
  (until rm .stack/release/requests/abort.json 2>/dev/null; do sleep 0.1; done) 3>&- &
  run deploy abort
  ends_with 0 'the running release was asked: abort'
}

@test "a newer version is left with the running release" {
  put_state 'in_service=6, under_way=UNDER_WAY'
  echo 8 >data/version.txt
  hold_lock
  (until rm .stack/release/requests/release.json 2>/dev/null; do sleep 0.1; done) 3>&- &
  run deploy release
  ends_with 0 'the running release was asked: release'
}

@test "status tells what there is, even while the engine is away" {
  put_state "in_service=6, taken_back={'5': 'aborted'}, under_way=UNDER_WAY"
  hold_lock
  run deploy status
  ends_with 0 'in service    version 6, since 1970-01-01T00:00:01Z'
  ends_with 0 'release of version 7: bake'
  ends_with 0 'run by        release of version 7 by ann'
  [[ ${#lines[@]} -le 12 ]]
}

@test "status tells the same as data" {
  put_state 'in_service=6'
  run deploy status --json
  ends_with 0 '"in_service": 6'
  "${PYTHON}" -c 'import json, sys; json.loads(sys.argv[1])' "${output}"
}

@test "a damaged state is no fresh start" {
  echo '{' >.stack/release/state.json
  run deploy status
  ends_with 1 'state.json: cannot be read as JSON'
}
