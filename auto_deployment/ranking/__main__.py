"""`scripts/dev evaluate TRAIN.csv TEST.csv [--latest N] [--cold] [--dump FILE]`: every ranker's metrics on tables of ratings.

Tables of `user_id,movie_id,rating,timestamp`. Every choice is made inside TRAIN. The table also has EASE as published (seen or
not, ridge 300), as a baseline for our rankers.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from auto_deployment.common.blas import one_thread
from auto_deployment.common.errors import RunError, WrongUseError
from auto_deployment.common.json_file import replacing
from auto_deployment.common.output import keep_output
from auto_deployment.common.progress import Progress
from auto_deployment.common.settings import load_settings
from auto_deployment.ranking.cold_start_evaluation import HISTORIES, evaluate_cold_start
from auto_deployment.ranking.ease import Ease
from auto_deployment.ranking.metrics import interval, lists_of, user_metrics
from auto_deployment.ranking.model_selection import count_steps
from auto_deployment.ranking.offline_evaluation import measure
from auto_deployment.ranking.ranker import NONE
from auto_deployment.ranking.ranker_factory import RankerFactory
from auto_deployment.ranking.rating_files import read_task
from auto_deployment.ranking.scorers import ByScores
from auto_deployment.training.latest import latest_rows
from auto_deployment.training.surprise_svd import SurpriseSVD
from auto_deployment.training.trainers import resolve, trainer_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from auto_deployment.common.settings import TrainingSettings
    from auto_deployment.ranking.metrics import Interval, UserMetrics
    from auto_deployment.ranking.offline_evaluation import OfflineEvaluation
    from auto_deployment.ranking.rating_files import Task
    from auto_deployment.training.rating_model import Trainer

BASELINE_RIDGE = 300.0


def main(arguments: Sequence[str]) -> int:
    """The command. Returns the exit status, see docs/operations.md."""
    keep_output()
    parser = argparse.ArgumentParser(prog="scripts/dev evaluate", description=__doc__)
    parser.add_argument("train", type=Path, metavar="TRAIN.csv")
    parser.add_argument("test", type=Path, metavar="TEST.csv")
    parser.add_argument("--dump", type=Path, metavar="FILE", help="the chosen ranking: user<TAB>id,id,... (top 20) a line")
    parser.add_argument("--latest", type=_positive, metavar="N", help="train on the latest N films of each user of TRAIN")
    parser.add_argument("--cold", action="store_true", help="also the metrics of users whose histories are cut to a few films")
    options = parser.parse_args(arguments)
    try:
        settings = load_settings()
        if options.dump is not None:
            _require_place(options.dump)
        task, measured = _run(options.train, options.test, options.latest, settings)
        if options.cold:
            _print(cold_report_lines(task, measured, settings))
        if options.dump is not None:
            _dump(options.dump, task, measured, settings)
    except (RunError, OSError) as error:
        sys.stderr.write(f"evaluate: {error}\n")
        return error.status if isinstance(error, RunError) else 1
    return 0


@one_thread()
def _run(train: Path, test: Path, latest: int | None, settings: TrainingSettings) -> tuple[Task, OfflineEvaluation]:
    """The task, its training part cut to the `latest` films of each user, and its metrics."""
    task = read_task(train, test)
    whole = task.train
    if latest is not None:
        rated, _ = latest_rows(whole.ratings, whole.watches, latest)
        task = task._replace(train=replace(whole, ratings=whole.ratings[rated]))
    trainer = _trainer(task, settings)
    with Progress(sys.stderr).task("evaluate", count_steps(), "trials") as shown:
        measured = measure(task.train, task.test, trainer, settings.random_state, shown.advance, whole=whole)
    baseline = _baseline(task, measured)
    _print(report_lines(measured, baseline, settings.random_state))
    return task, measured


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of films, 1 or more")
    return int(text)


def _trainer(task: Task, settings: TrainingSettings) -> Trainer:
    name, _ = resolve(settings.trainer, len(task.train.ratings))
    return trainer_of(name, settings.spark_master)


def _print(lines: Sequence[str]) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)


def report_lines(measured: OfflineEvaluation, baseline: UserMetrics, seed: int) -> list[str]:
    """Each ranker's metrics as text, with intervals over users, and the differences from popularity and plain EASE."""
    rankers = {**measured.per_user, "ease-300": baseline}
    popular = measured.per_user["popularity"]
    drawn = f", evenly drawn of {measured.users:,}" if len(popular.users) < measured.users else ""
    lines = [
        f"{len(popular.users):,} users of TRAIN with a relevant test film{drawn}; "
        f"{measured.absent_users:,} users of TEST are not in TRAIN and are left out",
        f"chosen inside TRAIN: {measured.choice.ranker}, {measured.choice.tuning}",
    ]
    for name, each in rankers.items():
        lines += [
            f"{name:10} NDCG@10   {_interval_text(interval(each.ndcg, seed))}"
            f"   - popularity {_interval_text(interval(each.ndcg - popular.ndcg, seed), '+')}"
            f"   - ease-300 {_interval_text(interval(each.ndcg - baseline.ndcg, seed), '+')}",
            f"{'':10} Recall@20 {_interval_text(interval(each.recall, seed))}"
            f"   - popularity {_interval_text(interval(each.recall - popular.recall, seed), '+')}"
            f"   - ease-300 {_interval_text(interval(each.recall - baseline.recall, seed), '+')}",
        ]
    return lines


@one_thread()
def cold_report_lines(task: Task, measured: OfflineEvaluation, settings: TrainingSettings) -> list[str]:
    """The chosen ranker and popularity for users with short histories, as text."""
    lines, trainer, seed = [], _trainer(task, settings), settings.random_state
    for most in HISTORIES:
        ours, popular = evaluate_cold_start(task.train, task.test, measured.choice, trainer, most, seed)
        if not len(ours.users):
            return ["no user with a short history has a relevant test film"]
        lines += [
            f"{most} films known: Recall@20 {_interval_text(interval(ours.recall, seed))}"
            f"   - popularity {_interval_text(interval(ours.recall - popular.recall, seed), '+')}"
            f"   NDCG@10 {ours.ndcg.mean():.4f}, popularity {popular.ndcg.mean():.4f}"
        ]
    return lines


def _interval_text(found: Interval | None, sign: str = "") -> str:
    return "none" if found is None else f"{found.mean:{sign}.4f} ({found.low:{sign}.4f} to {found.high:{sign}.4f})"


def _baseline(task: Task, measured: OfflineEvaluation) -> UserMetrics:
    """The metrics of EASE as published for the measured users: every rated film counts as 1."""
    train = task.train
    everything = replace(train.ratings, stars=np.full_like(train.ratings.stars, train.scale[1]))
    taste = replace(train, ratings=everything).taste()
    popularity = RankerFactory(train, SurpriseSVD(), 0).popularity(None)
    ranker, users = (
        ByScores("ease-300", [(Ease(taste, BASELINE_RIDGE), 1.0)], popularity),
        measured.per_user["popularity"].users,
    )
    relevant = task.test[task.test.stars >= train.liked_from]
    return user_metrics(users, lists_of(ranker, users, measured.seen), relevant)


def _require_place(path: Path) -> None:
    """Check the place of the dump before the work, not after. Raises WrongUseError."""
    place = path if path.exists() and _is_stream(path) else path.parent
    if path.is_dir() or not place.exists() or not os.access(place, os.W_OK):
        raise WrongUseError(f"{path}: no file can be written there: name one in a folder that is there and yours to write in")


@one_thread()
def _dump(path: Path, task: Task, measured: OfflineEvaluation, settings: TrainingSettings) -> None:
    factory = RankerFactory(task.train, _trainer(task, settings), settings.random_state)
    ranker = factory.make(measured.choice.ranker, measured.choice.tuning)
    lists = lists_of(ranker, np.arange(len(task.users), dtype=np.int32), measured.seen)
    rows = zip(task.users, lists.tolist(), strict=True)
    _write(path, (f"{user}\t{','.join(task.films[film] for film in row if film != NONE)}\n" for user, row in rows))


def _write(path: Path, lines: Iterable[str]) -> None:
    """Replace a file whole or not at all. A pipe or a device gets the lines as they come."""
    if _is_stream(path):
        with path.open("w", encoding="utf-8") as file:
            file.writelines(lines)
    else:
        with replacing(path) as new:
            new.writelines(line.encode() for line in lines)


def _is_stream(path: Path) -> bool:
    """A pipe, a device, or a link, which /dev/stdout is."""
    return path.is_symlink() or (path.exists() and not path.is_file())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
