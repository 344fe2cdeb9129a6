"""`scripts/gitlab/deploy-cluster` with stand-ins for engine and cluster: what it changes and refuses, and when it ends."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

REGISTRY = "registry.example:5050"
IMAGE = f"{REGISTRY}/group/movierec"
DIGEST = f"sha256:{'0a' * 32}"
NEXT = f"{IMAGE}:model-7@{DIGEST}"
# It takes the login, and knows a digest of what was pushed, and one of the same image elsewhere.
DOCKER = f"""#!/usr/bin/env bash
echo "$*" >>calls
case "$1 $2" in
"login --username") read -r given; [[ $given == "a word" ]] || {{ echo "unauthorized" >&2; exit 1; }} ;;
"push --quiet") [[ -n $DOCKER_CONFIG && ! -f no-push ]] && {{ [[ ! -f newer.json ]] || cp newer.json rollout.json; }} ;;
"image inspect") printf 'elsewhere.example/movierec@sha256:1b\\n{IMAGE}@{DIGEST}\\n' ;;
"build --quiet") [[ ! -f no-build ]] ;;
esac
"""
# It answers for one Rollout, applies patches as RFC 6902 says, and has Argo's next status at each question for it.
KUBECTL = """#!/usr/bin/env python3
import json, pathlib, sys
verb, kind, name, *rest = sys.argv[1:]
file = pathlib.Path("rollout.json")
rollout = json.loads(file.read_text())
if (kind, name) != ("rollouts.argoproj.io", rollout["name"]):
    sys.exit(f"Error from server (NotFound): {kind} {name} not found")
if verb == "patch":
    for each in json.loads(rest[rest.index("--patch") + 1]):
        *path, key = [int(part) if part.isdigit() else part for part in each["path"].split("/")[1:]]
        place = rollout
        for part in path:
            place = place[part]
        if each["op"] == "test" and place[key] != each["value"]:
            sys.exit("Error from server (Invalid): the server rejected our request")
        place[key] = each["value"]
elif ".status" in rest[-1]:
    states = rollout["states"]
    print(states.pop(0) if len(states) > 1 else states[0], end="")
else:
    pod = rollout["spec"]["template"]["spec"]
    print(*(each["image"] for each in pod["containers"]), "--", *(each["image"] for each in pod["initContainers"]), sep="\\n")
file.write_text(json.dumps(rollout))
"""


class Runner:
    """A checkout with the command, in a job of the protected main."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder
        for name in ("scripts/gitlab/deploy-cluster", "scripts/lib/docker.sh"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, folder / name)
        for name, text in {"bin/docker": DOCKER, "bin/kubectl": KUBECTL, "data/version.txt": "7\n", "kubeconfig": ""}.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        self.set("2|2||Progressing|1|")

    def set(self, *states: str, present: str = f"{IMAGE}:model-6@{DIGEST}", name: str = "movierec-service") -> None:
        """The Rollout with the present image, and what Argo says of it later."""
        containers = [{"image": present}]
        sidecars = [{"image": present}, {"image": "other:1"}, {"image": present}]
        spec = {"template": {"spec": {"containers": containers, "initContainers": sidecars}}}
        (self.folder / "rollout.json").write_text(json.dumps({"name": name, "spec": spec, "states": states}))

    @property
    def images(self) -> list[str]:
        """Those of the Rollout's containers."""
        pod: dict[str, Any] = json.loads((self.folder / "rollout.json").read_text())["spec"]["template"]["spec"]
        return [each["image"] for part in ("containers", "initContainers") for each in pod[part]]

    @property
    def calls(self) -> list[str]:
        """What docker was asked."""
        return (self.folder / "calls").read_text().splitlines() if (self.folder / "calls").exists() else []

    def run(self, **variables: str) -> subprocess.CompletedProcess[str]:
        """The job's command."""
        given = {
            "CI_REGISTRY": REGISTRY,
            "CI_REGISTRY_IMAGE": IMAGE,
            "CI_REGISTRY_USER": "ci",
            "CI_REGISTRY_PASSWORD": "a word",
            "CI_COMMIT_REF_PROTECTED": "true",
            "KUBECONFIG": str(self.folder / "kubeconfig"),
            "DOCKER": str(self.folder / "bin" / "docker"),
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
        }
        return subprocess.run(
            ["scripts/gitlab/deploy-cluster"],
            env={**given, **variables},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def runner(tmp_path: Path, root: Path) -> Runner:
    """With version 7 in the checkout, and version 6 in the cluster."""
    return Runner(tmp_path, root)


def test_the_image_is_built_pushed_and_set_in_all_containers_that_had_it(runner: Runner) -> None:
    """With its digest; other containers keep theirs. The job ends when the canary serves."""
    ended = runner.run()
    assert ended.returncode == 0, ended.stderr
    assert [call.split()[0] for call in runner.calls] == ["build", "login", "push", "image"]
    assert runner.calls[0].startswith(f"build --quiet --tag {IMAGE}:model-7 --file")
    assert runner.images == [NEXT, NEXT, "other:1", NEXT]
    assert "the canary serves" in ended.stdout
    assert "a word" not in ended.stdout + ended.stderr + "".join(runner.calls)


@pytest.mark.parametrize(
    ("states", "status", "words"),
    [
        (("3|2||Healthy|7|", "3|3||Progressing|0|", "3|3||Progressing|1|"), 0, "the canary serves"),
        (("2|2||Healthy|7|",), 0, "the version is in service"),
        (
            ("2|2||Progressing||", "2|2|true|Degraded|0|RolloutAborted: verdict fail"),
            3,
            "taken back: RolloutAborted: verdict fail",
        ),
    ],
)
def test_the_job_waits_for_what_argo_says_of_the_new_image(
    runner: Runner, states: tuple[str, ...], status: int, words: str
) -> None:
    """A status from before the change does not count."""
    runner.set(*states)
    ended = runner.run()
    assert (ended.returncode, words in ended.stdout + ended.stderr) == (status, True), ended


def test_a_version_that_is_there_already_is_not_built_again(runner: Runner) -> None:
    """Another digest would begin another bake. The job, started again, says how far the rollout is."""
    present = f"{IMAGE}:model-7@sha256:{'1b' * 32}"
    runner.set("2|2||Paused|1|", present=present)
    ended = runner.run()
    assert ended.returncode == 0, ended.stderr
    assert "the Rollout has version 7 already" in ended.stdout
    runner.set("2|2|true|Degraded|0|RolloutAborted: verdict fail", present=present)
    assert runner.run().returncode == 3
    assert (runner.images[0], runner.calls) == (present, [])


def test_an_older_version_is_refused(runner: Runner) -> None:
    """A way back is Argo's."""
    runner.set("2|2||Healthy|7|", present=f"{IMAGE}:model-10")
    ended = runner.run()
    assert (ended.returncode, "version 10 is in the Rollout, and this is 7" in ended.stderr) == (3, True)
    assert runner.images[0] == f"{IMAGE}:model-10"


def test_an_image_that_somebody_sets_meanwhile_stays(runner: Runner) -> None:
    """A newer version, for example, while the job builds and pushes an older one."""
    newer = f"{IMAGE}:model-8@{DIGEST}"
    runner.set("2|2||Progressing|1|", present=newer)
    shutil.move(runner.folder / "rollout.json", runner.folder / "newer.json")
    runner.set("2|2||Healthy|7|")
    ended = runner.run()
    assert (ended.returncode, "If it has another image meanwhile, start the job again" in ended.stderr) == (1, True), ended
    assert runner.images == [newer, newer, "other:1", newer]


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"KUBECONFIG": ""}, "KUBECONFIG is not set"),
        ({"KUBECONFIG": "nowhere"}, "KUBECONFIG must be a variable of type File"),
        ({"CI_REGISTRY_PASSWORD": ""}, "CI_REGISTRY_PASSWORD is not set"),
        ({"CI_COMMIT_REF_PROTECTED": "false"}, "this branch is not protected"),
        ({"KUBE_ROLLOUT": "another"}, "the Rollout cannot be read: check KUBECONFIG and KUBE_ROLLOUT"),
        ({"CI_REGISTRY_PASSWORD": "wrong"}, f"{REGISTRY} refuses the login: unauthorized"),
    ],
)
def test_what_is_missing_is_named(runner: Runner, variables: dict[str, str], words: str) -> None:
    """And the Rollout keeps its image."""
    ended = runner.run(**variables)
    assert (ended.returncode, words in ended.stderr) == (1, True), ended.stderr
    assert NEXT not in runner.images


@pytest.mark.parametrize(("fault", "words"), [("no-build", "was not built"), ("no-push", "was not pushed")])
def test_an_image_that_is_not_in_the_registry_is_never_set(runner: Runner, fault: str, words: str) -> None:
    """Nodes could not pull it."""
    (runner.folder / fault).touch()
    ended = runner.run()
    assert (ended.returncode, words in ended.stderr) == (1, True), ended.stderr
    assert NEXT not in runner.images


def test_before_the_first_version_there_is_nothing_to_deploy(runner: Runner) -> None:
    """As on the server."""
    (runner.folder / "data" / "version.txt").write_text("0\n")
    ended = runner.run()
    assert (ended.returncode, "there is no version to release yet" in ended.stderr) == (3, True)
    assert runner.calls == []
