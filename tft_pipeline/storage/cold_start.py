"""Cold starts: a fresh process for each form of a network, timed from its start to its first decision. Not here: warm calls.

The process is cold, the disk is not: the files were just written, and Python's own were read before.
"""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tft_pipeline.domain.latency import EAGER
from tft_pipeline.model.processes import THREAD_VARIABLES
from tft_pipeline.storage.artifacts import write_artifact
from tft_pipeline.storage.first_decision import FACTS_FILE, MODEL_FILE
from tft_pipeline.storage.fold_bundles import FoldBundle, write_fold_bundle
from tft_pipeline.storage.layout import PROJECT_ROOT

LONGEST_S = 300.0
SAME = 1e-5
"""Positions of fresh processes may differ by as much; beyond it what was stored is not what was timed."""


class ColdStartError(RuntimeError):
    """A fresh process failed, did not end, or decided otherwise than the others."""


def cold_starts(
    bundle: FoldBundle,
    models: Mapping[str, bytes],
    facts: Mapping[str, Any],
    report: Callable[[str], None] = lambda doing: None,
) -> dict[str, dict[str, Any]]:
    """Milliseconds of a fresh process by form: of eager torch from the bundle's files, of the others from exported bytes.

    Args:
        models: exported networks by form. facts: what they need besides (`forms.decision_facts`).
        report: told of each process before it is started.
    Returns:
        total_ms from before the process starts to its first decision; of it start_ms (the interpreter), import_ms, load_ms,
        first_decision_ms; memory_mb of the process then.
    Raises:
        ColdStartError: a process failed or took too long, a position is no number, or two forms decided otherwise.
    """
    found: dict[str, dict[str, Any]] = {}
    with TemporaryDirectory() as home:
        for form in (EAGER, *models):

            def fill(folder: Path, form: str = form) -> None:
                if form == EAGER:
                    write_fold_bundle(bundle, folder)
                else:
                    (folder / MODEL_FILE).write_bytes(models[form])
                    (folder / FACTS_FILE).write_text(json.dumps(facts))

            report(f"timing a fresh process of {form}")
            write_artifact(Path(home) / form, fill, in_store=False)
            found[form] = _fresh_process(form, Path(home) / form)
    positions = {form: one.pop("position") for form, one in found.items()}
    values = list(positions.values())
    if not all(map(math.isfinite, values)) or max(values) - min(values) > SAME:
        raise ColdStartError(
            f"fresh processes decide otherwise on one window, {positions}: the stored model is not the one that was timed; "
            "materialise the fold again"
        )
    return found


def _fresh_process(form: str, folder: Path) -> dict[str, Any]:
    # the monotonic clock counts from the start of the machine, so both processes read the same one
    began = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tft_pipeline.storage.first_decision", form, str(folder)],
            cwd=PROJECT_ROOT,
            env=os.environ | dict.fromkeys(THREAD_VARIABLES, "1"),
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ColdStartError(
            f"a fresh process for the form {form} did not decide within {LONGEST_S:g} s: the machine is too busy to time it; "
            "try again later, or set latency.cold_start: false"
        ) from error
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise ColdStartError(f"a fresh process for the form {form} ended with {done.returncode}: {last[0]}")
    stages: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    total_ms = (stages.pop("done_at") - began) * 1e3
    inside = stages["import_ms"] + stages["load_ms"] + stages["first_decision_ms"]
    return {"total_ms": total_ms, "start_ms": total_ms - inside, **stages}
