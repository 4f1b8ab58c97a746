"""Points of a reliability diagram: what was said against what came, before and after a calibration that knew neither."""

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import binomtest

from tft_pipeline.domain.blending import BlendPart
from tft_pipeline.domain.calibration import calibrate
from tft_pipeline.domain.classification import reliability_rows
from tft_pipeline.pipeline import reliability_plots
from tft_pipeline.pipeline.reliability_plots import blend_panels, reliability_picture
from tft_pipeline_tests.drawings import figure_of, line_of, png_of

N = 120


def parts_of(n: int) -> list[BlendPart]:
    """Folds of 60 bars of two symbols, from a source that is too sure of itself, and one that is nowhere."""
    rng, parts = np.random.default_rng(4), []
    for k in range(n):
        signal = rng.normal(0.0, 1.0, N)
        y = (rng.random(N) < expit(signal)).astype(int)
        views = {"tft": expit(3.0 * signal), "lgbm": expit(signal + rng.normal(0.0, 0.5, N)), "sentiment": None}
        parts.append(
            BlendPart(key=f"f{k}", probabilities=views, y=y, bars=60 * k + np.repeat(np.arange(60), 2), missing={})
        )
    return parts


def test_each_point_is_the_mean_of_what_was_said_and_the_share_that_went_up() -> None:
    said = np.repeat([0.2, 0.7], [100, 50])
    came = np.concatenate([np.repeat([1, 0], [30, 70]), np.repeat([1, 0], [40, 10])])
    rows = reliability_rows(came, said)
    figure, _ = figure_of(reliability_plots, lambda: reliability_picture({"tft": {"as said": rows}}, title="t"))
    (axes,) = figure.axes
    np.testing.assert_allclose(line_of(axes, "as said").get_xydata(), [[20.0, 30.0], [70.0, 80.0]])
    wilson = binomtest(40, 50).proportion_ci(method="wilson")
    ends = axes.collections[0].get_segments()[1][:, 1]  # type: ignore[attr-defined]
    np.testing.assert_allclose(ends, [100.0 * wilson.low, 100.0 * wilson.high])
    assert axes.get_xlabel() == "said, %"
    assert axes.get_ylabel() == "it went up, %"


def test_what_is_shown_calibrated_was_calibrated_on_earlier_folds_alone() -> None:
    parts = parts_of(3)
    panels, title = blend_panels(parts, l2=0.01, horizon=1)
    assert list(panels) == ["tft", "lgbm", "blend"]
    assert "2 fold(s) that nothing was fitted to" in title
    said, made, labels = [], [], []
    for k in (1, 2):
        earlier = parts[:k]
        found = calibrate(
            np.concatenate([np.asarray(part.probabilities["tft"]) for part in earlier]),
            np.concatenate([part.y for part in earlier]),
        )
        raw = np.asarray(parts[k].probabilities["tft"])
        said.append(raw)
        made.append(expit(found.slope * logit(np.clip(raw, 1e-12, 1.0 - 1e-12)) + found.intercept))
        labels.append(parts[k].y)
    bars = np.concatenate([part.bars for part in parts[1:]])
    for name, values in (("as said", said), ("calibrated on earlier folds", made)):
        expected = reliability_rows(np.concatenate(labels), np.concatenate(values), bars=bars)
        shown = panels["tft"][name]
        for key in ("n", "n_bars", "mean_probability", "share_up"):
            assert [row[key] for row in shown] == pytest.approx([row[key] for row in expected]), (name, key)
    before, after = (
        np.mean([abs(row["mean_probability"] - row["share_up"]) for row in panels["tft"][name]])
        for name in ("as said", "calibrated on earlier folds")
    )
    assert after < before  # it was three times too sure


def test_one_fold_is_shown_as_it_said_and_the_title_says_why() -> None:
    panels, title = blend_panels(parts_of(1), l2=0.01, horizon=1)
    assert {name: list(curves) for name, curves in panels.items()} == {"tft": ["as said"], "lgbm": ["as said"]}
    assert "nothing could be calibrated" in title
    assert len(png_of(reliability_picture(panels, title=title))) < 60_000


def test_before_and_after_differ_by_mark_and_dashes_too() -> None:
    panels, title = blend_panels(parts_of(2), l2=0.01, horizon=1)
    figure, _ = figure_of(reliability_plots, lambda: reliability_picture(panels, title=title))
    before, after = (line_of(figure.axes[0], name) for name in ("as said", "calibrated on earlier folds"))
    assert before.get_marker() != after.get_marker()
    assert before.get_linestyle() != after.get_linestyle()
    assert before.get_fillstyle() != after.get_fillstyle()
