"""Experiment files that cannot be loaded, as something the UI shows: an external asset a file, in a group of its own.

The asset cannot be materialised; its description is the error. Not here: which files are refused (`storage.experiments`).
"""

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Sequence

import dagster as dg

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.visible_text import shortened, shown
from tft_pipeline.storage.experiments import RefusedFile

PREFIX = "broken_"
LONGEST_STEM, LONGEST_REASON = 40, 4000
LOG = logging.getLogger(__name__)


def refuse_nothing(n_loaded: int, refused: Sequence[RefusedFile]) -> None:
    """Raise where not one file could be loaded: an empty UI would look as if all were well.

    Raises:
        ConfigurationError: nothing was loaded; the message has the reason of each file.
    """
    if n_loaded:
        return
    if not refused:
        raise ConfigurationError(
            "there is no experiment file: put one into experiments/, or name files in TFT_EXPERIMENTS, separated like PATH"
        )
    reasons = "\n".join(shown(file.reason) for file in refused)
    raise ConfigurationError(f"none of {len(refused)} experiment file(s) can be loaded:\n{reasons}")


def broken_experiments(refused: Sequence[RefusedFile]) -> dg.Definitions:
    """One external asset a refused file, `broken_<stem>`, and a warning in the log."""
    stems = [_plain_stem(file) for file in refused]
    counts = Counter(stems)
    assets = []
    for file, stem in zip(refused, stems, strict=True):
        reason = shown(file.reason)
        LOG.warning("%s is not loaded, the other experiments are: %s", shown(str(file.path), allowed=""), reason)
        changed = counts[stem] > 1 or stem != file.path.stem
        name = PREFIX + (f"{stem}_{_digest(file)}" if changed else stem)
        assets.append(
            dg.AssetSpec(
                dg.AssetKey([name]),
                group_name=name,
                description=described(reason),
                metadata={"file": dg.MetadataValue.path(shown(str(file.path), allowed=""))},
                tags={"tft/broken": ""},
            )
        )
    return dg.Definitions(assets=assets)


def described(reason: str) -> str:
    """The error as Markdown that shows it as it is: a block of code whose fence is longer than any in the text."""
    text = shortened(reason, LONGEST_REASON)
    fence = "`" * (1 + max([2, *(len(run) for run in re.findall("`+", text))]))
    return (
        "This experiment file cannot be loaded; the others are. Nothing of it runs, and nothing of its results was touched. "
        f"Correct the file, then reload the code location.\n\n{fence}text\n{text}\n{fence}\n"
    )


def _plain_stem(file: RefusedFile) -> str:
    """What Dagster takes for the name of a group, made of a file's name."""
    return re.sub(r"[^A-Za-z0-9_]", "_", file.path.stem)[:LONGEST_STEM]


def _digest(file: RefusedFile) -> str:
    return hashlib.sha256(str(file.path).encode(errors="surrogateescape")).hexdigest()[:8]
