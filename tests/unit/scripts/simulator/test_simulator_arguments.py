from __future__ import annotations

import pytest

from scripts.simulator import StreamOptions
from scripts.simulator.arguments import read_arguments, stream_options, visit_options
from scripts.simulator.lines import DamageRates
from scripts.simulator.visit import VisitOptions


def test_defaults_of_the_command_are_those_of_the_options() -> None:
    """A bare command asks for what a bare options object asks for."""
    assert stream_options(read_arguments(["stream"])) == StreamOptions()
    assert visit_options(read_arguments(["visit", "--url", "http://h:1"])) == VisitOptions("http://h:1")


def test_one_rate_of_damage_stands_for_all() -> None:
    """One value or three; the default is the measured one."""
    assert stream_options(read_arguments(["stream", "--damage", "0"])).damage == DamageRates(0, 0, 0)
    assert stream_options(read_arguments(["stream", "--damage", "0.1", "0.2", "0.3"])).damage == DamageRates(0.1, 0.2, 0.3)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("", "required"),
        ("film", "invalid choice"),
        ("stream --lines 0", "at least 1 is needed"),
        ("stream --lines 5 --ratings 5", "not allowed with"),
        ("stream --seed -1", "not a whole number from 0 on"),
        ("stream --days 0", "not above 0"),
        ("stream --days nan", "not a number"),
        ("stream --days inf", "not a number"),
        ("stream --rating-share 1.5", "no share"),
        ("stream --uplift=-0.5", "below 0"),
        ("stream --damage 0.1 0.2", "give one RATE, or three"),
        ("stream --start yesterday", "give it as 2026-01-05T08:00:00"),
        ("stream --recommender best", "give it as http://HOST:PORT"),
        ("visit", "--url"),
        ("visit --url 127.0.0.1:8082", "give it as http://HOST:PORT"),
        ("visit --url http://h --count many", "not a whole number"),
        ("api --port 70000", "a port is at most 65535"),
        ("api --rate-limit 0", "not above 0"),
    ],
)
def test_wrong_use_is_status_2_with_the_reason(arguments: str, complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is wrong with the command line is said on standard error."""
    with pytest.raises(SystemExit) as ended:
        read_arguments(arguments.split())
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("command", ["stream", "visit", "api"])
def test_help_fits_the_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The help of each command can be written, and says what the values mean."""
    with pytest.raises(SystemExit) as ended:
        read_arguments([command, "--help"])
    assert ended.value.code == 0
    assert "--seed" in capsys.readouterr().out
