"""One bad experiment file among good ones: the others load, the bad one is shown as such, and commands stay strict."""

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from tft_pipeline import definitions
from tft_pipeline.__main__ import main
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline import experiment_paths
from tft_pipeline.pipeline.broken import broken_experiments, described
from tft_pipeline.storage.experiments import RefusedFile, usable_experiments
from tft_pipeline_tests.conftest import small_experiment

pytestmark = pytest.mark.fault("hostile_files")
Load = Callable[..., dg.Definitions]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Definitions of some files, as Dagster loads them."""
    monkeypatch.setenv("TFT_HOME", str(tmp_path / "home"))

    def loaded(*paths: Path) -> dg.Definitions:
        monkeypatch.setenv(definitions.VARIABLE, ":".join(map(str, paths)))
        return definitions.loaded()

    return loaded


def named(folder: Path, name: str, file: str | None = None) -> Path:
    """A good experiment of another name."""
    path = small_experiment(folder, changes={"name": name})
    return path.rename(folder / (file or f"{name}.yaml"))


def shown(found: dg.Definitions) -> dict[str, str]:
    """Descriptions of what stands for broken files, by key; each has a group of its own name and cannot be materialised."""
    graph = found.resolve_asset_graph()
    broken = {key: graph.get(key) for key in graph.get_all_asset_keys() if len(key.path) == 1}
    for key, node in broken.items():
        assert node.group_name == key.path[0]
        assert node.is_external
    return {key.path[0]: node.description or "" for key, node in broken.items()}


def experiments(found: dg.Definitions) -> set[str]:
    """Names of the experiments that have a graph."""
    return {key.path[0] for key in found.resolve_asset_graph().get_all_asset_keys() if len(key.path) == 2}


def test_the_good_files_load_and_the_bad_one_says_what_is_wrong(
    load: Load, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = named(tmp_path, "good"), named(tmp_path, "bad")
    bad.write_text(bad.read_text().replace("hidden: 4", "hidden: <script>alert(1)</script>", 1))
    with caplog.at_level(logging.WARNING):
        found = load(good, bad)
    assert experiments(found) == {"good"}
    (text,) = shown(found).values()
    assert list(shown(found)) == ["broken_bad"]
    assert "network.hidden" in text
    assert "bad.yaml: 1 problem(s)" in caplog.text
    assert {job.name for job in found.resolve_all_job_defs()} >= {"good_run_everything"}
    assert not any(job.name.startswith("bad") for job in found.resolve_all_job_defs())


def test_of_two_files_of_one_name_neither_loads_and_the_others_do(load: Load, tmp_path: Path) -> None:
    one, two = named(tmp_path, "twin", "one.yaml"), named(tmp_path, "twin", "two.yaml")
    found = load(one, named(tmp_path, "good"), two)
    assert experiments(found) == {"good"}
    assert set(shown(found)) == {"broken_one", "broken_two"}
    assert all("are both named 'twin'" in text for text in shown(found).values())
    assert [file.experiment.name for file in usable_experiments([one])[0]] == ["twin"], "alone each of them would load"


def test_a_file_named_twice_or_through_a_link_is_one_file(load: Load, tmp_path: Path) -> None:
    good = named(tmp_path, "good")
    (tmp_path / "link.yaml").symlink_to(good)
    found = load(good, good, tmp_path / "link.yaml")
    assert experiments(found) == {"good"}
    assert not shown(found)


@pytest.mark.parametrize("paths", [["absent.yaml"], ["absent.yaml", "away.yaml"]])
def test_where_nothing_loads_loading_fails_with_every_reason(load: Load, tmp_path: Path, paths: list[str]) -> None:
    with pytest.raises(ConfigurationError, match=rf"none of {len(paths)} experiment file") as refused:
        load(*(tmp_path / path for path in paths))
    assert all(path in str(refused.value) for path in paths)


def test_a_folder_without_experiments_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(definitions.VARIABLE, raising=False)
    monkeypatch.setattr(experiment_paths, "PROJECT_ROOT", tmp_path)
    with pytest.raises(ConfigurationError, match="there is no experiment file"):
        definitions.loaded()


def test_files_with_hostile_names_become_groups_that_dagster_takes_and_stay_apart() -> None:
    names = ["a b", "a-b", "../up", "<script>", "x" * 200, "", "a\nb", "\udcff", "b_"]
    refused = [RefusedFile(Path("/somewhere") / f"{name}.yaml", "why") for name in names]
    found = shown(broken_experiments(refused))
    assert len(found) == len(names)
    assert all(name.isascii() and name.replace("_", "").isalnum() and len(name) < 64 for name in found)
    assert "broken_b_" in found, "a plain name stays"


def test_what_the_error_quotes_cannot_leave_its_block_of_code() -> None:
    hostile = "value '```\n# heading ![x](http://pictures.example/a.png) <script>' ````"
    lines = described(hostile).splitlines()
    fences = [k for k, line in enumerate(lines) if line.startswith("`````")]
    assert len(fences) == 2
    quoted = [k for k, line in enumerate(lines) if "pictures.example" in line or "<script>" in line]
    assert quoted
    assert all(fences[0] < k < fences[1] for k in quoted)
    assert len(described("x" * 1_000_000)) < 5000


def test_commands_refuse_the_same_file_with_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TFT_HOME", str(tmp_path / "home"))
    path = tmp_path / "bad.yaml"
    path.write_text("name: !!python/name:os.system")
    monkeypatch.setattr(sys, "argv", ["tft", "run", str(path), "--json"])
    with pytest.raises(SystemExit) as leaving:
        main()
    assert leaving.value.code == 2
    assert "could not determine a constructor" in json.loads(capsys.readouterr().out)["error"]
