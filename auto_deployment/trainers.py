"""Every trainer by the name that the setting `TRAINER` takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auto_deployment.sgd import SgdTrainer
from auto_deployment.train import SurpriseSVD

if TYPE_CHECKING:
    from auto_deployment.train import Trainer

TRAINERS: dict[str, type[Trainer]] = {SurpriseSVD.name: SurpriseSVD, SgdTrainer.name: SgdTrainer}
