"""What runs on the cluster of a submitted job: `python -m pipelines.job run ...`, in the folder that
`submit/shipping.py` packed.

Imports nothing of pixsem's before it is asked to work: Ray calls `load_environment` in every worker, too.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

ENVIRONMENT = (
    ".environment.json"  # names and values of the submitter's variables, readable by the cluster's own user alone
)


def load_environment() -> None:
    """Set the variables that the submitter sent along by name. They are in no runtime environment, since Ray logs
    those.
    """
    path = Path(__file__).resolve().parents[1] / ENVIRONMENT
    if path.is_file():
        os.environ.update(json.loads(path.read_text()))


if __name__ == "__main__":
    from pipelines.cli.main import main

    load_environment()
    main()
