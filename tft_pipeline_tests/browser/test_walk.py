"""A walk through the UI in a real browser, as the README's reader takes it: the graph, a run of everything, a fold and its
pictures, a fold that breaks and is repaired, two deployments and the way back.

Everything is done by clicks; the event log and the disk are read only to hold against what the pages say. The experiment is the
demo: its bars, features, graph and production folds, with fewer research folds and trials, shorter training, and a limit on
latency that no model keeps. `make screenshots` walks through the whole demo, which is refused for its own verdict, and stores
the pictures that the walk takes.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tft_pipeline.pipeline.factory import build_definitions
from tft_pipeline.storage.deployments import linked_release
from tft_pipeline.storage.experiments import read_experiment
from tft_pipeline.storage.releases import release_ids
from tft_pipeline_tests.browser.album import HEIGHT, NAMES, STORED, WANTED, WIDTH, Album
from tft_pipeline_tests.browser.chromium import FLAGS, MARKS, present, recording_proxy
from tft_pipeline_tests.browser.dev_server import ROOT, dev_server
from tft_pipeline_tests.browser.person import Person
from tft_pipeline_tests.conftest import Workbench
from tft_pipeline_tests.reruns import ran_since

pytestmark = [pytest.mark.slow, *MARKS]

DEMO = ROOT / "experiments" / "demo.yaml"
NAME = "demo"
SHORT: dict[str, dict[str, float]] = {
    "exploration": {"max_folds": 2, "epochs": 2},
    "tuning": {"max_folds": 2, "epochs": 2, "n_trials": 2},
    "production": {"epochs": 4},
    "latency": {"max_p95_ms": 0.001},  # whatever it learned, gates say no
}
OVERRIDE = "to see a deployment"


class Walk(Workbench):
    """One walk: what is clicked, and the event log and files that it is held against."""

    def __init__(self, folder: Path, file: Path, page: Page, address: str, album: Album) -> None:
        super().__init__(folder)
        self.file = file
        self.person = Person(page, address, NAME)
        self.page, self.album = page, album
        self.models = self.layout.models(NAME)

    def picture(self, name: str) -> None:
        """Take what is in view, without the pointer's hints."""
        self.page.mouse.move(WIDTH / 2, HEIGHT - 1)
        self.album.add(name, self.page.screenshot(animations="disabled"))

    def succeed(self) -> None:
        """Wait for the run whose page is open."""
        assert self.person.ended() == "Success", self.page.locator("body").inner_text()[-4000:]

    def files(self, but: str) -> dict[Path, int]:
        """When each file of the production folds was written, without those of one fold."""
        root = self.layout.artifact(NAME, "production_fold")
        return {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file() and but not in path.parts}


def short_demo(folder: Path) -> Path:
    """The demo in an experiment file of its own, with less training."""
    content = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    content["data"]["source"] = str((DEMO.parent / content["data"]["source"]).resolve())
    for section, changes in SHORT.items():
        for key, value in changes.items():
            part = content[section]["folds"] if key == "max_folds" else content[section]
            part[key] = value
    file = folder / "demo.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return file


@pytest.fixture
def browser() -> Iterator[Browser]:
    """Chromium behind a proxy that answers nobody; this machine is asked directly."""
    with recording_proxy() as (port, _), sync_playwright() as playwright:
        flags = [*FLAGS, f"--proxy-server=http://127.0.0.1:{port}"]
        opened = playwright.chromium.launch(executable_path=present(), args=flags)
        yield opened
        opened.close()


@contextlib.contextmanager
def last_seen(page: Page, picture: Path) -> Iterator[None]:
    """Where the walk stops, the page it stopped at is kept as a picture."""
    try:
        yield
    except Exception:
        page.screenshot(path=picture)
        raise


def test_a_person_sees_the_graph_runs_it_repairs_a_fold_deploys_and_goes_back(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path = tmp_path_factory.mktemp("walk")  # a short name: it is in pictures
    home = tmp_path / "home"
    monkeypatch.setenv("TFT_HOME", str(home))
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    asked: set[str] = set()
    wrong: list[str] = []
    experiment = DEMO if WANTED else short_demo(tmp_path)
    with dev_server(experiment, home, tmp_path / "dev.log") as address:
        context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, timezone_id="UTC", locale="en-GB")
        context.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        walk = Walk(tmp_path, experiment, page, address, Album(tmp_path / "images"))
        with last_seen(page, tmp_path / "last-seen.png"):
            walk.person.arrive()
            see_the_graph(walk)
            run_everything(walk)
            see_what_became_of_the_graph(walk)
            fold = open_a_fold(walk)
            break_and_repair(walk, fold)
            deploy_twice_and_go_back(walk)
            read_the_report(walk)
        context.close()
    assert wrong == []
    # files and pictures inside a page have no host; the browser's own services are no page's requests, and the proxy, which
    # answers nobody, keeps them in too
    assert asked - {""} == {urlsplit(address).netloc}
    assert sorted(walk.album.taken) == sorted(NAMES)
    if WANTED:
        walk.album.store(Path(WANTED))
    assert walk.album.shapes() == Album(STORED).shapes(), "run make screenshots"


def see_the_graph(walk: Walk) -> None:
    """The groups stand in the order of the pipeline, and one opens."""
    walk.person.menu("/asset-groups")
    page = walk.page
    groups = page.get_by_role("button", name=re.compile(rf"{NAME}_\d_"))
    expect(groups.first).to_be_visible()
    shown = [re.findall(rf"{NAME}_\d_\w+", text)[0] for text in groups.all_inner_texts()]
    keys = build_definitions([read_experiment(walk.file)], walk.layout).resolve_asset_graph()
    assert shown == sorted({node.group_name for node in keys.asset_nodes})
    assert [group.split("_")[-2] for group in shown] == [str(k + 1) for k in range(len(shown))]
    page.locator(f'foreignObject [data-tooltip="{NAME}_5_production"]').click()
    expect(page.locator("foreignObject", has_text="production_fold").last).to_be_visible()


def run_everything(walk: Walk) -> None:
    """The job from its launchpad; lines of progress and nested runs appear while it runs."""
    walk.person.job("run_everything")
    walk.person.line(": done")
    walk.person.line(r"^production_fold .*done")
    expect(walk.page.get_by_text(re.compile(r"Re-executions \(\d+\)"))).to_be_visible()
    expect(walk.page.get_by_text("Started", exact=True).first).to_be_visible()
    walk.picture("run")
    walk.succeed()


def see_what_became_of_the_graph(walk: Walk) -> None:
    """The group that was opened before, with its states."""
    walk.person.menu("/asset-groups")
    expect(walk.page.locator("foreignObject", has_text="production_fold").last).to_be_visible()
    walk.page.mouse.dblclick(WIDTH - 200, HEIGHT - 10)  # on nothing: all of it comes into view
    walk.page.wait_for_timeout(2000)  # it glides into place
    walk.picture("graph")


def open_a_fold(walk: Walk) -> str:
    """One production fold: its figures and every picture of it."""
    with walk.instance() as instance:
        folds = sorted(instance.get_dynamic_partitions(f"{NAME}_production_folds"))
    fold = folds[len(folds) // 2]
    walk.person.asset("production_fold", "Partitions")
    walk.person.fold(fold)
    expect(walk.page.get_by_text("Materialized", exact=True).first).to_be_visible()
    expect(walk.page.get_by_text(f"Materialized ({len(folds)})")).to_be_visible()
    links = walk.page.get_by_text("[Show Markdown]")
    expect(links.first).to_be_visible()
    walk.picture("fold")
    pictures = 0
    for link in links.all():
        link.click()
        dialog = walk.page.get_by_role("dialog")
        dialog.locator("p, table").first.wait_for()
        for image in dialog.locator('img[src^="data:image/png"]').all():
            assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 400
            pictures += 1
            if pictures == 1:
                walk.picture("plot")
        walk.page.keyboard.press("Escape")
        expect(walk.page.get_by_role("dialog")).to_have_count(0)
    assert pictures > 0
    return fold


def break_and_repair(walk: Walk, fold: str) -> None:
    """A bit of the stored features flips; the fold says so and fails, alone; what it names is made again, then the fold."""
    others = walk.files(but=fold)
    (damaged,) = (walk.layout.artifact(NAME, "features") / "current").resolve().glob("*.parquet")
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.chmod(0o644)
    damaged.write_bytes(content)
    walk.person.asset("production_fold", "Partitions")
    walk.person.fold(fold)
    walk.person.materialise()
    assert walk.person.ended() == "Failure"
    expect(walk.page.get_by_text(re.compile(r"/features/\w+/data\.parquet: SHA-256 is ")).first).to_be_visible()
    expect(walk.page.get_by_text(re.compile("materialise its asset again")).first).to_be_visible()
    walk.person.asset("production_fold", "Partitions")
    walk.person.fold(fold)
    expect(walk.page.get_by_text("Failed (1)")).to_be_visible()
    expect(walk.page.get_by_text("failed, and did not materialize this asset")).to_be_visible()
    walk.picture("failure")

    walk.person.asset("features", "Overview")
    walk.person.materialise()
    walk.succeed()
    before = walk.materialisations()
    walk.person.job("rerun_failed_folds")
    walk.succeed()
    assert ran_since(walk, before) == {("production_fold", fold)}, (
        "it came out as before: nothing after it is out of date"
    )
    assert walk.files(but=fold) == others
    walk.person.asset("production_fold", "Partitions")
    walk.person.fold(fold)
    expect(walk.page.get_by_text("Failed (0)")).to_be_visible()


def deploy_twice_and_go_back(walk: Walk) -> None:
    """Gates say no, an override says why all the same; another candidate the same way; then back to the first."""
    person, models = walk.person, walk.models
    (first,) = release_ids(models)
    person.job("deploy", {"reason": "the first one"})
    assert person.ended() == "Failure"
    expect(walk.page.get_by_text(re.compile("gates say no")).first).to_be_visible()
    assert linked_release(models) is None
    deploy(walk, first)
    person.asset("release", "Events")
    person.materialise()
    walk.succeed()
    (second,) = set(release_ids(models)) - {first, f"{first}-override"}
    deploy(walk, second)
    person.job("roll_back", {"to": "previous", "reason": "it was better"})
    walk.succeed()
    live_is(walk, f"{first}-override")
    walk.picture("release")


def deploy(walk: Walk, release: str) -> None:
    """The job with an override."""
    walk.person.job("deploy", {"override": OVERRIDE, "release": release})
    walk.succeed()
    live_is(walk, f"{release}-override")


def live_is(walk: Walk, release: str) -> None:
    """The page of the asset says what the link says."""
    assert linked_release(walk.models) == release
    walk.person.asset("release", "Events")
    expect(walk.page.get_by_role("row", name=re.compile(rf"^to {release}"))).to_be_visible()


def read_the_report(walk: Walk) -> None:
    """The page that the run wrote, in a tab of its own."""
    page = walk.page.context.new_page()
    page.goto((walk.layout.artifact(NAME, "report") / "current" / "report.html").resolve().as_uri())
    expect(page.get_by_role("heading", name="Equity against baselines")).to_be_visible()
    expect(page.locator("#chart-equity svg.main-svg").first).to_be_visible()
    walk.album.add("report", page.screenshot(animations="disabled"))
    page.close()
