"""The section of an experiment file that says what keeps a candidate from going live, beside the limits of other sections.

Not here: limits that a record judges already (`phases.EvaluationSection`, `phases.LatencySection`), gates (`release_gates`).
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tft_pipeline.domain.sections import Section


class GatesSection(Section):
    """What a released model must pass before it is live.

    Limits may be stricter than the defaults. `challenger: "off"` is looser, and the gate and the card say so (`looser_limits`).
    """

    deploy: Literal["on_pass", "manual"] = Field(
        default="on_pass",
        description="on_pass: a run makes its model live when every gate passes; manual: only `tft deploy` does, by the "
        "same gates",
    )
    min_sharpe_ci_low: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = Field(
        default=0.0,
        description="least lower end of the 95 % bootstrap interval of the net Sharpe ratio a year, out of sample; not judged "
        "where loss_mode is bce",
    )
    min_accuracy_ci_low: Annotated[float, Field(ge=0.5, lt=1.0)] = Field(
        default=0.5,
        description="where loss_mode is bce: least lower end of the 95 % interval of the accuracy, out of sample on bars; it "
        "must also be above always guessing the larger class",
    )
    drift: Literal["stable", "investigate"] = Field(
        default="investigate",
        description="worst verdict of the drift report that is tolerated; retrain and insufficient_data never are",
    )
    challenger: Literal["not_worse", "better", "off"] = Field(
        default="not_worse",
        description="against the live model on the same bars, which neither was trained or chosen on: not_worse: the 95 % "
        "interval of the difference of the Sharpe ratios reaches 0 or more; better: it lies above 0; off: not asked, which is "
        "looser than the default and told on gate and card",
    )
    challenger_min_bars: Annotated[int, Field(ge=20)] = Field(
        default=20, description="fewest such bars; with fewer the gate says no. Few bars show only large differences"
    )
    keep_candidates: Annotated[int, Field(ge=0)] = Field(
        default=10, description="newest versions that were never live that `tft prune` keeps"
    )

    @model_validator(mode="after")
    def _bars_are_asked_for_where_they_count(self) -> Self:
        default = type(self).model_fields["challenger_min_bars"].default
        if self.challenger == "off" and self.challenger_min_bars != default:
            raise ValueError(
                f"challenger_min_bars is {self.challenger_min_bars} and challenger is off: the key changes nothing; drop it or "
                "set challenger to not_worse or better"
            )
        return self
