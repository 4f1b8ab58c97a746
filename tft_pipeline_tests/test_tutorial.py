"""The tutorial is walked from its own text: every command and script of the page, and what it says they print."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline.proposing import propose_experiment
from tft_pipeline_tests.pipeline.test_local_times import ZONE, local_hours
from tft_pipeline_tests.pipeline.test_proposing import REFUSED as TABLES
from tft_pipeline_tests.storage.test_csv_text import REFUSED as FILES

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|python|console)\n(.*?)^```", PAGE, re.M | re.S)
EXIT = re.compile(r"# exit code (\d)$")


def run(command: list[str], folder: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """A command as a person types it, results and errors in one text; one thread a process."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **one, "PATH": path, "TFT_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def said(line: str, output: str) -> bool:
    """Whether an output has a line of the page; three dots at its end stand for any rest."""
    begins = line.removesuffix("...").rstrip()
    return any(
        begins in one if line.endswith("...") else one == line
        for one in (text.rstrip() for text in output.splitlines())
    )


@pytest.mark.slow
def test_a_stranger_who_types_what_the_page_says_sees_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    output, seen = "", 0
    for language, text in BLOCKS:
        if language == "console":
            missing = [
                line
                for line in text.splitlines()
                if not said(line.removeprefix("error: "), output.replace("error: ", ""))
            ]
            assert not missing, f"{missing}\nis not in\n{output}"
            seen += 1
            continue
        output = ""
        for line in text.splitlines() if language == "sh" else [text]:
            if line.startswith("export "):
                continue
            expected = int(found[1]) if (found := EXIT.search(line)) else 0
            command = ["bash", "-c", line] if language == "sh" else [sys.executable, "-c", text]
            done = run(command, tmp_path, tmp_path / "data")
            assert done.returncode == expected, f"{line}\n{done.stdout}"
            output += done.stdout
    assert seen >= 5
    report = re.findall(r"`(data/\S+\.html)`", PAGE)
    assert report
    assert all((tmp_path / path).is_file() for path in report)


def test_every_sentence_of_the_table_of_mistakes_is_told_to_somebody_who_makes_that_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = []
    for number, make in enumerate(
        (*(content for content, _ in FILES.values()), *(make for make, _ in TABLES.values()))
    ):
        path = tmp_path / f"mine_{number}.csv"
        path.write_bytes(make if isinstance(make, bytes) else make().write_csv().encode())
        with pytest.raises(ConfigurationError) as refused:
            propose_experiment(path)
        told.append(str(refused.value))
    local_hours().write_csv(tmp_path / "local.csv")
    for timezone in (ZONE, "UTC"):
        with pytest.raises(ConfigurationError) as refused:
            propose_experiment(tmp_path / "local.csv", timezone=timezone)
        told.append(str(refused.value))
    table = PAGE.partition("## Mistakes and their sentences")[2].partition("Warned about")[0]
    sentences = [one for row in table.splitlines() for one in re.findall(r"`([^`]+)`", "".join(row.split("|")[2:3]))]
    assert len(sentences) > 20
    assert [one for one in sentences if not any(one in message for message in told)] == []
