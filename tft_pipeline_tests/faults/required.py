"""What the fault matrix needs of a run of pytest; `conftest` takes these hooks.

`TFT_REQUIRE_FAULTS` lets no test of a fault skip. Each one's entry in a JUnit file says how many cases its test has and with
which versions it ran. Not here: the page that is made of it (`table`).
"""

import json
import os
import platform
from collections import Counter
from collections.abc import Generator
from importlib.metadata import version

import pytest

REQUIRE_FAULTS = "TFT_REQUIRE_FAULTS"
MOUNTS_NOTHING = "no file system can be mounted here"
"""The one reason for which a test of a fault may skip then: containers forbid it to root too, and ENOSPC is also injected."""
VERSIONS_SAID = ("dagster", "torch", "polars", "optuna", "mlflow")
CASES, VERSIONS = "cases", "versions"
"""Properties of a test of a fault in JUnit files; `faults.table` reads them."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Write on each test of a fault how many cases it has, before `-k` and `-m` take some away."""
    chosen = any("::" in argument for argument in config.args)  # a case by its id: the others were not collected
    cases = Counter(item.nodeid.partition("[")[0] for item in items)
    versions = {"python": platform.python_version(), **{name: version(name) for name in VERSIONS_SAID}}
    for item in items:
        if item.get_closest_marker("fault") is not None:
            n = None if chosen else cases[item.nodeid.partition("[")[0]]
            item.user_properties += [(CASES, json.dumps(n)), (VERSIONS, json.dumps(versions))]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test of a fault that skips shows nothing: with `TFT_REQUIRE_FAULTS` it fails, and says why it would have skipped."""
    report = yield
    if item.get_closest_marker("fault") is not None:
        _may_not_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same of a whole file with such tests."""
    report = yield
    if report.skipped and isinstance(collector, pytest.Module) and "pytest.mark.fault(" in collector.path.read_text():
        _may_not_skip(report)
    return report


def _may_not_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if os.environ.get(REQUIRE_FAULTS) and report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if MOUNTS_NOTHING not in reason:
            report.outcome = "failed"
            report.longrepr = (
                f"{reason}; {REQUIRE_FAULTS} is set, so that no test of a fault may skip: install what is missing"
            )
