"""Who can reach the UI, and what they can do there: the real servers, with the words that Makefile and docs/security.md use."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tft_pipeline.storage.layout import PROJECT_ROOT
from tft_pipeline_tests.conftest import Workbench
from tft_pipeline_tests.pipeline.test_webserver import LAUNCH, free_port, process, until

READ_ONLY = "dagster-webserver --read-only -h 127.0.0.1 -p 3001 -w workspace.yaml"
EVERYWHERE = re.compile(r"""0\.0\.0\.0|--host[= ]\*|\[::\]|bind\(\(?["']{2}|create_server\(\(["']{2}|INADDR_ANY""")


def texts() -> dict[str, str]:
    """What people run or copy, except what runs inside a container (`deploy/`, with tests of its own)."""
    pages = [PROJECT_ROOT / "Makefile", PROJECT_ROOT / "README.md", *(PROJECT_ROOT / "docs").rglob("*.md")]
    pages += [*(PROJECT_ROOT / "tft_pipeline").rglob("*.py"), *(PROJECT_ROOT / ".github").rglob("*.yml")]
    return {str(path.relative_to(PROJECT_ROOT)): path.read_text() for path in pages}


def test_no_page_and_no_code_opens_a_server_to_the_network() -> None:
    exposed = {name for name, text in texts().items() if EVERYWHERE.search(text)}
    assert not exposed, "127.0.0.1 unless told otherwise"
    assert EVERYWHERE.search("dagster-webserver -h 0.0.0.0")
    for line in texts()["Makefile"].splitlines():
        if re.search(r"dg dev|dagster-webserver|mlflow (server|ui)", line):
            assert "--host 127.0.0.1" in line or "$(HOST)" in line, line


def test_the_page_about_security_names_the_command_that_is_tested() -> None:
    assert READ_ONLY in texts()["docs/security.md"]


def test_an_audit_that_asked_nothing_cannot_pass() -> None:
    """Where a package cannot be looked up, pip-audit without --strict says that nothing is known of it, and ends with 0."""
    for name, text in texts().items():
        for line in text.splitlines():
            if re.search(r"pip-audit.* -r ", line):
                assert "--strict" in line, f"{name}: {line}"


def listening(root: psutil.Process) -> set[str]:
    """Addresses that a process and its children listen on; sockets in the file system have none."""
    found = set()
    for one in (root, *root.children(recursive=True)):
        try:
            sockets = one.net_connections(kind="inet")
        except psutil.Error:  # it ended meanwhile
            continue
        found |= {each.laddr.ip for each in sockets if each.status == psutil.CONN_LISTEN}
    return found


@pytest.mark.slow
def test_the_ui_listens_on_this_machine_alone_and_read_only_refuses_every_change(
    workbench: Callable[..., Workbench], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bench = workbench()
    monkeypatch.setenv("TFT_EXPERIMENTS", str(bench.file))
    monkeypatch.setenv("TFT_AUTOMATION", "off")
    monkeypatch.chdir(PROJECT_ROOT)
    with bench.instance():
        pass  # links dagster.yaml into the home
    port, own = free_port(), free_port()
    binaries = Path(sys.executable).parent
    words = READ_ONLY.replace("3001", str(port)).split()
    dev = ["dg", "dev", "-w", "workspace.yaml", "--host", "127.0.0.1", "--port", str(own)]

    def ask(where: int, query: str, variables: dict[str, Any] | None = None) -> Any:
        try:
            url = f"http://127.0.0.1:{where}/graphql"
            answer = requests.post(url, json={"query": query, "variables": variables or {}}, timeout=60)
        except requests.ConnectionError:
            return None
        return answer.json()

    selector = {
        "pipelineName": "__ASSET_JOB",
        "repositoryName": "__repository__",
        "repositoryLocationName": "tft_pipeline",
        "assetSelection": [{"path": ["small", "snapshot"]}],
    }
    with (
        process([str(binaries / words[0]), *words[1:]], tmp_path / "web.log") as web,
        process([str(binaries / dev[0]), *dev[1:]], tmp_path / "dev.log") as developing,
    ):
        until(lambda: ask(port, "{ version }"), seconds=180, what="read-only UI")
        refused = ask(port, LAUNCH, {"params": {"selector": selector, "mode": "default"}})
        assert refused["data"]["launchPipelineExecution"]["__typename"] == "UnauthorizedError"
        allowed = ask(port, "{ permissions { permission value } unscopedPermissions: permissions { permission } }")
        assert not [row for row in allowed["data"]["permissions"] if row["value"]]
        until(lambda: ask(own, "{ version }"), seconds=180, what="UI of make dev")
        assert [row for row in ask(own, "{ permissions { permission value } }")["data"]["permissions"] if row["value"]]
        for server in (web, developing):
            assert listening(psutil.Process(server.pid)) == {"127.0.0.1"}
    with bench.instance() as instance:
        assert instance.get_runs_count() == 0
