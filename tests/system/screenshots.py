"""`make screenshots`: the pictures in README and the report in docs, taken from a finished `make demo`."""

import shutil
import sys
import tempfile
import time
from pathlib import Path

from r3pp_assets.demo import workspace_root
from r3pp_core.workspace import Workspace

sys.path.insert(0, str(Path(__file__).parent))
from conftest import open_browser, start_ui, stop_ui
from test_ui import LINEAGE, open_page

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
SETTLE_S = 6  # animations and graph layout


def take(browser, name: str, width: int, height: int) -> None:
    browser.set_window_size(width, height)
    time.sleep(SETTLE_S)
    browser.save_screenshot(str(IMAGES / f"{name}.png"))


def main(root: Path) -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    process, address = start_ui(root)
    browser = open_browser(Path(tempfile.mkdtemp()))
    try:
        browser.set_window_size(1900, 1250)
        open_page(browser, address + LINEAGE, "champion", "report")
        take(browser, "lineage", 1900, 1250)
        open_page(browser, f"{address}/assets/evaluation/r3?view=overview", "scores")
        take(browser, "evaluation", 1500, 1000)
        report = Workspace(root).results_dir("report") / "report.html"
        shutil.copyfile(report, IMAGES.parent / "sample-report.html")
        browser.get(report.as_uri())
        take(browser, "report", 1150, 1500)
    finally:
        browser.quit()
        stop_ui(process)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else workspace_root("sample", None))
