"""The whole configuration of one experiment: frozen, typed, validated as a whole, fingerprinted by section.

Here: how the sections fit together and what a bad file is told. Not here: the sections themselves (`sections`), reading
YAML (`storage.experiments`).
"""

import re
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, StringConstraints, TypeAdapter, ValidationError, model_validator

from tft_pipeline.domain.card_section import CardSection
from tft_pipeline.domain.data_section import DataSection
from tft_pipeline.domain.gates_section import GatesSection
from tft_pipeline.domain.phases import (
    DriftSection,
    EnsembleSection,
    EvaluationSection,
    ExplorationSection,
    LatencySection,
    ProductionSection,
    PruningSection,
    ResearchPathsSection,
    TuningSection,
)
from tft_pipeline.domain.sections import (
    TUNABLE,
    FeaturesSection,
    NetworkSection,
    PeriodsSection,
    PositionSection,
    PrefilterSection,
    Section,
    TargetSection,
    TrainingSection,
    digest,
    idle_keys,
    tunable_keys,
)
from tft_pipeline.domain.visible_text import shortened, shown

LONGEST_PROBLEM = 1000
"""Characters of one problem's sentence; a message that quotes the file may be as long as the file."""
MOST_PROBLEMS = 50
"""Listed of one file."""


class ConfigurationError(ValueError):
    """An experiment file that cannot be run; the message names each key, its value and its limit."""


class Experiment(Section):
    """One experiment file."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")] = Field(
        description="of the experiment: begins its assets, jobs, partitions and its folder"
    )
    description: str = Field(
        default="", description="for people; the card's intended use where card.intended_use is left out"
    )
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        default=7, description="of every random draw; the same seed gives the same bits on the same CPU and versions"
    )
    data: DataSection
    features: FeaturesSection = FeaturesSection()
    target: TargetSection = TargetSection()
    periods: PeriodsSection
    prefilter: PrefilterSection = PrefilterSection()
    network: NetworkSection = NetworkSection()
    training: TrainingSection = TrainingSection()
    position: PositionSection = PositionSection()
    exploration: ExplorationSection
    pruning: PruningSection = PruningSection()
    tuning: TuningSection
    research_paths: ResearchPathsSection | None = None
    production: ProductionSection
    evaluation: EvaluationSection = EvaluationSection()
    latency: LatencySection = LatencySection()
    drift: DriftSection = DriftSection()
    ensemble: EnsembleSection = EnsembleSection()
    gates: GatesSection = GatesSection()
    card: CardSection = CardSection()

    @model_validator(mode="after")
    def _sections_fit_together(self) -> Self:
        purge, horizon = self.periods.purge, self.target.horizon
        if purge < horizon:
            raise ValueError(
                f"periods.purge {purge} < target.horizon {horizon}: a training label would reach a scored bar; "
                f"set periods.purge to at least {horizon}"
            )
        self._check_period()
        self._check_gates()
        self._check_sources_are_read()
        self._check_space()
        longest = self.longest_lookback
        for name, folds, lookback in (
            ("exploration", self.exploration.folds, self.training.lookback),
            ("tuning", self.tuning.folds, longest),
            ("production", self.production.folds, longest),
        ):
            if folds.validation <= lookback:
                raise ValueError(
                    f"{name}.folds.validation {folds.validation} <= training.lookback {lookback}: "
                    "no whole window fits; lengthen validation or shorten lookback"
                )
        paths = self.research_paths
        if paths is not None and paths.validation <= longest:
            raise ValueError(
                f"research_paths.validation {paths.validation} <= training.lookback {longest}: no whole window fits; lengthen "
                "validation or shorten lookback"
            )
        history = self.production.folds.plan(purge=purge, horizon=horizon).bars_before_test
        if self.evaluation.momentum_lookback > history:
            raise ValueError(
                f"evaluation.momentum_lookback {self.evaluation.momentum_lookback} > {history} bars of a production fold "
                "before its first scored bar: the momentum baseline would be flat there and easy to beat; shorten it or "
                "lengthen production.folds.train"
            )
        if self.production.folds.max_folds is not None:
            raise ValueError(
                "production.folds.max_folds is set: dropping production folds would hide scored bars; use a larger step"
            )
        if self.production.folds.test != self.production.folds.step:
            raise ValueError(
                f"production.folds.test {self.production.folds.test} != step {self.production.folds.step}: "
                "each production bar is scored once"
            )
        return self

    def _check_period(self) -> None:
        first, last, split = self.data.start, self.data.end, self.periods.production_start
        if first is not None and last is not None and first > last:
            raise ValueError(f"data.start {first} is after data.end {last}: no bar is left; exchange them")
        if (first is not None and split <= first) or (last is not None and split > last):
            raise ValueError(
                f"periods.production_start {split} is not inside data.start {first} to data.end {last}: one of the two "
                "periods would be empty; choose a date between them"
            )

    def _check_gates(self) -> None:
        """A limit of the other kind of loss is read by nothing; bars that a fold never has would hold every model back."""
        searched = self.tuning.space.get("training.loss_mode")
        modes = {self.training.loss_mode} if searched is None else set(searched.limits())
        for key, judged in (("min_accuracy_ci_low", "bce" in modes), ("min_sharpe_ci_low", modes != {"bce"})):
            if not judged and getattr(self.gates, key) != type(self.gates).model_fields[key].default:
                raise ValueError(
                    f"gates.{key} is {getattr(self.gates, key):g} and training.loss_mode is "
                    f"{' or '.join(sorted(map(str, modes)))}: the key changes nothing there; drop it"
                )
        most = self.production.folds.test - self.target.horizon + 1
        if self.gates.challenger != "off" and self.gates.challenger_min_bars > most:
            raise ValueError(
                f"gates.challenger_min_bars {self.gates.challenger_min_bars} > {most} bars of a production fold that an older "
                "model was not chosen on (production.folds.test less target.horizon - 1): no model could ever replace the live "
                "one; lower it (20 at least), lengthen production.folds.test, or set gates.challenger to off"
            )

    def _check_sources_are_read(self) -> None:
        """Data that no chosen feature reads would change nothing, unnoticed; without `features.groups` all are read."""
        groups, names = self.features.groups, self.features.names or ()
        if groups is None:
            return
        given: dict[str, tuple[str, ...]] = {
            f"data.cross_markets.{prefix}": (prefix.partition("_")[0],) for prefix in self.data.cross_markets
        }
        if self.data.minute_source is not None:
            given["data.minute_source"] = ("intra", "micro")
        for key, own in given.items():
            if not {*groups, *(name.partition("_")[0] for name in names)} & set(own):
                raise ValueError(
                    f"{key} is given and features.groups {list(groups)} leaves its features out: it would change nothing; add "
                    f"{' or '.join(own)} to features.groups, name single ones in features.names, or drop the key"
                )

    def _check_space(self) -> None:
        """Every value of the space alone is allowed and does something; combinations that are not are pruned trials."""
        idle = idle_keys(self.network, self.training, searched=frozenset(self.tuning.space))
        for key, knob in self.tuning.space.items():
            section, _, name = key.partition(".")
            if key not in tunable_keys():
                raise ValueError(f"tuning.space: {key!r} is not tunable; choose from {', '.join(tunable_keys())}")
            if key in ("network.n_context", "network.static_symbol") and self.network.family != "tft":
                raise ValueError(
                    f"tuning.space: {key} is searched and network.family is {self.network.family}, which has no such input: "
                    "trials with it could only be pruned; drop it or set network.family to tft"
                )
            if key in idle:
                raise ValueError(
                    f"tuning.space: {key} changes nothing, because {idle[key]}: trials would repeat each other; drop it"
                )
            adapter: TypeAdapter[Any] = TypeAdapter(TUNABLE[section].model_fields[name].rebuild_annotation())
            for value in knob.limits():
                try:
                    adapter.validate_python(value, strict=True)
                except ValidationError as error:
                    raise ValueError(
                        f"tuning.space.{key}: {value!r} is not allowed there ({error.errors()[0]['msg']}); such a trial "
                        "could only fail; correct the knob"
                    ) from None

    @property
    def longest_lookback(self) -> int:
        """Bars of the longest window that any trial of the search has."""
        searched = self.tuning.space.get("training.lookback")
        return self.training.lookback if searched is None else max(int(value) for value in searched.limits())

    def with_overrides(self, overrides: dict[str, Any]) -> tuple[NetworkSection, TrainingSection, PositionSection]:
        """The three tunable sections with some keys replaced, validated again.

        Args:
            overrides: dotted keys such as `network.hidden` to values.
        Raises:
            ValueError: a key that is not a field of network, training or position, or a value outside its limits.
        """
        sections = {
            "network": self.network.model_dump(),
            "training": self.training.model_dump(),
            "position": self.position.model_dump(),
        }
        for key, value in overrides.items():
            section, _, name = key.partition(".")
            if section not in sections or name not in sections[section]:
                raise ValueError(f"{key!r} is not a field of {', '.join(sections)}: it cannot be overridden")
            sections[section][name] = value
        try:
            return (
                NetworkSection.model_validate(sections["network"]),
                TrainingSection.model_validate(sections["training"]),
                PositionSection.model_validate(sections["position"]),
            )
        except ValidationError as error:
            problems = "; ".join(_problem(item) for item in error.errors(include_url=False))
            raise ValueError(f"overrides {overrides}: {problems}") from None

    def section_fingerprint(self, *names: str) -> str:
        """Fingerprint of some sections or dotted keys, `seed` included: the configuration an asset depends on."""
        content = self.model_dump(mode="json")
        return digest({"seed": self.seed, **{name: _value(content, name) for name in names}})


def _value(content: dict[str, Any], dotted: str) -> Any:
    value: Any = content
    for part in dotted.split("."):
        value = value[part]
    return value


def parse_experiment(raw: object, *, origin: str) -> Experiment:
    """Validate a decoded experiment file.

    Args:
        raw: mapping as decoded from YAML.
        origin: how messages name the file.
    Raises:
        ConfigurationError: unknown key, wrong type, value beyond a limit, or sections that do not fit together.
    """
    if not isinstance(raw, dict):
        raise ConfigurationError(f"{origin}: expected a mapping of sections, found {type(raw).__name__}")
    try:
        return Experiment.model_validate(raw)
    except ValidationError as error:
        found = error.errors(include_url=False)
        lines = [_problem(item) for item in found[:MOST_PROBLEMS]]
        if len(found) > MOST_PROBLEMS:
            lines.append(f"and {len(found) - MOST_PROBLEMS} more")
        raise ConfigurationError(
            f"{origin}: {len(found)} problem(s)\n" + "\n".join(f"  {line}" for line in lines)
        ) from None


def _problem(item: Any) -> str:
    key = shortened(shown(".".join(str(part) for part in item["loc"]), allowed="")) or "(whole file)"
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key (value {shortened(repr(item['input']))}); remove it or correct its spelling"
    if item["type"] == "missing":
        return f"{key}: required key is missing"
    message = re.sub(r"^Value error, ", "", item["msg"])
    if item["type"] == "literal_error" and not isinstance(item["input"], str):
        message += '; YAML reads words such as off and numbers as something else than text: write them in quotes, such as "off"'
    value = "" if isinstance(item["input"], dict | BaseModel) else f" (value {shortened(repr(item['input']))})"
    return f"{key}: {shortened(message, LONGEST_PROBLEM)}{value}"
