"""`python -m app.answer USER [INPUTS [SOURCE]]`: one answer of the model in `MODEL_DIR`, as a line of JSON.

A replay runs this command in the image that gave the answer. So the form of the command and of the line never changes.
An answer of step `fresh` needs its SOURCE, which is what its list was computed from.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from pydantic import ValidationError

from app.exploring import recommender_of
from app.fresh.list_model import ListModel
from app.fresh.recommender import FreshRecommender
from app.model import ArtifactError, load_serving, md5_of
from app.routes import digest_of, user_of
from app.settings import ServiceSettings, settings_problem

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Run the command. Returns 0, 1 if the model cannot be used, 2 for wrong arguments or settings."""
    user, *inputs = arguments or [""]
    number = user_of(user)
    if number is None or len(inputs) > 2:
        sys.stderr.write("use: python -m app.answer USER [INPUTS [SOURCE]], USER 1 to 19 decimal digits, below 2^63\n")
        return 2
    try:
        folder = ServiceSettings().model_dir
        model = load_serving(folder)
        recommender = FreshRecommender(recommender_of(model), model, None, lambda: ListModel(folder))
        answer = recommender.replay(number, *(inputs or [""]))
    except ValidationError as error:
        sys.stderr.write(f"{settings_problem(error)}\n")
        return 2
    except (ArtifactError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    checksums = {"digest": digest_of(answer.body), "model_md5": md5_of(folder / "metadata.json")}
    content = {"body": answer.body, "step": answer.step, "inputs": answer.inputs}
    sys.stdout.write(json.dumps({"version": recommender.version, **content, **checksums}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
