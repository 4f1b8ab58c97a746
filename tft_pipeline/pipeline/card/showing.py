"""What `tft card` does: the card of a release, verified and validated, as JSON, Markdown or HTML. Only reads releases."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline.card.html import card_html
from tft_pipeline.pipeline.card.markdown import card_markdown
from tft_pipeline.pipeline.card.validate import CardInvalidError, validate_card
from tft_pipeline.pipeline.releasing import models_of
from tft_pipeline.storage.artifacts import IntegrityError
from tft_pipeline.storage.atomic import canonical_json, replace_file
from tft_pipeline.storage.deployments import CARD_FILE, linked_release
from tft_pipeline.storage.layout import Layout, default_layout
from tft_pipeline.storage.releases import release_ids, released_version

NEWEST, CURRENT = "newest", "current"


def _json(card: Mapping[str, Any]) -> str:
    validate_card(card)
    return canonical_json(card)


FORMATS: dict[str, Callable[[Mapping[str, Any]], str]] = {"json": _json, "md": card_markdown, "html": card_html}


def show_card(
    named: str, *, release: str = CURRENT, as_format: str, output: Path | None = None, layout: Layout | None = None
) -> dict[str, Any]:
    """The card of a release in one of `FORMATS`.

    Args:
        named: experiment file, or the name of one that was run.
        release: id of a version; `current`, the live one; or `newest`.
        output: file that is replaced in one step; without it the text is in the answer alone.
    Returns:
        experiment, release, status, verdict, format, output, text (None where it was written), failed.
    Raises:
        ConfigurationError: no such experiment, release or format, nothing live, or an output that cannot be written.
    """
    if as_format not in FORMATS:
        raise ConfigurationError(f"--format {as_format!r} is unknown: choose from {', '.join(FORMATS)}")
    name, models = models_of(named, default_layout() if layout is None else layout)
    target = _chosen(name, models, release)
    try:
        card = json.loads(released_version(models, target).path(CARD_FILE).read_text(encoding="utf-8"))
        text = FORMATS[as_format](card)
    except (IntegrityError, CardInvalidError, ValueError) as error:
        return {"experiment": name, "release": target, "failed": [_told(target, error)]}
    if output is not None:
        _write(output, text, models)
    return {
        "experiment": name,
        "release": target,
        "status": card["status"],
        "verdict": card["verdict"],
        "format": as_format,
        "output": None if output is None else str(output),
        "text": text if output is None else None,
        "failed": [],
    }


def _chosen(name: str, models: Path, release: str) -> str:
    known = release_ids(models)
    if not known:
        raise ConfigurationError(f"{name} has no release: run `tft run` or `tft train` first")
    if release == NEWEST:
        return known[-1]
    if release == CURRENT:
        live = linked_release(models)
        if live is None:
            raise ConfigurationError(
                f"nothing of {name} is live: take --release {NEWEST}, which is {known[-1]}, or an id"
            )
        return live
    if release not in known:
        raise ConfigurationError(f"{name} has no release {release!r}; there are {', '.join(known)}")
    return release


def _told(target: str, error: Exception) -> str:
    old = isinstance(error, CardInvalidError)
    return f"{error}; {target} was released by another version of the program: release again" if old else str(error)


def _write(output: Path, text: str, models: Path) -> None:
    if models.resolve() in output.resolve().parents:
        raise ConfigurationError(f"{output} lies among the releases, which are never changed: name a file elsewhere")
    try:
        replace_file(output, lambda staged: staged.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"{output}: cannot be written: {error.strerror or error}; name a file in another place"
        ) from error
