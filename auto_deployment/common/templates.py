"""Pages as Jinja2 templates, each in the folder of the module that fills the page. Every value is escaped."""

from __future__ import annotations

from functools import cache
from math import ceil, floor, isfinite, log10
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

from auto_deployment.common.errors import RunError

FOLDER = Path(__file__).parents[1]
MOST_TICKS = 6


def render(template: str, **values: object) -> str:
    """The page of a template, named by its path below `auto_deployment`. Raises RunError where the values do not fit it."""
    try:
        return environment().get_template(template).render(values)
    except TemplateError as error:
        raise RunError(f"{FOLDER / template}: cannot be filled ({error})") from error


def round_ticks(low: float, high: float, least_step: float = 0.0) -> list[float]:
    """At most `MOST_TICKS` multiples of 1, 2 or 5 times a power of ten from `low` to `high`. Only `low` if both are equal."""
    if not low < high:
        return [low]
    power = floor(log10((high - low) / MOST_TICKS))
    steps = (factor * 10.0**exponent for exponent in range(power, power + 3) for factor in (1, 2, 5))
    for step in steps:
        # A quotient such as 0.3 / 0.1 lies a hair below its whole number.
        first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
        if step >= least_step and last - first < MOST_TICKS:
            break
    return [min(max(round(number * step, 12), low), high) for number in range(first, last + 1)]


@cache
def environment() -> Environment:
    """How templates are found and filled: a missing value is an error."""
    made = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.globals["round_ticks"] = round_ticks
    made.tests["known"] = lambda value: isinstance(value, int | float) and isfinite(value)
    return made
