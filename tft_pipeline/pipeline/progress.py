"""What a running graph is at: the asset, its folds, the epochs of those in training. Not here: showing it (`cli.progress`)."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

JOURNAL_SUFFIX = ".jsonl"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What is being computed now.

    Attributes:
        asset: its name.
        done: folds of it that are finished.
        of: all its folds; 0 where it has none.
        journals: folder in which folds write a line an epoch.
        began: when the asset was started, seconds of the clock that files are stamped with.
    """

    asset: str
    done: int = 0
    of: int = 0
    journals: Path | None = None
    began: float = field(default_factory=time.time)

    def epochs(self) -> tuple[int, ...]:
        """Epochs that each fold in training has finished, over all its seeds; a journal is a line an epoch and short."""
        if self.journals is None or not self.of:
            return ()
        phase = self.asset.removesuffix("_fold")
        found = []
        for path in sorted(self.journals.glob(f"{phase}-*{JOURNAL_SUFFIX}")):
            try:
                if path.stat().st_mtime < self.began:  # of an earlier run
                    continue
                kinds = [json.loads(line)["kind"] for line in path.read_text().splitlines()]
            except (FileNotFoundError, json.JSONDecodeError):  # mirrored and renamed meanwhile; a line half written
                continue
            if kinds and kinds[-1] == "epoch":
                found.append(len(kinds))
        return tuple(found)


Watch = Callable[[Stage], None]
"""Told what is being computed: before it is, and after each of its folds."""
