"""`tft run` with one worker that sends itself a signal at a chosen moment: `... MOMENT SIGNAL tft-arguments`.

MOMENT is PHASE:N, the N-th line that folds of a phase write into their journals (an epoch each, before its training state is
kept), or tuning:N, before the N-th fit of a trial. The whole process group is meant by SIGKILL, as a machine that goes down.
"""

import os
import signal
import sys
from typing import Any

from tft_pipeline import __main__
from tft_pipeline.model import tuning_fits
from tft_pipeline.pipeline.tracking import FoldJournal

seen = 0


def send_at(wanted: int, number: int) -> None:
    """Count, and send the signal when it is time."""
    global seen
    seen += 1
    if seen == wanted:
        if number == signal.SIGKILL:
            os.killpg(os.getpgid(0), number)
        os.kill(os.getpid(), number)


def arm(phase: str, wanted: int, number: int) -> None:
    """Put the signal in its place."""
    write, score = FoldJournal.epoch, tuning_fits.score_fold

    def epoch(journal: FoldJournal, row: dict[str, Any]) -> None:
        if journal._phase == phase:
            send_at(wanted, number)
        write(journal, row)

    def score_fold(*arguments: Any) -> dict[str, Any]:
        send_at(wanted, number)
        return score(*arguments)

    if phase == "tuning":
        tuning_fits.score_fold = score_fold  # type: ignore[assignment]
    else:
        FoldJournal.epoch = epoch  # type: ignore[method-assign]


if __name__ == "__main__":
    moment, name = sys.argv[1:3]
    arm(moment.split(":")[0], int(moment.split(":")[1]), signal.Signals[name])
    sys.argv = ["tft", *sys.argv[3:]]
    __main__.main()
