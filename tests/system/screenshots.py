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

from r3pp_assets.demo import workspace_root
from r3pp_core.workspace import Workspace

sys.path.insert(0, str(Path(__file__).parent))
from conftest import close, open_browser, start_ui, stop_ui
from driven_ui import DrivenUi
from test_ui import LINEAGE, open_page

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
SETTLE_S = 6  # animations and graph layout
WIDE, HIGH = (2400, 1300), (1500, 1100)


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
    finally:
        browser.quit()
        stop_ui(process)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else workspace_root("sample", None))
