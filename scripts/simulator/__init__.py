"""The film service's stand-in: writes its stream, visits its recommender and answers its API, from one seeded world."""

from scripts.simulator.lines import StreamOptions
from scripts.simulator.stream import Tally, stream_lines
from scripts.simulator.world import World

__all__ = ["StreamOptions", "Tally", "World", "stream_lines"]
