"""A process that writes, deploys, overrides and goes back, for tests that kill it: `python scripted_deployer.py MODELS`.

Two looks at names that do not exist mark begin and end in its trace of system calls, two words on standard output tell how far
it came. It imports what deploying imports, and nothing else, so that it starts quickly and does the same calls each time.
"""

import os
import sys
from pathlib import Path

from tft_pipeline.storage import atomic
from tft_pipeline.storage.deploying import deploy_release
from tft_pipeline.storage.releases import write_version
from tft_pipeline.storage.rollback import roll_back
from tft_pipeline_tests.released import CARDS, files_of

BEGINS, ENDS = "/tft-deployment-begins", "/tft-deployment-ends"
STEPS = ("r2", "r3", "r4-override", "r1")
"""What is live after each step; the first before any."""


def work(models: Path) -> None:
    """A run's deployment, a person's override, a way back."""
    write_version(models, release_id="r3", fill=files_of("r3", "three"))
    deploy_release(models, "r3", reason="release of the newest fold", automatic=True)
    write_version(models, release_id="r4", fill=files_of("r4", "four", failed=("sharpe_lower_bound",)))
    deploy_release(models, "r4", reason="", override="it is needed", cards=CARDS)
    roll_back(models, "r1", reason="drawdown", wanted="r1")


if __name__ == "__main__":
    atomic.SWEEP_SECONDS = 0.0
    models = Path(sys.argv[1])
    print("begins", flush=True)
    os.path.exists(BEGINS)
    work(models)
    os.path.exists(ENDS)
    print("ends", flush=True)
