"""The artifact of a version: whole, of this version, through the gate by its own figures, and its answers make sense."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from app.model import load_rating, load_serving
from app.recommender import SERVED, Recommender
from auto_deployment.common.errors import RefusedError
from auto_deployment.common.process import CommandError
from auto_deployment.evaluation.evaluate import Beside, Errors, Evaluation
from auto_deployment.evaluation.gate import decide

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.model import ServingModel
    from auto_deployment.evaluation.gate import Decision
    from scripts.check.place import Place

SAMPLED_USERS = 500
STRANGER = 2**63 - 1
FACTS = (
    *("format", "version", "trained_on", "data_creation", "data_md5", "data", "git_commit", "random_state"),
    *("rmse", "metrics", "trainer", "ranker", "packages"),
)
TOLD_TWICE = ("version", "trained_on", "git_commit")


def check(place: Place) -> list[str]:
    """What was found right. Raises RefusedError or ArtifactError for what is not."""
    place.require_as_named([place.model])
    model = load_serving(place.model)
    metadata, report = model.metadata, place.read(place.places.report(place.number))
    wrong = [*facts(metadata, report, place.number), *_code(place, str(metadata.get("git_commit")))]
    if wrong:
        raise RefusedError("; ".join(wrong))
    decision = decide_again(metadata, place.settings.rmse_limit, place.settings.champion_loss)
    wrong = [*gate(metadata, report, decision), *_numbers(place), *answers(model)]
    if wrong:
        raise RefusedError("; ".join(wrong))
    return [
        f"version {place.number} of {metadata['trained_on']}: the artifact is whole and as git names it",
        f"the gate decides again as it did: RMSE {decision.rmse:.3f}, {len(decision.checks)} checks passed",
        f"{len(model.users):,} users, {len(model.films):,} films; lists of users and of a stranger make sense",
    ]


def facts(metadata: Mapping[str, Any], report: Mapping[str, Any], number: int) -> list[str]:
    """What is wrong with a version's papers: the metadata, its report and version.txt tell the same. Pure."""
    lacking = [name for name in FACTS if name not in metadata]
    wrong = [f"metadata.json lacks {', '.join(lacking)}"] if lacking else []
    if metadata["version"] != number:
        wrong.append(f"the model is version {metadata['version']}, version.txt says {number}")
    told = [name for name in TOLD_TWICE if report.get(name) != metadata.get(name)]
    return [*wrong, *(f"{name}: report_{number}.json says {report.get(name)}, the model {metadata.get(name)}" for name in told)]


def decide_again(metadata: Mapping[str, Any], rmse_limit: float, champion_loss: str) -> Decision:
    """What the gate says to the figures that the version carries, with the limits of here. Raises RefusedError. Pure."""
    try:
        told = metadata["metrics"]["evaluation"]
        errors = {name: Errors(**told[name]) for name in ("model", "bias")}
        rival = Errors(**told["champion"]) if told["champion"] is not None else None
        rest = {name: value for name, value in told.items() if name != "chosen"}
        beside = Beside(*told["beside"]) if told.get("beside") else None
        evaluation = Evaluation(**{**rest, **errors, "champion": rival, "beside": beside})
        return decide(evaluation, rmse_limit, tuple(metadata["scale"]), champion_loss)
    except (KeyError, TypeError, ValueError) as error:
        raise RefusedError(f"metadata.json: no figures that the gate could judge ({error!r}): train again") from error


def gate(metadata: Mapping[str, Any], report: Mapping[str, Any], decision: Decision) -> list[str]:
    """What does not pass, or is not what the figures give. Pure."""
    told = {
        "metadata.json": metadata["rmse"],
        "its gate": metadata["metrics"]["gate"]["rmse"],
        "the report": report["gate"]["rmse"],
    }
    return [
        *decision.reasons,
        *(
            f"RMSE {value} in {where}, but the figures give {decision.rmse}"
            for where, value in told.items()
            if value != decision.rmse
        ),
    ]


def answers(model: ServingModel) -> list[str]:
    """What is wrong with what users would get: some hundreds of known ones, and one whom nobody has seen."""
    recommender, films = Recommender(model), set(model.films)
    step = max(len(model.users) // SAMPLED_USERS, 1)
    wrong = []
    for user in [*model.users[::step].tolist(), STRANGER]:
        body = recommender.recommend(user).body
        listed = body.split(",") if body else []
        if not 1 <= len(set(listed)) == len(listed) <= SERVED or not films.issuperset(listed):
            wrong.append(f"user {user} would get {body[:80]!r}")
    return [*recommender.problems(), *wrong[:3]]


def _numbers(place: Place) -> list[str]:
    arrays = load_rating(place.model)
    return [
        f"rating/{name}.npy holds values that are no numbers" for name, each in arrays.items() if not np.isfinite(each).all()
    ]


def _code(place: Place, commit: str) -> list[str]:
    """What is wrong with the commit that trained it: code that is to build it again must be in the branch."""
    try:
        place.git("merge-base", "--is-ancestor", commit, "HEAD")
    except CommandError:
        return [f"git_commit {commit} is not in this branch's history (in a shallow clone: fetch all of it)"]
    return []
