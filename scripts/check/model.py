"""Checks the artifact of a version: complete, of this version, passes the gate by its own metrics, and gives sound lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from app.model import load_rating, load_serving
from app.recommender import SERVED, Recommender
from auto_deployment.common.errors import RefusedError
from auto_deployment.common.process import CommandError
from auto_deployment.evaluation.evaluate import Evaluation
from auto_deployment.evaluation.gate import decide

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.model import ServingModel
    from auto_deployment.evaluation.gate import Decision
    from scripts.check.checkout import Checkout

SAMPLED_USERS = 500
STRANGER = 2**63 - 1
REQUIRED = (
    *("format", "version", "trained_on", "data_creation", "data_md5", "data", "git_commit", "random_state"),
    *("rmse", "metrics", "trainer", "ranker", "packages"),
)
IN_REPORT_TOO = ("version", "trained_on", "git_commit")


def check(checkout: Checkout) -> list[str]:
    """A line for each check that passed. Raises RefusedError or ArtifactError for a failure."""
    checkout.require_as_named([checkout.model])
    model = load_serving(checkout.model)
    metadata, report = model.metadata, checkout.read(checkout.places.report(checkout.number))
    wrong = [*facts(metadata, report, checkout.number), *_code(checkout, str(metadata.get("git_commit")))]
    if wrong:
        raise RefusedError("; ".join(wrong))
    decision = decide_again(metadata, checkout.settings.rmse_limit, checkout.settings.champion_loss)
    wrong = [*gate(metadata, report, decision), *_numbers(checkout), *answers(model)]
    if wrong:
        raise RefusedError("; ".join(wrong))
    return [
        f"version {checkout.number} of {metadata['trained_on']}: the artifact is complete and has its checksum in git",
        f"the gate decides again as at the training: RMSE {decision.rmse:.3f}, {len(decision.checks)} checks passed",
        f"{len(model.users):,} users, {len(model.films):,} films; the lists of known users and of a new user are sound",
    ]


def facts(metadata: Mapping[str, Any], report: Mapping[str, Any], number: int) -> list[str]:
    """What is missing in the metadata, or differs between metadata, report and version.txt. Pure."""
    lacking = [name for name in REQUIRED if name not in metadata]
    wrong = [f"metadata.json lacks {', '.join(lacking)}"] if lacking else []
    if metadata["version"] != number:
        wrong.append(f"the model is version {metadata['version']}, version.txt says {number}")
    different = [name for name in IN_REPORT_TOO if report.get(name) != metadata.get(name)]
    return [
        *wrong,
        *(f"{name}: report_{number}.json says {report.get(name)}, the model {metadata.get(name)}" for name in different),
    ]


def decide_again(metadata: Mapping[str, Any], rmse_limit: float, champion_loss: str) -> Decision:
    """The gate's decision on the metrics in the metadata, with the limits of this checkout. Raises RefusedError. Pure."""
    try:
        evaluation = Evaluation.model_validate(metadata["metrics"]["evaluation"])
        return decide(evaluation, rmse_limit, tuple(metadata["scale"]), champion_loss)
    except (KeyError, TypeError, ValueError) as error:
        raise RefusedError(f"metadata.json: no metrics that the gate can use ({error!r}): train again") from error


def gate(metadata: Mapping[str, Any], report: Mapping[str, Any], decision: Decision) -> list[str]:
    """Failed checks of the gate, and stored RMSE values that differ from the decision. Pure."""
    stored = {
        "metadata.json": metadata["rmse"],
        "its gate": metadata["metrics"]["gate"]["rmse"],
        "the report": report["gate"]["rmse"],
    }
    return [
        *decision.reasons,
        *(
            f"RMSE {value} in {where}, but the metrics give {decision.rmse}"
            for where, value in stored.items()
            if value != decision.rmse
        ),
    ]


def answers(model: ServingModel) -> list[str]:
    """Unsound lists, of some hundreds of known users and of a new user."""
    recommender, films = Recommender(model), set(model.films)
    step = max(len(model.users) // SAMPLED_USERS, 1)
    wrong = []
    for user in [*model.users[::step].tolist(), STRANGER]:
        body = recommender.recommend(user).body
        listed = body.split(",") if body else []
        if not 1 <= len(set(listed)) == len(listed) <= SERVED or not films.issuperset(listed):
            wrong.append(f"user {user} would get {body[:80]!r}")
    return [*recommender.problems(), *wrong[:3]]


def _numbers(checkout: Checkout) -> list[str]:
    arrays = load_rating(checkout.model)
    return [f"rating/{name}.npy has values that are not finite" for name, each in arrays.items() if not np.isfinite(each).all()]


def _code(checkout: Checkout, commit: str) -> list[str]:
    """A problem if the commit of the training is not in the branch: its code must be able to build the version again."""
    try:
        checkout.git("merge-base", "--is-ancestor", commit, "HEAD")
    except CommandError:
        return [f"git_commit {commit} is not in this branch's history (in a shallow clone: fetch all of it)"]
    return []
