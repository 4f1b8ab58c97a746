import re
from pathlib import Path

import pytest
import yaml

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.storage.experiments import read_experiment, usable_experiments
from tft_pipeline_tests.builders import raw_experiment

SHIPPED = sorted((Path(__file__).resolve().parents[2] / "experiments").glob("*.yaml"))


def write(path: Path, text: str | None = None, **changes: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(raw_experiment(dict(changes))) if text is None else text)
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_file_is_read(path):
    assert read_experiment(path).experiment.name == path.stem


def test_the_sample_that_the_shipped_files_name_is_there():
    assert {read_experiment(path).source.is_file() for path in SHIPPED if path.stem != "intraday"} == {True}


def test_the_source_is_relative_to_the_file_and_not_to_the_working_directory(tmp_path, monkeypatch):
    path = write(tmp_path / "a" / "small.yaml", **{"data.source": "../bars/x.parquet"})
    monkeypatch.chdir(tmp_path / "a")
    found = read_experiment(Path("small.yaml"))
    assert found.source == tmp_path / "bars" / "x.parquet"
    assert found.path == path
    absolute = write(tmp_path / "a" / "other.yaml", **{"data.source": str(tmp_path / "y.csv")})
    assert read_experiment(absolute).source == tmp_path / "y.csv"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"absent\.yaml: no such experiment file"):
        read_experiment(tmp_path / "absent.yaml")


@pytest.mark.parametrize("text", ["a: [1", "a: b: c", "\t- x", "!!python/object/apply:os.getcwd []"])
def test_what_is_no_plain_yaml_is_refused_by_file(tmp_path, text):
    with pytest.raises(ConfigurationError, match=r"bad\.yaml: not readable as YAML"):
        read_experiment(write(tmp_path / "bad.yaml", text))


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "bad.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(ConfigurationError, match="not readable as YAML"):
        read_experiment(tmp_path / "bad.yaml")


@pytest.mark.parametrize("text", ["", "- a\n- b", "just text"])
def test_a_file_without_sections_is_refused(tmp_path, text):
    with pytest.raises(ConfigurationError, match="expected a mapping of sections"):
        read_experiment(write(tmp_path / "empty.yaml", text))


@pytest.mark.parametrize("extra", ["seed: 4", "network: {hidden: 8}"])
def test_a_key_that_is_stated_twice_is_refused(tmp_path, extra):
    path = write(tmp_path / "small.yaml")
    path.write_text(path.read_text() + extra + "\n")
    with pytest.raises(ConfigurationError, match=rf"{extra.split(':')[0]} stated twice"):
        read_experiment(path)


def test_a_key_that_is_stated_twice_inside_a_section_is_refused(tmp_path):
    path = write(tmp_path / "small.yaml")
    path.write_text(path.read_text().replace("  hidden: 4\n", "  hidden: 4\n  hidden: 8\n"))
    with pytest.raises(ConfigurationError, match="hidden stated twice"):
        read_experiment(path)


def test_an_anchor_and_a_merge_with_a_replaced_key_are_no_repetition(tmp_path):
    content = raw_experiment()
    folds = yaml.safe_dump(content["tuning"].pop("folds"), default_flow_style=True, width=1000).strip()
    del content["exploration"]["folds"]
    text = yaml.safe_dump(content, sort_keys=False)
    text = text.replace("exploration:\n", f"exploration:\n  folds: &lengths {folds}\n")
    text = text.replace("tuning:\n", "tuning:\n  folds: {<<: *lengths, max_folds: 1}\n")
    found = read_experiment(write(tmp_path / "small.yaml", text)).experiment
    assert found.exploration.folds.max_folds == 2
    assert found.tuning.folds == found.exploration.folds.model_copy(update={"max_folds": 1})


def test_a_file_that_does_not_validate_is_named_with_its_problems(tmp_path):
    path = write(tmp_path / "small.yaml", **{"network.dropout": 2.0})
    with pytest.raises(ConfigurationError, match=r"small\.yaml: 1 problem\(s\)\n  network\.dropout"):
        read_experiment(path)


def test_two_files_of_one_name_are_both_refused_and_others_are_loaded(tmp_path):
    first, second = write(tmp_path / "a.yaml"), write(tmp_path / "b.yaml")
    other = write(tmp_path / "c.yaml", name="other")
    found, refused = usable_experiments([first, second, other])
    assert [one.experiment.name for one in found] == ["other"]
    assert [one.path for one in refused] == [first, second]
    assert all(re.search(r"a\.yaml and .*b\.yaml are both named 'small'", one.reason) for one in refused)


def test_minutes_and_tables_are_relative_to_the_file_too(tmp_path):
    tables = [{"source": "../data/vix.csv", "prefix": "vix"}, {"source": str(tmp_path / "flows"), "prefix": "pvol"}]
    path = write(
        tmp_path / "a" / "small.yaml",
        **{"data.minute_source": "minutes", "data.tables": tables, "features.groups": ["intra"]},
    )
    found = read_experiment(path)
    assert found.minute_source == tmp_path / "a" / "minutes"
    assert found.tables == (tmp_path / "data" / "vix.csv", tmp_path / "flows")
    plain = read_experiment(write(tmp_path / "a" / "plain.yaml"))
    assert (plain.minute_source, plain.tables) == (None, ())


def test_absolute_sources_make_the_data_section_fit_for_another_folder(tmp_path):
    tables = [{"source": "vix.csv", "prefix": "vix", "max_age_days": 5.0}]
    path = write(
        tmp_path / "a" / "small.yaml",
        **{"data.minute_source": "minutes", "data.tables": tables, "features.groups": ["intra"]},
    )
    found = read_experiment(path)
    data = found.absolute_data()
    moved = write(tmp_path / "b" / "small.yaml", **{"data": data.model_dump(mode="json"), "features.groups": ["intra"]})
    again = read_experiment(moved)
    assert (again.source, again.minute_source, again.tables) == (found.source, found.minute_source, found.tables)
    own = found.experiment.data
    sources = {"source": own.source, "minute_source": own.minute_source, "tables": own.tables}
    assert data.model_copy(update=sources) == own
    assert data.tables[0].max_age_days == 5.0
    assert read_experiment(write(tmp_path / "a" / "plain.yaml")).absolute_data().minute_source is None
