"""`make screenshots`: the pictures in README and docs, and the report in docs, from a finished `make demo`."""

import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver

from r3pp_assets.automation.why import WHY
from r3pp_assets.demo import workspace_root
from r3pp_core.champion.history import entries
from r3pp_core.workspace import Workspace

sys.path.insert(0, str(Path(__file__).parent))
from conftest import close, open_browser, small_demo, start_ui, stop_ui
from driven_ui import DrivenUi
from test_by_itself import LINE_S, add_picture, assets_of, deploy_copy, settle
from test_ui import LINEAGE, click, open_page

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
SETTLE_S = 6  # animations and graph layout
WIDE, HIGH, LOW = (2400, 1300), (1500, 1100), (1500, 560)


@dataclass(frozen=True)
class Page:
    """Where a picture is taken, when the page shows `texts`. `opens`: metadata whose markdown is opened before; `crop`:
    left, top, right and bottom of what is kept, as shares."""

    path: str
    texts: tuple[str, ...]
    size: tuple[int, int] = HIGH
    opens: str = ""
    crop: tuple[float, float, float, float] | None = None


PAGES = {
    "lineage": Page(LINEAGE, ("champion", "report"), (3000, 2100), crop=(0.31, 0.09, 0.76, 1)),
    "launchpad": Page("/locations/__repository__@r3pp/jobs/train/playground", ("RESOURCES", "checkpoint__r3")),
    "evaluation": Page("/assets/evaluation/r3?view=overview", ("scores",), WIDE),
    "training": Page("/assets/checkpoint/r3?view=overview", ("recipe", "loss_curve"), opens="loss_curve"),
    "gate": Page("/assets/report?view=checks", ("no_regression", "robustness_above_base")),
    "champion": Page("/assets/champion?view=overview", ("card", "model_hash"), opens="card"),
    "automation": Page("/automation", ("weekly_retraining", "retraining_on_change")),
}
ROLLED_BACK = Page(  # the top of its card
    "/assets/champion?view=overview", ("card", "rolled back"), (1500, 1700), opens="card", crop=(0.09, 0.06, 0.91, 0.41)
)
CLOSED = Page("/assets/report?view=checks&checkDetail=robustness_above_base", ("has to be above",))


def take(browser: WebDriver, name: str, size: tuple[int, int]) -> None:
    browser.set_window_size(*size)
    time.sleep(SETTLE_S)
    browser.save_screenshot(str(IMAGES / f"{name}.png"))


def take_page(browser: WebDriver, address: str, name: str, page: Page) -> None:
    browser.set_window_size(*page.size)
    open_page(browser, address + page.path, *page.texts)
    if page.opens:
        row = f"//tr[td[normalize-space()='{page.opens}']]"
        browser.find_element("xpath", f"{row}//*[text()='[Show Markdown]']").click()
    take(browser, name, page.size)
    if page.crop:
        path = IMAGES / f"{name}.png"
        with Image.open(path) as image:
            sides = (image.width, image.height, image.width, image.height)
            kept = image.crop(tuple(round(share * side) for share, side in zip(page.crop, sides, strict=True)))
        kept.save(path, optimize=True)
    browser.find_element("tag name", "body").send_keys(Keys.ESCAPE)


def look_at_the_gate(driven: DrivenUi) -> None:
    """The report once more, which stands already, with its checks."""
    run = driven.launch("evaluate", ["report"], {}, checks=True)
    driven.wait_for(lambda: driven.status(run) in ("SUCCESS", "FAILURE"), "end of the report")


def is_explained(run: dict) -> bool:
    return any(tag["key"] == WHY for tag in run["tags"])


def take_a_day(browser: WebDriver) -> None:
    """A picture lands in the watched folder of a small line; its model becomes the champion, and is left again."""
    folder = Path(tempfile.mkdtemp())
    deployment, source = deploy_copy(small_demo(folder / "small", folder / "demo"), folder)
    champions = Workspace(deployment.root).champion_dir
    try:
        add_picture(source, 1)
        deployment.wait_for(lambda: len(entries(champions)) == 2, "champion", LINE_S)
        settle(deployment)
        (run,) = [run["runId"] for run in deployment.runs() if "checkpoint/r3" in assets_of(run) and is_explained(run)]
        browser.set_window_size(*HIGH)
        open_page(browser, f"{deployment.address}/runs/{run}", "Success", "checkpoint__r3")
        click(browser, "View tags and config")
        take(browser, "why", LOW)
        back = {"champion": {"config": {"roll_back": True, "reason": "wrong on tables"}}}
        run = deployment.launch("rollback", ["champion"], back)
        deployment.wait_for(lambda: deployment.status(run) == "SUCCESS", "way back")
        take_page(browser, deployment.address, "rolled_back", ROLLED_BACK)
    finally:
        deployment.stop()
        shutil.rmtree(folder)


def main(root: Path) -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    gate = Path(tempfile.mkdtemp()) / "gate.json"
    gate.write_text("{}")
    process, address = start_ui(root, R3PP_GATE=str(gate))
    browser, driven = open_browser(Path(tempfile.mkdtemp())), DrivenUi(address)
    try:
        look_at_the_gate(driven)
        for name, page in PAGES.items():
            take_page(browser, address, name, page)
        close(gate)
        try:
            look_at_the_gate(driven)
            take_page(browser, address, "gate_closed", CLOSED)
        finally:
            gate.write_text("{}")
            look_at_the_gate(driven)
        report = Workspace(root).results_dir("report") / "report.html"
        shutil.copyfile(report, IMAGES.parent / "sample-report.html")
        browser.get(report.as_uri())
        take(browser, "report", (1150, 1500))
        take_a_day(browser)
    finally:
        browser.quit()
        stop_ui(process)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else workspace_root("sample", None))
