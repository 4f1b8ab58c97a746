"""Chromium for tests: where it is, how it is started so that it asks nothing for itself, and a proxy that tells who called.

Not here: what is opened.
"""

import contextlib
import os
import shutil
import socketserver
import threading
from collections.abc import Iterator

import pytest

CHROMIUM = shutil.which("chromium")
ABSENT = "no chromium on the path: nothing was opened in a browser"
REQUIRED = bool(os.environ.get("TFT_REQUIRE_BROWSER"))
"""Set where a skipped test would pass for a passed one: CI."""
MARKS = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None and not REQUIRED, reason=ABSENT)]

HOUSEKEEPING = "http://housekeeping.invalid"
"""Where the browser is told to ask after its own updates and accounts, so that these calls are known from a page's."""
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-default-apps",
    "--disable-sync",
    "--disable-domain-reliability",
    "--disable-features=NetworkTimeServiceQuerying",
    f"--component-updater=url-source={HOUSEKEEPING}/update",
    f"--gaia-url={HOUSEKEEPING}",
    f"--google-apis-url={HOUSEKEEPING}",
)


def present() -> str:
    """Path of Chromium; the test fails without one."""
    if CHROMIUM is None:
        pytest.fail(f"{ABSENT}, and TFT_REQUIRE_BROWSER is set: install Chromium", pytrace=False)
    return CHROMIUM


@contextlib.contextmanager
def recording_proxy() -> Iterator[tuple[int, list[str]]]:
    """A port, and the first line of everything that is sent to it; it answers nobody."""
    calls: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            calls.append(self.rfile.readline(2000).decode(errors="replace").strip() or "(connected, said nothing)")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], calls
        server.shutdown()


def of_pages(calls: list[str]) -> list[str]:
    """Calls that are not the browser's own housekeeping."""
    return [call for call in calls if f" {HOUSEKEEPING}/" not in call and " housekeeping.invalid:" not in call]
