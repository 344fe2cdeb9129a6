"""The sample that the project ships, `data/sample/movielog.log`: the very command that writes it.

Watch lines are thinned to one minute in a hundred, so that several ratings a user fit into less than a megabyte;
damage is more frequent than in the real stream, so that every kind of it occurs.
"""

PATH = "data/sample/movielog.log"
ARGUMENTS = (
    *("stream", "--seed", "7", "--users", "900", "--films", "400", "--skew", "0.8"),
    *("--ratings", "6800", "--start", "2026-01-05T08:00:00", "--days", "20"),
    *("--minutes-share", "0.0105", "--request-share", "0.015", "--damage", "0.003", "0.01", "0.003"),
)
