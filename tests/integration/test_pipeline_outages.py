"""Full disks, a broker that is away, and the mails that people get: on the real parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.checkout import ROOT, Checkout
from tests.integration.post_office import PostOffice, open_post_office
from tests.integration.small_disk import enlarge, small_disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.crash]

SAMPLE = ROOT / "data" / "sample" / "movielog.log"


@pytest.fixture
def calm(tmp_path: Path) -> Checkout:
    """What comes out when nothing is in the way."""
    (tmp_path / "calm").mkdir()
    checkout = Checkout(tmp_path / "calm" / "host", tmp_path / "calm")
    assert checkout.run("--input", str(SAMPLE)).returncode == 0
    return checkout


@pytest.mark.parametrize(("place", "size", "step"), [("data", "256k", "collect"), (".dvc/cache", "128k", "version")])
def test_a_full_disk_ends_the_run_and_the_next_one_goes_on(
    calm: Checkout, tmp_path: Path, place: str, size: str, step: str
) -> None:
    """No room for the tables, or for DVC's copy: status 1 and the step; with room again, the end of an undisturbed run."""
    (tmp_path / "tight").mkdir()
    checkout = Checkout(tmp_path / "tight" / "host", tmp_path / "tight")
    folder = checkout.folder / place
    with small_disk(folder, size):
        failed = checkout.run("--input", str(SAMPLE))
        assert failed.returncode == 1, failed.stdout + failed.stderr
        assert f"{step}: " in failed.stderr
        assert checkout.command("git", "log", "--format=%s") == "The code"
        enlarge(folder)
        ended = checkout.run("--input", str(SAMPLE))
        assert ended.returncode == 0, ended.stdout + ended.stderr
        for name in ("clean_rating.csv", "versioning/clean_watch_1.parquet", "versioning/offsets.json", "version.txt"):
            assert checkout.data(name).read_bytes() == calm.data(name).read_bytes(), name
        assert checkout.command("git", "status", "--short") == ""
        assert checkout.command("git", "log", "-1", "--format=%s", "origin/main") == "Data and Model version update: [1]"


@pytest.fixture
def post_office() -> Iterator[PostOffice]:
    """A mail server that takes everything."""
    with open_post_office() as office:
        yield office


def test_every_end_is_reported_by_mail(tmp_path: Path, post_office: PostOffice) -> None:
    """Refused with RMSE and limit, published with RMSE and figures, nothing new, failed with step and reason: one mail each."""
    checkout = Checkout(tmp_path / "host", tmp_path)
    environment = post_office.environment
    assert checkout.run("--input", str(SAMPLE), **environment, RMSE_LIMIT="0.2").returncode == 3
    assert checkout.run("--input", str(SAMPLE), **environment).returncode == 0
    assert checkout.run("--input", str(SAMPLE), **environment).returncode == 0
    away = {**environment, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    assert checkout.run(**away).returncode == 1
    refused, published, nothing, failed = post_office.read()
    assert "refused" in refused[0]
    assert "0.2" in refused[1]
    assert "0.62" in refused[1]
    assert "version 1 published" in published[0]
    assert "release begins with GitLab's pipeline" in " ".join(published[1].split())
    for word in ("RMSE", "NDCG@10", "14,415 lines", "rejected", "users"):
        assert word in published[1]
    assert "nothing new" in nothing[0]
    assert "failed at collect" in failed[0]
    assert "127.0.0.1:1" in failed[1]


def test_a_mail_server_that_is_away_is_no_reason_to_fail(tmp_path: Path) -> None:
    """Nobody listens there: the version is published all the same, and the log says what was not sent."""
    checkout = Checkout(tmp_path / "host", tmp_path)
    mail = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": "1", "MAIL_FROM": "a@example.org", "MAIL_TO": "b@example.org"}
    ended = checkout.run("--input", str(SAMPLE), **mail)
    assert ended.returncode == 0
    assert "mail" in ended.stderr
    assert checkout.data("version.txt").read_text() == "1\n"
