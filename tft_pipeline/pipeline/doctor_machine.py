"""Checks of `tft doctor`: Python, versions, torch and GPU, cores and threads, memory, variables, automation.

Each judgement is a function of values, beside the one that asks the machine for them. torch is read, not imported.
"""

import os
import platform
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tft_pipeline.domain.credentials import without_credentials
from tft_pipeline.pipeline.doctor_findings import OK, PROBLEM, WARNING, Finding
from tft_pipeline.storage.layout import PROJECT_ROOT

DISTRIBUTION = "tft-pipeline"
MALICIOUS = {"lightning": ("2.6.2", "2.6.3"), "pytorch-lightning": ("2.6.2", "2.6.3")}
"""Releases that stole credentials of who imported them."""
VARIABLES = {
    "TFT_HOME": "folder of everything generated",
    "TFT_EXPERIMENTS": "experiment files the UI loads",
    "TFT_AUTOMATION": "on or off: schedules and sensors",
    "TFT_WORKERS": "most worker processes",
    "TFT_STORE": "object store that holds what is valid",
    "TFT_LOCKS": "PostgreSQL server whose locks hold over machines",
    "TFT_TUNING_STORAGE": "PostgreSQL database of studies",
    "TFT_BROKER": "Redis that hands runs to workers",
    "TFT_WORKER_SLOTS": "runs a worker of the queue takes at once",
    "TFT_DAGSTER_STORAGE": "PostgreSQL database of Dagster, in deploy/",
    "TFT_CODE_HOST": "where the code server listens, in deploy/",
    "TFT_CODE_PORT": "its port",
}
FOR_TESTS = ("TFT_REQUIRE_FAULTS", "TFT_REQUIRE_BROWSER", "TFT_SCREENSHOTS", "TFT_PANELS")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")
GIB = 1 << 30
WORKER_GIB = 1.0
CGROUP = Path("/sys/fs/cgroup")
NAMED = 6


def python() -> list[Finding]:
    """Version of Python against what the package asks for."""
    return judge_python(platform.python_version(), metadata.metadata(DISTRIBUTION)["Requires-Python"])


def judge_python(version: str, wanted: str) -> list[Finding]:
    """Whether a version of Python is one of those wanted."""
    if Version(version) in SpecifierSet(wanted, prereleases=True):
        return [Finding("python", OK, f"{version} on {platform.machine()}")]
    return [
        Finding(
            "python", PROBLEM, f"{version}, needed is {wanted}", "make a new environment: make setup PYTHON=python3.12"
        )
    ]


def versions() -> list[Finding]:
    """Installed libraries against what the package asks for, and against constraints.txt of the checkout."""
    installed: dict[str, str] = {}
    for one in metadata.distributions():
        if one.metadata and one.metadata["Name"]:
            installed.setdefault(_plain(one.metadata["Name"]), one.version)
    file = PROJECT_ROOT / "constraints.txt"
    pinned = file.read_text().splitlines() if file.is_file() else []
    return judge_versions(installed, metadata.requires(DISTRIBUTION) or [], pinned)


def judge_versions(installed: Mapping[str, str], required: Sequence[str], pinned: Sequence[str]) -> list[Finding]:
    """Missing, unfit and malicious libraries are problems; ones that are not the pinned versions a warning.

    Args:
        installed: plain name -> version.
        required: requirements as the package states them; those of extras are left out.
        pinned: lines `name==version`.
    """
    found = [
        Finding(
            "versions",
            PROBLEM,
            f"{name} {installed[name]} is a malicious release: it sends credentials away when it is imported",
            "do not run anything here: delete this environment, make setup, and replace every secret this machine knew",
        )
        for name, bad in MALICIOUS.items()
        if installed.get(name) in bad
    ]
    needs = [one for one in map(Requirement, required) if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = []
    for need in needs:
        have = installed.get(_plain(need.name))
        if have is None:
            wrong.append(f"{need.name} is not installed")
        elif not need.specifier.contains(have, prereleases=True):
            wrong.append(f"{need.name} is {have}, needed is {need.specifier}")
    if wrong:
        found.append(Finding("versions", PROBLEM, "; ".join(wrong), "make setup"))
    pins = {_plain(name): version for name, _, version in (line.strip().partition("==") for line in pinned) if version}
    names = {_plain(need.name) for need in needs}
    other = [
        f"{name} {installed[name]} (pinned: {version})"
        for name, version in sorted(pins.items())
        if name in installed and Version(installed[name]).public != Version(version).public
    ]
    if other:
        own = [one for one in other if one.split()[0] in names]
        shown = [*own, *[one for one in other if one not in own]]
        more = f" and {len(shown) - NAMED} more" if len(shown) > NAMED else ""
        found.append(
            Finding(
                "versions",
                WARNING,
                f"not the versions of constraints.txt: {', '.join(shown[:NAMED])}{more}",
                "make setup, if the figures of the README are to come out",
            )
        )
    tested = "as in constraints.txt" if pins else "there is no constraints.txt beside the package to compare with"
    return found or [Finding("versions", OK, f"all {len(needs)} libraries are there, {tested}")]


def torch_build() -> list[Finding]:
    """Which torch, and whether there is a GPU; a driver that is loaded says so without torch."""
    text = Path(str(metadata.distribution("torch").locate_file("torch/version.py"))).read_text()
    cuda = re.search(r"^cuda\b[^=]*= '([^']+)'", text, re.M)
    return judge_torch(metadata.version("torch"), cuda[1] if cuda else None, len(_gpus()))


def _gpus() -> list[Path]:
    folder = Path("/proc/driver/nvidia/gpus")
    return sorted(folder.iterdir()) if folder.is_dir() else []


def judge_torch(version: str, cuda: str | None, gpus: int) -> list[Finding]:
    """A build that does not fit the machine is a warning: it works, on the processor.

    Args:
        cuda: version that torch was built for; None for the processor alone.
        gpus: NVIDIA cards whose driver is loaded.
    """
    if gpus and cuda is None:
        return [
            Finding(
                "torch",
                WARNING,
                f"{version} is built for the processor alone, and this machine has {gpus} GPU(s): they are not used",
                "install torch from PyTorch's index for CUDA, or leave it: results on a GPU differ in the last digits",
            )
        ]
    if gpus:
        return [Finding("torch", OK, f"{version} for CUDA {cuda}, {gpus} GPU(s) seen; folds are trained there")]
    if cuda is not None:
        return [
            Finding("torch", OK, f"{version} for CUDA {cuda}, and no GPU is seen: all is computed on the processor")
        ]
    return [Finding("torch", OK, f"{version} for the processor; no GPU is seen")]


def cores() -> list[Finding]:
    """Cores, the share of them that this process may use, threads and workers."""
    seen = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return judge_cores(seen, cpu_quota(CGROUP), os.environ)


def cpu_quota(cgroup: Path) -> float | None:
    """Processors that the control group allows, such as 1.5; None where it sets no limit, or is of another kind."""
    file = cgroup / "cpu.max"
    if not file.is_file():
        return None
    share, _, period = file.read_text().strip().partition(" ")
    return None if share == "max" else int(share) / int(period)


def judge_cores(seen: int, quota: float | None, environment: Mapping[str, str]) -> list[Finding]:
    """Whether as many processes would compute as there are processors for."""
    found = []
    named = environment.get("TFT_WORKERS")
    if named is not None and (not named.isdecimal() or int(named) < 1):
        found.append(
            Finding("cores", PROBLEM, f"TFT_WORKERS is {named!r}, no whole number of at least 1", "correct or unset it")
        )
        named = None
    workers = seen if named is None else min(seen, int(named))
    if quota is not None and workers > max(1.0, quota):
        found.append(
            Finding(
                "cores",
                WARNING,
                f"{seen} cores are seen, the container may use {quota:g} of them: {workers} workers wait for each other",
                f"TFT_WORKERS={max(1, int(quota))}",
            )
        )
    for name in THREADS:
        value = environment.get(name)
        if value is None:
            continue
        if not value.isdecimal() or int(value) < 1:
            found.append(Finding("cores", WARNING, f"{name} is {value!r}, no number of threads", "unset it"))
        elif int(value) > seen:
            found.append(
                Finding(
                    "cores", WARNING, f"{name} is {value}, more than the {seen} cores", f"{name}={seen}, or unset it"
                )
            )
    return found or [Finding("cores", OK, f"{seen} cores, at most {workers} workers with one thread each")]


def memory() -> list[Finding]:
    """What a run may take."""
    import psutil

    now = psutil.virtual_memory()
    return judge_memory(now.total, now.available, *memory_limit(CGROUP))


def memory_limit(cgroup: Path) -> tuple[int | None, int]:
    """Bytes that the control group allows, None where it sets no limit, and bytes that its processes hold.

    Pages of files that it would give up first are free.
    """
    file = cgroup / "memory.max"
    text = file.read_text().strip() if file.is_file() else "max"
    if text == "max":
        return None, 0
    rows = (line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
    given_up = {name: int(value) for name, value in rows}.get("inactive_file", 0)
    return int(text), max(0, int((cgroup / "memory.current").read_text()) - given_up)


def judge_memory(total: int, available: int, limit: int | None, held: int = 0) -> list[Finding]:
    """Bytes of this machine, those that are free, what the control group allows, and what its processes hold of that."""
    free = min(available, available if limit is None else max(0, limit - held)) / GIB
    all_of_it = min(total, total if limit is None else limit) / GIB
    said = f"{free:.1f} GiB free of {all_of_it:.1f} GiB"
    if free < WORKER_GIB:
        return [
            Finding(
                "memory",
                WARNING,
                f"{said}; a worker takes up to {WORKER_GIB:g} GiB, so one fold is trained at a time, and it may be killed",
                "end other programs; then TFT_WORKERS=1 and a lower training.batch_blocks",
            )
        ]
    return [Finding("memory", OK, f"{said}, room for {int(free // WORKER_GIB)} workers")]


def variables() -> list[Finding]:
    """The variables of this program that are set, without their secrets, and those that are probably misspelt."""
    return judge_variables(os.environ)


def judge_variables(environment: Mapping[str, str]) -> list[Finding]:
    """Names that nothing reads are a warning, with the nearest one that is read."""
    given = {name: value for name, value in sorted(environment.items()) if name.startswith("TFT_")}
    found = []
    for name in given:
        if name in VARIABLES or name in FOR_TESTS:
            continue
        near = get_close_matches(name, VARIABLES, n=1, cutoff=0.6)
        remedy = f"did you mean {near[0]}?" if near else f"unset it; known are {', '.join(VARIABLES)}"
        found.append(Finding("variables", WARNING, f"{name} is set, and nothing reads it", remedy))
    known = [f"{name}={without_credentials(value)}" for name, value in given.items() if name in VARIABLES]
    return [
        *found,
        Finding("variables", OK, ", ".join(known) or "none is set: everything lies in data/ of the checkout"),
    ]


def automation() -> list[Finding]:
    """Whether anything would run by itself."""
    return judge_automation(os.environ.get("TFT_AUTOMATION"))


def judge_automation(value: str | None) -> list[Finding]:
    """On and off are both fine; another word is refused when the UI loads."""
    if value not in (None, "on", "off"):
        return [Finding("automation", PROBLEM, f"TFT_AUTOMATION is {value!r}", "on or off")]
    if value == "on":
        return [Finding("automation", OK, "on: what changed is computed again by itself while `make dev` runs")]
    return [Finding("automation", OK, "off, but for what was switched on in the UI; make dev AUTOMATION=on for all")]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
