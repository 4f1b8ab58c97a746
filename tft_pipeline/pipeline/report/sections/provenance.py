"""What the figures were made from: data, folds, weights, versions, and the whole configuration."""

import yaml

from tft_pipeline.pipeline.report.markup import (
    Column,
    Html,
    count,
    day,
    facts,
    figure_of,
    free,
    free_record,
    table,
    tag,
)
from tft_pipeline.pipeline.report.page import Section
from tft_pipeline.pipeline.report.records import ReportRecords


def provenance_section(records: ReportRecords) -> Section:
    """Hashes and configuration."""
    manifest, of = records.manifest, "snapshot manifest"
    content = figure_of(manifest, "content_sha256", of=of)
    finding = (
        f"Snapshot {figure_of(manifest, 'snapshot_id', of=of)}: {count(figure_of(manifest, 'rows', of=of))} rows of "
        f"{len(figure_of(manifest, 'symbols', of=of))} symbols, content {content[:12]}."
    )
    spread = figure_of(manifest, "event_range", of=of)
    data: dict[str, object] = {
        "snapshot": manifest["snapshot_id"],
        "content SHA-256": tag("code", content),
        "first and last bar": f"{day(spread['start'])} to {day(spread['end'])}",
        "interval": figure_of(manifest, "interval", of=of),
        "symbols": ", ".join(manifest["symbols"]),
        "source": free(figure_of(manifest, "source", of=of)),
        "model card": figure_of(records.card.card, "created_at", of="model_card"),
    }
    train = figure_of(records.card.card, "train", of="model_card")
    environment = {name: figure_of(train, name, of="model_card.train") for name in ("env", "code")}
    return Section(
        anchor="provenance",
        title="Configuration and hashes",
        finding=finding,
        parts=(
            facts(data, caption="Data"),
            _fold_hashes(records),
            free_record(
                {
                    "versions": free(environment["env"].get("packages")),
                    **_but(environment["env"], "packages"),
                    **environment["code"],
                },
                caption="Code",
            ),
            tag("h3", "Chosen settings"),
            tag("pre", _yaml(_chosen(records)), attributes={"tabindex": "0"}),
            tag("h3", "Experiment file, defaults filled in"),
            tag("pre", _yaml(records.experiment.model_dump(mode="json")), attributes={"tabindex": "0"}),
        ),
    )


def _but(record: dict[str, object], key: str) -> dict[str, object]:
    return {name: value for name, value in record.items() if name != key}


def _chosen(records: ReportRecords) -> dict[str, object]:
    tuned = records.tuned
    return {name: getattr(tuned, name).model_dump(mode="json") for name in ("network", "training", "position")}


def _yaml(value: object) -> str:
    found: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)
    return found


def _fold_hashes(records: ReportRecords) -> Html:
    trained = {row["id"]: row for row in figure_of(records.card.card["train"], "folds", of="model_card.train")}
    rows = [
        {"spec": spec, "fitted": figure_of(trained, spec.key, of="model_card.train.folds")}
        for spec in records.plan.specs
    ]
    columns = [
        Column("fold", lambda row: row["spec"].key, False),
        Column("seed", lambda row: str(row["spec"].seeds[0])),
        Column("spec", lambda row: tag("code", row["spec"].content_sha256()[:16]), False),
        Column("data slice", lambda row: tag("code", row["spec"].data_sha256[:16]), False),
        Column("weights", lambda row: tag("code", str(row["fitted"]["sha256"])[:16]), False),
    ]
    return table(columns, rows, caption="Production folds, first 16 digits of each SHA-256")
