"""Phase 1 as a record: the features that are not degenerate, judged on bars before any research fold's validation.

Not here: what is degenerate (`prefilter`).
"""

from dataclasses import asdict

from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.planning import research_folds
from tft_pipeline.domain.prefilter import prefilter
from tft_pipeline.domain.reports import PrefilteredFeatures


def prefiltered(panel: Panel, experiment: Experiment) -> PrefilteredFeatures:
    """Kept and dropped features of a panel.

    The rows are the observed ones from the first research fold's first training bar to the end of the shortest train: whatever
    fold uses the choice, no bar of its validation or test had a say.

    Raises:
        ValueError: no research fold fits, or every feature is degenerate.
    """
    folds = [
        *research_folds(panel, experiment, experiment.exploration.folds),
        *research_folds(panel, experiment, experiment.tuning.folds),
    ]
    judged = panel.between(min(fold.train.start for fold in folds), min(fold.train.stop for fold in folds))
    result = prefilter(
        judged.values[judged.observed],
        panel.features,
        max_missing=experiment.prefilter.max_missing,
        max_correlation=experiment.prefilter.max_correlation,
    )
    return PrefilteredFeatures(
        kept=result.kept,
        dropped=tuple(asdict(row) for row in result.dropped),
        first=judged.calendar[0].isoformat(),
        last=judged.calendar[-1].isoformat(),
        n_rows=int(judged.observed.sum()),
        rank_unchecked=result.rank_unchecked,
    )
