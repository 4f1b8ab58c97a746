"""Experiment files that are wrong on purpose: one clear sentence each, bounded in time and memory, nothing run."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.storage.experiment_yaml import DEEPEST, LARGEST_BYTES
from tft_pipeline.storage.experiments import read_experiment
from tft_pipeline_tests.builders import raw_experiment
from tft_pipeline_tests.conftest import small_experiment

pytestmark = pytest.mark.fault("hostile_files")
VALID = yaml.safe_dump(raw_experiment())


def laughs(levels: int = 10, *, merged: bool = False) -> str:
    """A billion of them in a few lines."""
    first = "a0: &a0 {lol: 1}" if merged else "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"
    lines = [first]
    for k in range(1, levels):
        aliases = ", ".join(f"*a{k - 1}" for _ in range(10))
        lines.append(f"a{k}: &a{k} " + (f"{{<<: [{aliases}]}}" if merged else f"[{aliases}]"))
    return "\n".join(lines) + "\n"


HOSTILE = {
    "python object": ("name: !!python/object/apply:os.system ['touch owned']", "python/object/apply"),
    "python name": ("name: !!python/name:os.system", "python/name"),
    "own tag": ("name: !exec 'touch owned'", "!exec"),
    "billion laughs": (laughs(), "with its anchors written out"),
    "billion merged": (laughs(merged=True), "with its anchors written out"),
    "long scalar repeated": ("a: &a " + "x" * 200_000 + "\nb: [" + "*a, " * 5000 + "]", "with its anchors written out"),
    "refers to itself": ("name: &a [*a]", "refers to itself"),
    "deep lists": ("name: " + "[" * 20_000 + "]" * 20_000, f"nested more than {DEEPEST} deep"),
    "deep blocks": ("\n".join(" " * k + "a:" for k in range(500)), f"nested more than {DEEPEST} deep"),
    "huge": ("# " + "x" * LARGEST_BYTES, f"longer than {LARGEST_BYTES} bytes"),
    "long number": ("seed: 0x" + "f" * 100_000, "a number of 100002 characters"),
    "long sexagesimal": ("seed: 1" + ":59" * 50_000, "a number of 150001 characters"),
    "no such day": (VALID.replace("2021-01-15", "2021-13-45"), "not readable as YAML"),
    "no moment": ("name: 2021-01-01T99:00:00", "not readable as YAML"),
    "empty int": ('seed: !!int ""', "not readable as YAML"),
    "no bool": ("name: !!bool perhaps", "not readable as YAML"),
    "no timestamp": ("name: !!timestamp never", "not readable as YAML"),
    "binary": ("name: !!binary 'é'", "not readable as YAML"),
    "list as key": ("? [1, 2]\n: x", "not readable as YAML"),
    "NUL": ("name: small\0", "not readable as YAML"),
    "NUL by escape": (VALID.replace("bars.parquet", '"bars\\0.parquet"'), "U+0000, which cannot be seen"),
    "newline in a path": (VALID.replace("bars.parquet", '"a\\rb.parquet"'), "U+000D, which cannot be seen"),
    "terminal escape": (VALID + 'description: "\\e[2Jgone"\n', "U+001B, which cannot be seen"),
    "direction mark": (VALID + "description: 'a \u202e b'\n", "U+202E, which cannot be seen"),
    "zero width": (VALID.replace("ret_1", "ret\u200b_1"), "U+200B, which cannot be seen"),
    "half a pair": (VALID + 'description: "\\ud800"\n', "U+D800, which cannot be seen"),
    "several documents": (VALID + "---\n" + VALID, "not readable as YAML"),
    "not a mapping": ("- 1", "expected a mapping of sections"),
    "empty": ("", "expected a mapping of sections"),
    "numbers for keys": ("1: 2", "problem"),
    "many unknown keys": ("\n".join(f"k{k}: {k}" for k in range(500)), "and 45"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_in_one_short_sentence_and_runs_nothing(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, sentence = HOSTILE[case]
    path = tmp_path / "hostile.yaml"
    path.write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="hostile") as refused:
        read_experiment(path)
    assert sentence in str(refused.value)
    assert len(str(refused.value)) < 10_000
    assert not (tmp_path / "owned").exists()


def test_the_file_that_the_hostile_ones_are_made_of_is_a_good_one(tmp_path: Path) -> None:
    path = small_experiment(tmp_path)
    path.write_text(VALID)
    assert read_experiment(path).experiment.name == "small"


def test_what_a_refused_value_says_is_shortened_and_written_out(tmp_path: Path) -> None:
    path = tmp_path / "long.yaml"
    path.write_text(VALID + f"surprise: {'y' * 100_000}\nsafe_{'z' * 1000}: 1\n")
    with pytest.raises(ConfigurationError) as refused:
        read_experiment(path)
    assert "(100002 characters)" in str(refused.value)
    assert "(1005 characters)" in str(refused.value)
    assert len(str(refused.value)) < 2000


def test_a_bomb_takes_neither_memory_nor_time(tmp_path: Path) -> None:
    """In a process that may have 1 GiB more than the interpreter itself."""
    (tmp_path / "bomb.yaml").write_text(laughs(30))

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))

    code = "import sys; from pathlib import Path; from tft_pipeline.storage.experiments import read_experiment\n"
    code += "read_experiment(Path(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "bomb.yaml")],
        preexec_fn=limit,
        env=os.environ | {"POLARS_MAX_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "with its anchors written out" in done.stderr, done.stderr[-2000:]


@pytest.mark.parametrize(
    "name",
    ["a\nb.yaml", "a\x1b[2Jb.yaml", "a\u202eb.yaml", "a\u200bb.yaml", "\udcff.yaml"],
    ids=["newline", "escape", "direction", "zero width", "no unicode"],
)
def test_a_file_whose_name_hides_something_is_refused_and_the_message_shows_it(name: str, tmp_path: Path) -> None:
    path = small_experiment(tmp_path).rename(tmp_path / name)
    with pytest.raises(ConfigurationError, match="cannot be seen") as refused:
        read_experiment(path)
    assert "\n" not in str(refused.value)
    assert "\x1b" not in str(refused.value)
    str(refused.value).encode()


@pytest.mark.parametrize("name", ["x" * 300 + ".yaml", "~nobody-of-this-name/a.yaml", "pipe", "."])
def test_a_path_that_is_no_file_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match=r"no such experiment file|cannot be looked for"):
        read_experiment(Path(name))
