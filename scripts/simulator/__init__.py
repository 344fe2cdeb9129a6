"""The film service's stand-in: writes its stream, visits its recommender and answers its API, from one seeded world."""

from scripts.simulator.lines import StreamOptions
from scripts.simulator.stream import LineCounts, stream_lines
from scripts.simulator.world import World

__all__ = ["LineCounts", "StreamOptions", "World", "stream_lines"]
