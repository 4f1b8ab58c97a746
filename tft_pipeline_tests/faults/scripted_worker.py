"""One worker of a study with scripted fits, as a process of its own that tests may kill.

python -m tft_pipeline_tests.faults.scripted_worker FOLDER ALLOWED

FOLDER holds experiment.json and, where the study is not in its SQLite file, the URL in url.txt. The file ALLOWED says how many
fits may be done; the worker waits before the next one. Prints what it reports, a line each.
"""

import math
import sys
import time
from pathlib import Path

from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.search import Value
from tft_pipeline.model.tuning_rounds import search
from tft_pipeline_tests.scripted_fits import ScriptedFits, study_in

FOLD_KEYS = ("f0", "f1", "f2")


def score(params: dict[str, Value], fold: int, epochs: int) -> float:
    """Best at a learning rate of 0.01; no two folds alike."""
    return 2.0 - abs(math.log10(float(params["training.learning_rate"])) + 2.0) + 0.1 * fold


def wait_for_leave(allowed: Path, n: int) -> None:
    """Before the n-th fit."""
    print(f"before fit {n}", flush=True)
    while int(allowed.read_text()) < n:
        time.sleep(0.01)


def main(folder: Path, allowed: Path) -> None:
    """Work until the study is complete."""
    experiment = Experiment.model_validate_json((folder / "experiment.json").read_text())
    url = folder / "url.txt"
    search(
        experiment,
        FOLD_KEYS,
        study_in(folder, name=folder.name, url=url.read_text() if url.exists() else None),
        ScriptedFits(score, before=lambda n: wait_for_leave(allowed, n)),
        report=lambda line: print(line, flush=True),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
