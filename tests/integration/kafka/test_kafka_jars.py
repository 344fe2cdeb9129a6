"""The jars are fetched once, and what is missing for it is named. Java and Maven are played by scripts here."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from scripts.broker import jars

if TYPE_CHECKING:
    from pathlib import Path

JAVA = "#!/bin/sh\necho 'openjdk version \"%s.0.1\" 2026-01-20' >&2\n"
MAVEN = """#!/bin/sh
for word; do case $word in -DoutputDirectory=*) folder=${word#*=};; esac; done
/bin/mkdir -p "$folder" && echo jar > "$folder/kafka.jar" && echo called >> "$(/usr/bin/dirname "$0")/calls"
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH, and a cache that is empty."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(jars, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(jars, "LIBS", tmp_path / "cache" / "libs")
    return folder


def add_tool(folder: Path, name: str, text: str) -> None:
    """Put a program on PATH."""
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def test_a_machine_without_java_is_reported_so(tools: Path) -> None:
    """It is what the tests then give as the reason for being skipped."""
    assert list(tools.iterdir()) == []
    with pytest.raises(jars.MissingToolError, match="needs Java 17 or newer: java is not on PATH"):
        jars.kafka_libs()


def test_an_old_java_is_reported(tools: Path) -> None:
    """The error has the output of `java -version`."""
    add_tool(tools, "java", JAVA % 11)
    with pytest.raises(jars.MissingToolError, match=r'needs Java 17 or newer: java -version says openjdk version "11\.0\.1"'):
        jars.kafka_libs()


def test_a_machine_without_maven_is_reported_so(tools: Path) -> None:
    """Unless the jars are there already."""
    add_tool(tools, "java", JAVA % 21)
    with pytest.raises(jars.MissingToolError, match="mvn is not on PATH"):
        jars.kafka_libs()
    add_tool(tools, "mvn", MAVEN)
    jars.kafka_libs()
    (tools / "mvn").unlink()
    assert (jars.kafka_libs() / "kafka.jar").exists()


def test_two_at_once_fetch_the_jars_once(tools: Path) -> None:
    """The second one waits for the first."""
    add_tool(tools, "java", JAVA % 17)
    add_tool(tools, "mvn", MAVEN)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: jars.kafka_libs(), range(2))
    assert first == second
    assert (tools / "calls").read_text() == "called\n"


def test_other_versions_are_fetched_anew(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the list of what is needed changes; nothing of the old ones stays."""
    add_tool(tools, "java", JAVA % 17)
    add_tool(tools, "mvn", MAVEN)
    (jars.kafka_libs() / "old.jar").write_text("jar")
    pom = tmp_path / "pom.xml"
    pom.write_text(jars.POM.read_text().replace("4.1.1", "4.2.0"))
    monkeypatch.setattr(jars, "POM", pom)
    assert sorted(path.name for path in jars.kafka_libs().iterdir()) == ["kafka.jar", "pom.xml"]
