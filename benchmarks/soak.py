"""Run the live loop for hours on sped-up minute bars while things go wrong at random; ends in GO or NO-GO.

    python benchmarks/soak.py --hours 24                         the long one; at 50 bars a second 8 years of minutes
    python benchmarks/soak.py --minutes 2                        what CI runs
    python benchmarks/soak.py --minutes 30 --models MODELS       with what is live in a folder of releases
    python benchmarks/soak.py --hours 1 --recorded bars.parquet  on recorded minute bars, day after day

The report goes to standard output as JSON, progress to standard error. Exit code 0: GO; 3: NO-GO; 2: an option cannot be used.
The folder of the soak stays with --folder. `tft_pipeline.live.soak` names the faults and the invariants, `soak_verdict` says
what counts as a leak.
"""

import argparse
import json
import signal
import sys
import tempfile
from pathlib import Path

from tft_pipeline.live.kill_switch import NEVER_ARMED, KillSwitch
from tft_pipeline.live.soak import Soak, SoakSettings

NO_GO = 3


def operate(switch: KillSwitch) -> None:
    """What a person does after a halt, as soon as the soak has seen it."""
    if switch.reading().why == NEVER_ARMED:
        switch.arm("the soak's operator", "a soak begins")
    else:
        switch.reset("the soak's operator", "the soak saw what it had to see")


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--hours", type=float)
    length.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=50.0, help="bars a second")
    parser.add_argument("--models", type=Path, help="folder of releases; made-up numbers trade by default")
    parser.add_argument(
        "--symbols", default="AAA,BBB,CCC", help="of the made-up market; those of the release with --models"
    )
    parser.add_argument(
        "--largest-weight", type=float, default=0.2, help="bound of |weight|; the release's share with --models"
    )
    parser.add_argument("--recorded", type=Path, help="Parquet file of minute bars")
    parser.add_argument("--folder", type=Path, help="a new folder that stays")
    given = parser.parse_args()
    try:
        settings = SoakSettings(
            minutes=given.minutes if given.hours is None else 60.0 * given.hours,
            seed=given.seed,
            rate=given.rate,
            symbols=tuple(given.symbols.split(",")),
            models=given.models,
            recorded=given.recorded,
            largest_weight=given.largest_weight,
        )
        if given.folder is not None:
            given.folder.mkdir(parents=True)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    # its loop is in a session of its own, and ends with it only if it ends in order
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(NO_GO))
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        report = Soak(folder / "live", settings, operate, say=lambda line: print(line, file=sys.stderr)).run()
    print(json.dumps(report, indent=1))
    sys.exit(0 if report["verdict"] == "GO" else NO_GO)


if __name__ == "__main__":
    main()
