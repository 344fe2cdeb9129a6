"""The report as one HTML page with plots that needs no network and no script. Pure."""

from __future__ import annotations

from html import escape
from math import nan
from typing import TYPE_CHECKING, Any

from auto_deployment.common.html import document, table, titled
from auto_deployment.common.svg import Line, chart

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from auto_deployment.common.html import Rows

MEASURES = {"ndcg_at_10": "NDCG@10", "recall_at_20": "Recall@20", "rmse": "RMSE of the rating model, mean over users"}
SHOWN_HERE = 20
UNKNOWN = "unknown"


def page(told: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]) -> str:
    """The page of a report; `earlier` are those of the versions before, the oldest first."""
    parts = [
        table((), _exposure(told["exposure"])),
        _curve(told["exposure"]["curve"]),
        *_trends([*earlier, told]),
        *titled("Since the last version", (), _loop(told)),
        *titled(
            "Quality by how much was known of a user, on later ratings",
            ("films known", "users", "NDCG@10", "Recall@20", "above the popular list"),
            [_step(name, each) for name, each in told["steps"].items()],
        ),
        *_quality(told["quality"]),
        *titled("Films that most lists show", ("film", "share of all places"), _most(told["most_shown"])),
    ]
    return document(f"Version {told['version']}, ranked by {told['ranker']}, {told['trained_on']}: beyond accuracy", parts)


def _exposure(shown: Mapping[str, Any]) -> Rows:
    return [
        ("users with a list", f"{shown['users']:,}"),
        ("films shown in the first 20 places", f"{shown['coverage']:.1%} of {shown['films']:,}"),
        ("Gini of the places (0: all films alike)", f"{shown['gini']:.3f}"),
        (
            "novelty (mean self-information)",
            f"{shown['novelty']:.2f} bits; of what users have seen {shown['history_novelty']:.2f}",
        ),
        ("mean audience of a film", f"{shown['audience']:.2%} of the users; of those seen {shown['history_audience']:.2%}"),
        ("users whose list is the bare popular one", f"{shown['bare_popular']:.1%}"),
    ]


def _curve(values: Sequence[float]) -> str:
    shares = [100 * at / (len(values) - 1) for at in range(len(values))]
    lines = [Line("these lists", [100 * each for each in values]), Line("all films alike", shares)]
    return chart("Share of all places that the most shown so many per cent of the films have", "%", shares, lines, axis="%")


def _trends(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    """How it went over the versions; from two on."""
    if len(reports) < 2:
        return []
    watched = [each["loop"]["watched"] for each in reports]
    shown = [each["exposure"] for each in reports]
    parts = (
        ("Concentration (Gini)", "", {"places in lists": _series(shown, "gini"), "new watches": _series(watched, "gini")}),
        (
            "Share of new watches in the last version's lists",
            "%",
            {
                "the user's own": _series(watched, "in_own_list", 100),
                "the popular one": _series(watched, "in_popular_list", 100),
                "most shown films": _series(watched, "in_most_shown", 100),
            },
        ),
        (
            "Share of the catalogue shown; share of a list that was in the last one",
            "%",
            {
                "catalogue": _series(shown, "coverage", 100),
                "the last list": _series([each["loop"] for each in reports], "overlap", 100),
            },
        ),
        ("Quality on later ratings", "", {MEASURES[name]: _means(reports, name) for name in ("ndcg_at_10", "recall_at_20")}),
    )
    numbers = [float(each["version"] - reports[0]["version"]) for each in reports]
    charts = [chart(title, unit, numbers, [Line(*pair) for pair in values.items()], axis="") for title, unit, values in parts]
    return [f"<h2>From version to version, 0 is version {reports[0]['version']}</h2>", *charts]


def _series(parts: Sequence[Mapping[str, Any]], name: str, scale: float = 1.0) -> list[float]:
    return [nan if each[name] is None else scale * each[name] for each in parts]


def _means(reports: Sequence[Mapping[str, Any]], measure: str) -> list[float]:
    found = [each["quality"]["all"][measure] for each in reports]
    return [nan if each is None else each[0] for each in found]


def _loop(told: Mapping[str, Any]) -> Rows:
    watched, last = told["loop"]["watched"], told["loop"]["last_version"]
    rows: Rows = [
        ("last version", "none, or its model is not here" if last is None else str(last)),
        ("films watched since, once a user", _count(watched["pairs"])),
        ("of them in the user's own list", _share(watched["in_own_list"])),
        ("in the popular list", _share(watched["in_popular_list"])),
        ("among the films that its lists showed most", _share(watched["in_most_shown"])),
        ("concentration of them", _concentration(watched)),
        ("of a user's list in the last one too", _share(told["loop"]["overlap"])),
    ]
    return rows + [
        (f"films in no list of the last {many} versions", "not counted for so long yet" if films is None else f"{films:,}")
        for many, films in told["never_shown"].items()
    ]


def _concentration(watched: Mapping[str, Any]) -> str:
    if watched["gini"] is None:
        return UNKNOWN
    return f"Gini {watched['gini']:.3f}; the top 1 % of the films have {watched['top_1_percent']:.1%}"


def _step(name: str, step: Mapping[str, Any]) -> tuple[str, ...]:
    figures = (step["ndcg_at_10"], step["recall_at_20"])
    return name, f"{step['users']:,}", *map(_interval, figures), _interval(step["recall_above_popularity"], "+")


def _quality(measured: Mapping[str, Any]) -> list[str]:
    parts = titled(
        "Quality on later ratings, all users",
        ("measure", "mean, 95 % interval"),
        [(MEASURES[name], _interval(each)) for name, each in measured["all"].items()],
    )
    for attribute, measures in measured["by"].items():
        for name, split in measures.items():
            if split["groups"]:
                parts += [
                    f"<h2>{escape(MEASURES[name])} by {escape(attribute)}</h2>",
                    _bars(split),
                    f"<p>{escape(_gap(split))}</p>",
                ]
    if len(parts) == 2:
        parts.append("<p>By age, gender and occupation: too few users whose are known.</p>")
    return parts


def _bars(split: Mapping[str, Any]) -> str:
    """A bar for each group with its interval as a line."""
    top, left, width = 1.05 * max(each[2] for each in split["groups"].values()) or 1.0, 200, 480
    rows = []
    for at, (name, (mean, low, high)) in enumerate(split["groups"].items()):
        y, scale = 8 + 22 * at, width / top
        rows.append(
            f'<text x="{left - 6}" y="{y + 11}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{left}" y="{y}" width="{max(mean, 0) * scale:.1f}" height="14" fill="#aed6f1"/>'
            f'<line x1="{left + low * scale:.1f}" x2="{left + high * scale:.1f}" y1="{y + 7}" y2="{y + 7}" stroke="#1b4f72"/>'
            f'<text x="{left + width + 8}" y="{y + 11}">{escape(_interval((mean, low, high)))}, {split["users"][name]:,}</text>'
        )
    return f'<figure><svg viewBox="0 0 900 {16 + 22 * len(rows)}" role="img">{"".join(rows)}</svg></figure>'


def _gap(split: Mapping[str, Any]) -> str:
    small = ", ".join(f"{name} ({users})" for name, users in split["too_small"].items())
    left_out = f" Too few users to judge: {small}." if small else ""
    gap = split["gap"]
    if gap is None:
        return f"One group alone: there is no gap.{left_out}"
    return (
        f"Largest gap: {gap['highest']} above {gap['lowest']} by {_interval(gap['interval'])}; groups drawn by chance "
        f"stay below {gap['by_chance']:.3f} 95 times of 100.{left_out}"
    )


def _most(films: Sequence[Sequence[Any]]) -> Rows:
    return [(str(film), f"{share:.2%}") for film, share in films[:SHOWN_HERE]]


def _interval(found: Sequence[float] | None, sign: str = "") -> str:
    return "-" if found is None else f"{found[0]:{sign}.3f} ({found[1]:{sign}.3f} to {found[2]:{sign}.3f})"


def _share(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.1%}"


def _count(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"
