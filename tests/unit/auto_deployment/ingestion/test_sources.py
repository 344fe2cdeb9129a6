from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from auto_deployment.common.errors import WrongUseError
from auto_deployment.ingestion.kafka.client import MessageBatch, OffsetGoneError, StreamError
from auto_deployment.ingestion.sources import Block, FileSource, RetentionGap, TopicSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from auto_deployment.ingestion.sources import StreamSource

LINES = [f"line {at}" for at in range(1, 13)]


class Topic:
    """A broker's topic: messages by partition and offset, of which retention removes the first."""

    def __init__(self, **partitions: list[int]) -> None:
        """Offsets that hold a message, by `p0`, `p1`, ..."""
        self.offsets = {int(name[1:]): offsets for name, offsets in partitions.items()}
        self.begins = {partition: min(offsets, default=0) for partition, offsets in self.offsets.items()}

    def partitions(self) -> list[int]:
        """All of them."""
        return sorted(self.offsets)

    def first_offsets(self) -> dict[int, int]:
        """What retention left."""
        return dict(self.begins)

    def end_offsets(self) -> dict[int, int]:
        """One beyond the last message."""
        return {partition: max(offsets, default=-1) + 1 for partition, offsets in self.offsets.items()}

    def offsets_at(self, milliseconds: int) -> dict[int, int]:
        """An offset a millisecond."""
        return {partition: min(milliseconds, end) for partition, end in self.end_offsets().items()}

    def read(self, partition: int, start: int, stop: int) -> Iterator[MessageBatch]:
        """In batches of two."""
        if start < self.begins[partition]:
            raise OffsetGoneError(partition, start)
        held = [each for each in self.offsets[partition] if start <= each < stop]
        for at in range(0, len(held), 2):
            offsets = held[at : at + 2]
            yield MessageBatch(offsets, [f"line {offset}".encode() for offset in offsets])

    def close(self) -> None:
        """Nothing to let go of."""


def run(source: StreamSource, marks: dict[str, Any], blocks: int = 1_000) -> list[Block | RetentionGap]:
    """At most so many blocks of a source, its marks following each."""
    taken: list[Block | RetentionGap] = []
    plan = source.plan(marks)
    marks |= source.first_marks(plan, marks)
    for block in source.blocks(plan, marks):
        marks[block.source] = block.mark
        taken.append(block)
        if len(taken) == blocks:
            break
    return taken


def lines_of(blocks: list[Block | RetentionGap]) -> list[str]:
    """The lines of blocks."""
    return [line for block in blocks if isinstance(block, Block) for line in block.lines]


@pytest.mark.parametrize("end", [b"", b"\n"])
@pytest.mark.parametrize("block_lines", [1, 5, 12, 13])
def test_a_file_comes_in_blocks_of_fixed_length(tmp_path: Path, block_lines: int, end: bytes) -> None:
    """All blocks but the last have the given length. Their line numbers continue, and nothing remains after them."""
    path = tmp_path / "movie.log"
    path.write_bytes("\n".join(LINES).encode() + end)
    source, marks = FileSource([path], block_lines), dict[str, Any]()
    plan = source.plan(marks)
    assert source.remaining(plan, marks) == path.stat().st_size
    blocks = run(source, marks)
    assert lines_of(blocks) == LINES
    assert all(isinstance(block, Block) and len(block.lines) == block_lines for block in blocks[:-1])
    assert [number for block in blocks if isinstance(block, Block) for number in block.numbers] == list(range(1, 13))
    assert source.remaining(plan, marks) == 0


def test_blocks_end_where_they_would_have_ended(tmp_path: Path) -> None:
    """A file that grew continues the block that its end had cut short."""
    path, marks = tmp_path / "movie.log", dict[str, Any]()
    path.write_text("\n".join(LINES[:5]) + "\n")
    assert [len(block.lines) for block in run(FileSource([path], 4), marks) if isinstance(block, Block)] == [4, 1]
    path.write_text("\n".join(LINES) + "\n")
    assert [len(block.lines) for block in run(FileSource([path], 4), marks) if isinstance(block, Block)] == [3, 4]


def test_a_run_ends_where_the_file_ended_when_it_began(tmp_path: Path) -> None:
    """What is written meanwhile is the next run's."""
    path = tmp_path / "movie.log"
    path.write_text("one\ntwo\n")
    source, marks = FileSource([path]), dict[str, Any]()
    plan = source.plan(marks)
    path.write_text("one\ntwo\nthree\n")
    assert [list(block.lines) for block in source.blocks(plan, marks)] == [["one", "two"]]


def test_a_file_that_shrinks_while_it_is_read_is_named(tmp_path: Path) -> None:
    """Wrong use, not an endless wait for its end."""
    path = tmp_path / "movie.log"
    path.write_text("one\ntwo\n")
    source = FileSource([path])
    plan = source.plan({})
    path.write_text("one\n")
    with pytest.raises(WrongUseError, match=f"{path}: is shorter"):
        list(source.blocks(plan, {}))


def test_files_come_one_after_the_other_and_each_once(tmp_path: Path) -> None:
    """In the order given; a file that is named twice, or was read before, is not read again."""
    first, second = tmp_path / "b.log", tmp_path / "a.log"
    first.write_text("one\n")
    second.write_text("two\n")
    marks: dict[str, Any] = {}
    assert lines_of(run(FileSource([first, second, first]), marks)) == ["one", "two"]
    assert run(FileSource([second, first]), marks) == []


def test_another_file_of_the_same_name_is_read_whole(tmp_path: Path) -> None:
    """A file is known by what was read of it, not by its name."""
    path, marks = tmp_path / "movie.log", dict[str, Any]()
    for content in ("one\n", "two\nthree\n", ""):
        path.write_text(content)
        assert lines_of(run(FileSource([path]), marks)) == content.split()


def test_an_empty_file_has_no_block(tmp_path: Path) -> None:
    """Nothing comes of nothing."""
    path = tmp_path / "movie.log"
    path.touch()
    assert run(FileSource([path]), {}) == []


def test_what_is_no_readable_file_is_named(tmp_path: Path) -> None:
    """Missing, a folder, beyond reach: wrong use. The message has the path, and what to do."""
    loop = tmp_path / "loop.log"
    loop.symlink_to(loop)
    for path in (tmp_path / "missing.log", tmp_path, loop, tmp_path / ("x" * 300)):
        with pytest.raises(WrongUseError) as raised:
            FileSource([path])
        assert str(path) in str(raised.value)
        assert "name a file of stream lines" in str(raised.value)


def test_partitions_come_in_turn_in_blocks_of_fixed_edges() -> None:
    """Blocks end at multiples of their length whatever the first offset; gaps in the offsets are no gaps in the stream."""
    topic = Topic(p0=[3, 4, 6, 7, 8, 9], p1=[0, 1])
    source = TopicSource(topic, "movielog4", block_offsets=4)
    marks: dict[str, Any] = {}
    assert source.remaining(source.plan(marks), marks) == 9
    assert [(block.source, list(block.numbers), block.mark) for block in run(source, marks) if isinstance(block, Block)] == [
        ("movielog4/0", [3], {"offset": 4}),
        ("movielog4/1", [0, 1], {"offset": 2}),
        ("movielog4/0", [4, 6, 7], {"offset": 8}),
        ("movielog4/0", [8, 9], {"offset": 10}),
    ]
    assert sum(source.lags(marks).values()) == 0
    topic.offsets[1].append(2)
    assert sum(source.lags(marks).values()) == 1


def test_a_run_that_was_broken_off_goes_on_in_the_same_order() -> None:
    """After any number of blocks: what is left of the plan comes as it would have come."""
    topic = Topic(p0=list(range(9)), p1=list(range(5)), p2=[])
    whole = run(TopicSource(topic, "movielog4", block_offsets=2), {})
    assert len(whole) == 8
    for count in range(len(whole)):
        marks: dict[str, Any] = {}
        source = TopicSource(topic, "movielog4", block_offsets=2)
        plan = source.plan(marks)
        taken = []
        for _ in range(count + 1):
            block = next(source.blocks(plan, marks))
            marks[block.source] = block.mark
            taken.append(block)
        assert taken == whole[: count + 1]


@pytest.mark.parametrize(("begin", "first"), [("earliest", 3), ("latest", 10), ("7", 7), ("99", 10)])
def test_the_very_first_run_starts_where_the_setting_says(begin: str, first: int) -> None:
    """At the first offset, at the end, or at a time; a later run where the last one ended, a new partition at its first."""
    topic = Topic(p0=list(range(3, 10)))
    marks: dict[str, Any] = {}
    source = TopicSource(topic, "movielog4", begin)
    assert lines_of(run(source, marks)) == [f"line {offset}" for offset in range(first, 10)]
    topic.offsets[0].append(10)
    topic.offsets[1], topic.begins[1] = [0, 1], 0
    assert lines_of(run(source, marks)) == ["line 10", "line 0", "line 1"]


def test_offsets_that_retention_removed_are_reported_as_a_gap() -> None:
    """From where the last run ended to the first that is left, also where nothing of the plan is left."""
    topic = Topic(p0=list(range(10)))
    source = TopicSource(topic, "movielog4", block_offsets=4)
    marks: dict[str, Any] = {}
    run(source, marks, 1)
    topic.begins[0] = 7
    gap, *blocks = run(source, marks)
    assert gap == RetentionGap("movielog4/0", 4, 7, {"offset": 7})
    assert lines_of(blocks) == ["line 7", "line 8", "line 9"]
    plan = source.plan({"movielog4/0": {"offset": 4}})
    topic.begins[0] = 50
    assert next(source.blocks(plan, {"movielog4/0": {"offset": 8}})) == RetentionGap("movielog4/0", 8, 10, {"offset": 10})


def test_a_topic_that_was_made_anew_is_not_waited_for() -> None:
    """It ends before what was read of the old one: to wait until it has grown beyond that would lose what comes until then."""
    source = TopicSource(Topic(p0=list(range(5))), "movielog4")
    with pytest.raises(StreamError, match=r"movielog4/0 ends at offset 5, but was known up to 9.*made anew.*collected\.json"):
        source.plan({"movielog4/0": {"offset": 9}})
    assert lines_of(run(source, {})) == [f"line {offset}" for offset in range(5)]


def test_long_lines_make_a_block_end_before_it_fills_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the line by which it holds so many bytes, wherever a run is broken off: of a topic and of a file."""
    monkeypatch.setattr("auto_deployment.ingestion.sources.BLOCK_BYTES", 12)
    topic = Topic(p0=list(range(5)), p1=[0])
    path = tmp_path / "movie.log"
    path.write_text("".join(f"line {at}\n" for at in range(5)))
    for source in (TopicSource(topic, "movielog4", block_offsets=4), FileSource([path], 4)):
        whole = run(source, {})
        lengths: dict[str, list[int]] = {block.source: [] for block in whole}
        for block in whole:
            assert isinstance(block, Block)
            lengths[block.source].append(len(block.lines))
        assert next(iter(lengths.values())) == [2, 2, 1]
        marks: dict[str, Any] = {}
        plan, broken = source.plan(marks), list[Block | RetentionGap]()
        for _ in whole:
            block = next(iter(source.blocks(plan, marks)))
            marks[block.source] = block.mark
            broken.append(block)
        assert broken == whole


@pytest.mark.parametrize("left", [None, "one\n"])
def test_a_killed_run_s_file_that_is_gone_is_missed_with_what_to_do(tmp_path: Path, left: str | None) -> None:
    """Rotated away, or shorter: what it still had to read is not passed over in silence. A file that was read may go."""
    unread, read = tmp_path / "unread.log", tmp_path / "read.log"
    for path in (unread, read):
        path.write_text("one\ntwo\n")
    source, marks = FileSource([unread, read]), dict[str, Any]()
    plan = source.plan(marks)
    marks[f"file:{read}#0"] = {"bytes": 8, "lines": 2, "sha256": ""}
    read.unlink()
    assert source.resume(plan, marks) == plan
    unread.unlink()
    if left is not None:
        unread.write_text(left)
    with pytest.raises(WrongUseError, match=rf"{unread}: .*take file:{unread}#0 out of the plans"):
        source.resume(plan, marks)


def test_a_killed_run_s_topic_that_was_made_anew_is_named() -> None:
    """Its plan reaches beyond the new one's end; a partition that is gone ends at 0."""
    topic = Topic(p0=list(range(9)), p1=[0])
    plan = TopicSource(topic, "movielog4").plan({})
    assert TopicSource(topic, "movielog4").resume(plan, {}) == plan
    topic.offsets = {0: [0, 1]}
    with pytest.raises(StreamError, match=r"movielog4/0 ends at offset 2, but was known up to 9.*the topic out of the plans"):
        TopicSource(topic, "movielog4").resume(plan, {})
