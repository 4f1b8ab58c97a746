"""The formulas of a model's features, held against the versions it was trained with. Not here: bars (`bar_history`)."""

from tft_pipeline.domain.features import FeatureSet, resolve_features
from tft_pipeline.domain.signature import Signature
from tft_pipeline.live.refusals import MissingFeatureError, OtherFormulaError


def formulas_of(signature: Signature, columns: list[str]) -> FeatureSet:
    """The formulas that a model's features are computed by from bars of such columns.

    Raises:
        MissingFeatureError: a column that a feature is made of is not there. OtherFormulaError: a formula has changed.
    """
    absent = [name for name in signature.user_columns if name not in columns]
    if absent:
        raise MissingFeatureError(
            f"the bars have no column {', '.join(absent)}, which the model reads as it is: it would decide on something "
            "else; bring the column, null where a value is unknown"
        )
    try:
        resolved = resolve_features(
            columns,
            groups=(),
            names=list(signature.feature_versions) or None,
            has_market=signature.market_symbol is not None,
            cross_markets=dict(signature.cross_markets),
        )
    except ValueError as error:
        raise OtherFormulaError(
            f"{error}: the model was trained by another version of this code; install that one, or train again"
        ) from error
    if resolved.skipped:
        name, why = resolved.skipped[0]
        raise MissingFeatureError(
            f"{len(resolved.skipped)} of {len(signature.features)} features cannot be computed (first {name}: {why}): the "
            f"model would decide on something else; bring bars with {', '.join(signature.raw_columns)}"
        )
    other = [each for each in resolved.features if each.version != signature.feature_versions[each.name]]
    if other:
        raise OtherFormulaError(
            f"{len(other)} feature(s) are of another formula than the model was trained with (first {other[0].name}: "
            f"version {other[0].version} here, {signature.feature_versions[other[0].name]} then): its inputs would mean "
            "something else; install the version that trained it, or train again"
        )
    return resolved
