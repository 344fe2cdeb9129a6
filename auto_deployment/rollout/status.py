"""What `status` tells, as data and in ten lines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from auto_deployment.rollout.record import load

if TYPE_CHECKING:
    from auto_deployment.rollout.tools import Tools


def show(tools: Tools, *, as_json: bool) -> str:
    """The text of the command."""
    told = load(tools.folder).to_dict()
    return json.dumps(told, indent=2 if as_json else None) + "\n"
