"""The table of users' demographics, as the film service answered. The table is kept between runs."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from auto_deployment.common.json_file import StateError, write_synced

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    Labels = npt.NDArray[np.str_]

FILE = "demographics.csv"  # in a data folder
HEADER = ("user_id", "age", "gender", "occupation")
BANDS = ((18, "under 18"), (25, "18 to 24"), (35, "25 to 34"), (45, "35 to 44"), (55, "45 to 54"), (200, "55 and more"))
ATTRIBUTES = ("age", "gender", "occupation")
GENDERS = {"f": "F", "female": "F", "m": "M", "male": "M"}


class Person(NamedTuple):
    """The demographics of a user. All fields are empty if the film service does not know the user."""

    age: int | None = None
    gender: str = ""
    occupation: str = ""


def read(data: Path) -> dict[int, Person]:
    """The table of a data folder, by user id. Empty without a file. Raises StateError for a damaged table."""
    path = data / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    header, *rows = csv.reader(io.StringIO(text)) if text else [[]]
    try:
        people = {int(user): Person(int(age) if age else None, gender, job) for user, age, gender, job in rows}
    except ValueError as error:
        raise StateError(f"{path}: not a table of {','.join(HEADER)} ({error}): remove it, it is fetched again") from error
    if tuple(header) != HEADER:
        raise StateError(f"{path}: its header is not {','.join(HEADER)}: remove it, it is fetched again")
    return people


def write(data: Path, people: Mapping[int, Person]) -> None:
    """Replace the table."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(HEADER)
    rows.writerows((user, "" if each.age is None else each.age, *each[1:]) for user, each in sorted(people.items()))
    write_synced(data / FILE, text.getvalue().encode())


def age_band(age: int | None) -> str:
    """The age band. Empty if the age is not known."""
    return "" if age is None else next((name for below, name in BANDS if age < below), "")


def labels(people: Mapping[int, Person], users: npt.NDArray[np.int64]) -> dict[str, Labels]:
    """The group of each user, by attribute: arrays as long as `users`. Empty texts stand for unknown values."""
    known = [people.get(user, Person()) for user in users.tolist()]
    genders = [GENDERS.get(word, word) for word in (each.gender.strip().lower() for each in known)]
    columns = ([age_band(each.age) for each in known], genders, [each.occupation for each in known])
    return {name: np.array(column, dtype=np.str_) for name, column in zip(ATTRIBUTES, columns, strict=True)}
