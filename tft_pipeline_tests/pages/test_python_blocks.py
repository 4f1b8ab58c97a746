"""Every block of Python on every page runs as it stands, in the order of its page.

A page that speaks of a model, bars or files that a reader has finds small ones here. Each page runs in a process's own folder
with the sample and the shipped experiments in it; `ELSEWHERE` names the pages whose own test runs them.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from tft_pipeline_tests.test_docs import PAGES, ROOT, TEXT, blocks, named

Names = dict[str, Any]
MODELS = Path("data/experiments/demo/models")
ELSEWHERE = {
    "docs/library.md": "tft_pipeline_tests/library/test_page.py",
    "docs/strategies.md": "tft_pipeline_tests/live/test_strategies_page.py",
    "docs/tutorial.md": "tft_pipeline_tests/test_tutorial.py",
}
PYTHON = [page for page in PAGES if blocks(TEXT[page], "python") and named(page) not in ELSEWHERE]


def a_release() -> None:
    """A small release is live where `data/experiments/demo` would have one."""
    from tft_pipeline_tests.live.candle_release import candle_signature, fitted_on_candles
    from tft_pipeline_tests.live_models import release

    fitted = fitted_on_candles()
    folder = release(MODELS, "hours", fitted, candle_signature(fitted), forms=True)
    assert (MODELS / "versions" / "current").resolve() == folder.resolve()


def a_release_and_bars() -> Names:
    """The same, and bars of which the newest is not known yet."""
    from tft_pipeline_tests.live.test_replayed_signals import bars

    a_release()
    known = pl.col("timestamp") < bars()["timestamp"].max()
    return {"bars": bars().filter(known), "new_bars": bars().filter(~known)}


def a_book() -> Names:
    """A live folder without a book."""
    from tft_pipeline.live.kill_switch import KillSwitch

    KillSwitch(Path("live")).arm("tester", "the page")
    return {"folder": Path("live")}


def a_card() -> None:
    """A released card."""
    from tft_pipeline.storage.atomic import canonical_json
    from tft_pipeline_tests.made_cards import completed

    Path("model_card.json").write_text(canonical_json(completed()))


def a_peer() -> Names:
    """A network of pytorch-forecasting and inputs of it."""
    from tft_pipeline_tests.oracles.forecasting_peer import peer_batch, peer_transformer

    peer = peer_transformer(encoder=3)
    batch = peer_batch(peer, windows=2, bars=8, steps=1)
    joined = {
        name: torch.cat((batch[f"encoder_{kind}"], batch[f"decoder_{kind}"]), dim=1)
        for name, kind in (("reals", "cont"), ("levels", "cat"))
    }
    return {"model": peer, "n_encoder": batch["encoder_cont"].shape[1], **joined}


PREPARED: dict[str, Callable[[], Names | None]] = {
    "docs/bundle.md": a_release,
    "docs/kill-switch.md": a_book,
    "docs/live.md": a_release_and_bars,
    "docs/model-card.md": a_card,
    "docs/networks.md": a_peer,
}


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like a fresh clone, where the page's lines are typed."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sample").symlink_to(ROOT / "data" / "sample")
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    monkeypatch.setenv("TFT_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PYTHON, ids=named)
def test_python_on_a_page_runs_in_its_order(page: Path, checkout: Path) -> None:
    names: Names = {"__name__": "page"} | (PREPARED.get(named(page), dict)() or {})
    for number, block in enumerate(blocks(TEXT[page], "python"), start=1):
        exec(compile(block, f"{named(page)}, block {number}", "exec"), names)
    assert Path.cwd() == checkout


def test_what_is_prepared_or_run_elsewhere_is_there() -> None:
    assert set(PREPARED) | set(ELSEWHERE) <= {named(page) for page in PAGES if blocks(TEXT[page], "python")}
    for page, test in ELSEWHERE.items():
        assert Path(page).name in (ROOT / test).read_text(encoding="utf-8")
