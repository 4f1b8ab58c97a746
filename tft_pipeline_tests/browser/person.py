"""What a person does in Dagster's UI: menus, tabs, buttons, a launchpad, waiting and looking. Nothing here asks the API.

The UI redraws while it polls: playwright waits until what it clicks stands still, and tries again when it was replaced.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from playwright.sync_api import Locator, Page, TimeoutError, expect

ENDED = re.compile(r"^(Success|Failure|Canceled)$")
FAILED = re.compile(r"^(Failure|Canceled)$")
PATIENCE_MS = 120_000
RUN_MS = 1_800_000
LOOK_MS, AWAY_MS = 15_000, 15_000


@dataclass
class Person:
    """Somebody with one tab open."""

    page: Page
    address: str
    experiment: str
    launched: list[str] = field(default_factory=list)

    def arrive(self) -> None:
        """Open the UI and fold its navigation to icons, so that there is room."""
        self.page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        self.page.goto(self.address)
        self.page.get_by_role("button", name="Hide navigation").click()

    def menu(self, path: str) -> None:
        """Click an icon of the navigation."""
        self.page.get_by_role("navigation").locator(f'a[href="{path}"]').click()

    def job(self, task: str, fields: Mapping[str, str] = MappingProxyType({})) -> None:
        """Jobs, this job, its launchpad, these fields instead of the defaults, launch; ends on the page of the run."""
        self.menu("/jobs")
        self.page.get_by_role("link", name=re.compile(rf"\b{self.experiment}_{task}\b")).click()
        self.page.get_by_role("tab", name="Launchpad").click()
        launch = self.page.get_by_role("button", name="Launch Run")
        expect(launch).to_be_enabled(timeout=PATIENCE_MS)
        if fields:
            editor = self.page.locator(".CodeMirror").first
            expect(editor).to_contain_text("config:")  # the defaults, written by the page itself
            (op,) = re.findall(rf"\b{self.experiment}_\w+(?=:)", editor.inner_text())
            lines = [f"      {name}: {value}\n" for name, value in fields.items()]
            editor.click()
            self.page.keyboard.press("Control+a")
            self.page.keyboard.insert_text(f"ops:\n  {op}:\n    config:\n{''.join(lines)}")
        expect(self.page.get_by_text("No errors")).to_be_visible(timeout=PATIENCE_MS)
        launch.click()
        self._on_a_run()

    def asset(self, name: str, tab: str) -> None:
        """Search for an asset, open it, and one of its tabs."""
        self.page.keyboard.press("Escape")
        self.page.get_by_role("navigation").get_by_role("button", name="search").click()
        self.page.get_by_placeholder(re.compile("Search assets")).fill(f"{self.experiment} {name}")
        found = self.page.locator('[class*="SearchDialog"]').get_by_text(f"{self.experiment} / {name}", exact=True)
        found.filter(visible=True).last.click()
        self.page.wait_for_url(f"**/assets/{self.experiment}/{name}**")
        self.page.get_by_role("tab", name=tab, exact=True).click()

    def fold(self, key: str) -> None:
        """On the tab of partitions: choose one."""
        self.page.get_by_placeholder("Filter by name…").fill(key)
        self.page.get_by_text(key, exact=True).filter(visible=True).last.click()
        self.page.wait_for_url(f"**partition={key}**")
        self.page.get_by_placeholder("Filter by name…").fill("")

    def materialise(self) -> None:
        """The button of an asset's page, and what its dialog asks; ends on the page of the run."""
        self.page.get_by_role("button", name=re.compile("Materialize")).first.click()
        confirm = self.page.get_by_role("button", name=re.compile("^Launch 1 run"))
        news = self.page.get_by_role("region", name=re.compile("Notifications"))
        old = "".join(f':not([href$="{run}"])' for run in self.launched)
        told = news.locator(f'a[href*="/runs/"]{old}').first
        expect(confirm.or_(told).first).to_be_visible()
        if confirm.is_visible():  # an asset with partitions asks which
            confirm.click()
        told.click()
        self._on_a_run()

    def _on_a_run(self) -> None:
        self.page.wait_for_url("**/runs/*")
        self.launched.append(self.run)

    def ended(self) -> str:
        """Wait on the page of a run until it says how the run ended."""
        return self._looked_for(self.page.get_by_text(ENDED).first).inner_text()

    def line(self, pattern: str) -> None:
        """Wait on the page of a run for a line of its log; a run that fails ends the waiting."""
        found = self.page.get_by_text(re.compile(pattern)).last
        self._looked_for(found.or_(self.page.get_by_text(FAILED)).first)
        expect(found).to_be_visible()

    def _looked_for(self, what: Locator) -> Locator:
        """Look at the page of a run until something is on it; a page that follows a run keeps a core busy, so that another
        one is open between two looks."""
        address, until = self.page.url, time.monotonic() + RUN_MS / 1000
        while True:
            try:
                what.wait_for(timeout=LOOK_MS)
                return what
            except TimeoutError:
                if time.monotonic() > until:
                    raise
            self.page.goto("about:blank")
            self.page.wait_for_timeout(AWAY_MS)
            self.page.goto(address)

    @property
    def run(self) -> str:
        """Id of the run whose page is open."""
        return self.page.url.split("/runs/")[1].split("?")[0]
