"""Freshness: what users have watched and rated since a version was trained counts at once, see docs/freshness.md."""
