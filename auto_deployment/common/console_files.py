"""What the host side writes for the console, which sees neither `.env` nor tables: `LOG_DIR/console`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from auto_deployment.common.json_file import write_json_synced

if TYPE_CHECKING:
    from pathlib import Path

    from auto_deployment.common.settings import Settings

log = logging.getLogger(__name__)

FOLDER, SETTINGS, WHY = "console", "settings.json", "why"
CHAINS_KEPT = 200


def publish_settings(settings: Settings) -> None:
    """Write the settings in force, secrets masked. An error is logged, and never fails a run."""
    path = settings.log_dir / FOLDER / SETTINGS
    values = {name.upper(): value for name, value in settings.model_dump(mode="json").items()}
    try:
        write_json_synced(path, values, public=True)
    except OSError as error:
        log.warning("%s cannot be written (%s): the console does not show the settings in force", path, error)


def publish_chain(log_dir: Path, answer: str, chain: dict[str, Any]) -> Path:
    """Write the chain behind an answer, and remove the oldest beyond `CHAINS_KEPT`. Returns the file. Raises OSError."""
    folder = log_dir / FOLDER / WHY
    path = folder / f"{answer}.json"
    write_json_synced(path, chain, public=True)
    by_age = sorted(folder.glob("*.json"), key=lambda each: each.stat().st_mtime, reverse=True)
    for old in by_age[CHAINS_KEPT:]:
        old.unlink(missing_ok=True)
    return path
