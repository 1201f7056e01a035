"""`make screenshots`: the pictures in README and docs, and the report in docs, from a finished `make demo`."""

import shutil
import sys
import tempfile
import time
from pathlib import Path

from selenium.webdriver.remote.webdriver import WebDriver

from r3pp_assets.demo import workspace_root
from r3pp_core.workspace import Workspace

sys.path.insert(0, str(Path(__file__).parent))
from conftest import open_browser, start_ui, stop_ui
from test_ui import LINEAGE, open_page

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
SETTLE_S = 6  # animations and graph layout
WIDE, HIGH = (1900, 1250), (1500, 1100)
# name: address, what the page has to show, its size
PAGES: dict[str, tuple[str, tuple[str, ...], tuple[int, int]]] = {
    "lineage": (LINEAGE, ("champion", "report"), WIDE),
    "evaluation": ("/assets/evaluation/r3?view=overview", ("scores",), HIGH),
    "training": ("/assets/checkpoint/r3?view=overview", ("recipe", "loss_curve"), HIGH),
    "gate": ("/assets/report?view=checks", ("no_regression", "robustness_above_base"), HIGH),
    "champion": ("/assets/champion?view=overview", ("card", "model_hash"), HIGH),
    "automation": ("/automation", ("weekly_retraining", "retraining_on_change"), HIGH),
}


def take(browser: WebDriver, name: str, size: tuple[int, int]) -> None:
    browser.set_window_size(*size)
    time.sleep(SETTLE_S)
    browser.save_screenshot(str(IMAGES / f"{name}.png"))


def main(root: Path) -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    process, address = start_ui(root)
    browser = open_browser(Path(tempfile.mkdtemp()))
    try:
        for name, (path, texts, size) in PAGES.items():
            browser.set_window_size(*size)
            open_page(browser, address + path, *texts)
            take(browser, name, size)
        report = Workspace(root).results_dir("report") / "report.html"
        shutil.copyfile(report, IMAGES.parent / "sample-report.html")
        browser.get(report.as_uri())
        take(browser, "report", (1150, 1500))
    finally:
        browser.quit()
        stop_ui(process)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else workspace_root("sample", None))
