"""The real UI in a real browser: lineage, metadata and checks of a finished demo."""

import json
import time
from pathlib import Path

import pytest
from conftest import ANY_MODEL_PASSES, close
from driven_ui import DrivenUi
from selenium.webdriver.common.keys import Keys

from r3pp_core.provenance import damages, find
from r3pp_core.workspace import Workspace

pytestmark = pytest.mark.system

LOAD_S = 90
LINEAGE = "/assets/champion?view=lineage&lineageScope=upstream&lineageDepth=10"
GRAPH = Path(__file__).parents[1] / "assets" / "graph.json"
STATUSES = """
query { assetNodes { assetKey { path } isPartitioned staleStatus assetMaterializations(limit: 1) { timestamp }
  assetChecksOrError { ... on AssetChecks { checks { name executionForLatestMaterialization { status } } } } } }
"""


def open_page(browser, address: str, *texts: str) -> str:
    """Open a page and wait until it shows all texts; the page's text."""
    browser.get(address)
    deadline = time.monotonic() + LOAD_S
    while True:
        shown = browser.find_element("tag name", "body").text
        missing = [text for text in texts if text not in shown]
        if not missing:
            return shown
        assert time.monotonic() < deadline, f"{address} does not show {missing}: {shown[:2000]}"
        time.sleep(0.5)


def test_the_lineage_draws_every_stage_from_raw_to_champion(browser, ui):
    groups = ("raw", "ocr", "unified", "merged", "models", "index", "train", "evaluate")
    shown = open_page(browser, ui + LINEAGE, *groups, "champion", "report", "backbone", "minilm", "clip")
    for dataset in ("screenqa", "chartqa", "infovqa"):
        assert shown.count(dataset) == 3, f"raw, ocr and unified of {dataset}"


def test_merged_train_shows_its_rows_columns_and_pictures(browser, ui):
    open_page(browser, f"{ui}/assets/merged/train?view=overview", "Row count", "pseudo_text", "preview", "rows_chartqa")
    browser.find_element("xpath", "//*[text()='[Show Markdown]']").click()
    time.sleep(2)
    sources = [image.get_attribute("src") for image in browser.find_elements("css selector", "img")]
    assert any(source.startswith("data:image/png") for source in sources)


def test_evaluation_r3_shows_scores(browser, ui):
    open_page(
        browser,
        f"{ui}/assets/evaluation/r3?view=overview",
        "scores",
        "relaxed_accuracy_chartqa_r3_level_0.8",
        "anls_infovqa_r3_level_0",
        "squad_f1_screenqa_r3_level_0",
    )


def test_the_checkpoint_shows_its_recipe_loss_curve_and_label_preview(browser, ui):
    open_page(browser, f"{ui}/assets/checkpoint/r3?view=overview", "recipe", "label_preview", "loss_curve", "val_loss")


def test_every_asset_is_materialized_and_every_check_is_green(browser, ui):
    """As the UI's own API sees it, and on the page of the asset that everything else rests on."""
    nodes = [node for node in DrivenUi(ui).ask(STATUSES)["assetNodes"] if not node["isPartitioned"]]
    graph = {name: node for name, node in json.loads(GRAPH.read_text()).items() if not name.startswith("experiment/")}
    assert len(nodes) == len(graph)
    assert [node["assetKey"]["path"] for node in nodes if not node["assetMaterializations"]] == []
    assert [node["assetKey"]["path"] for node in nodes if node["staleStatus"] != "FRESH"] == []
    statuses = {
        (*node["assetKey"]["path"], check["name"]): (check["executionForLatestMaterialization"] or {}).get("status")
        for node in nodes
        for check in node["assetChecksOrError"]["checks"]
    }
    assert len(statuses) == sum(len(node["checks"]) for node in graph.values())
    not_green = {name for name, status in statuses.items() if status != "SUCCEEDED"}
    assert not_green == set()
    shown = open_page(
        browser,
        f"{ui}/assets/merged/train?view=checks",
        f"Checks ({len(graph['merged/train']['checks'])})",
        "no_picture_shared_with_val",
    )
    assert shown.count("Succeeded") == len(graph["merged/train"]["checks"])


def click(browser, text: str, within_s: float = LOAD_S) -> None:
    """Press the button of that text, the last one where a dialog repeats it, as soon as it can be pressed."""
    deadline = time.monotonic() + within_s
    while not (found := [button for button in buttons(browser, text) if button.is_enabled()]):
        shown = {button.text for button in browser.find_elements("tag name", "button")}
        assert time.monotonic() < deadline, f"no button {text!r} to press among {sorted(shown)}"
        time.sleep(0.5)
    found[-1].click()


def buttons(browser, text: str) -> list:
    return browser.find_elements("xpath", f"//button[normalize-space()='{text}']")


def test_merged_val_is_materialized_by_a_click(browser, ui):
    driven = DrivenUi(ui)
    before = {run["runId"] for run in driven.runs()}
    open_page(browser, f"{ui}/assets/merged/val?view=overview", "Row count")
    click(browser, "Materialize")
    driven.wait_for(lambda: len(driven.runs()) > len(before), "run")
    (run,) = [run for run in driven.runs() if run["runId"] not in before]
    assert [key["path"] for key in run["assetSelection"]] == [["merged", "val"]]
    driven.wait_for(lambda: driven.status(run["runId"]) in ("SUCCESS", "FAILURE"), "end of the run")
    assert driven.status(run["runId"]) == "SUCCESS"
    open_page(browser, f"{ui}/runs/{run['runId']}", "Success", "merged__val")


def test_the_champion_shows_its_card(browser, ui):
    open_page(browser, f"{ui}/assets/champion?view=overview", "card", "model_hash", "promoted", "summary")
    for link in browser.find_elements("xpath", "//*[text()='[Show Markdown]']"):
        link.click()
        time.sleep(1)
        if "Why this one" in browser.find_element("tag name", "body").text:
            break
        browser.find_element("tag name", "body").send_keys(Keys.ESCAPE)
        time.sleep(1)
    shown = browser.find_element("tag name", "body").text
    assert "no regression: passed (there is no champion yet)" in shown
    assert "This is the first champion" in shown
    browser.find_element("tag name", "body").send_keys(Keys.ESCAPE)


def test_a_blocked_gate_shows_its_reason_and_the_champion_is_not_made(browser, ui, gate):
    driven = DrivenUi(ui)
    close(gate)
    run = driven.launch("evaluate", ["report", "champion"], {}, checks=True)
    driven.wait_for(lambda: driven.status(run) in ("SUCCESS", "FAILURE"), "end of the run")
    gate.write_text(ANY_MODEL_PASSES.read_text())
    assert driven.status(run) == "FAILURE"
    open_page(browser, f"{ui}/assets/report?view=checks", "robustness_above_base", "Failed", "no_regression")
    browser.find_element("xpath", "//*[text()='robustness_above_base']").click()
    open_page(
        browser,
        f"{ui}/assets/report?view=checks&checkDetail=robustness_above_base",
        "whose lower bound has to be above",
    )
    open_page(browser, f"{ui}/runs/{run}", "Failure", "champion")


def test_of_two_runs_at_once_the_second_waits_or_says_who_is_writing(ui, demo):
    driven, raw = DrivenUi(ui), Workspace(demo.root).raw_dir("chartqa")
    before = find(raw).manifest.content_hash
    config = {"raw__chartqa": {"config": {"force": True}}}
    runs = [driven.launch("ingest", ["raw/chartqa"], config) for _ in range(2)]
    driven.wait_for(lambda: all(driven.status(run) in ("SUCCESS", "FAILURE") for run in runs), "end of both")
    failed = [run for run in runs if driven.status(run) == "FAILURE"]
    assert len(failed) < 2
    assert all("another process (pid" in "".join(driven.errors(run)) for run in failed)
    assert find(raw).manifest.content_hash == before
    assert damages(find(raw)) == []


def terminate(browser, run_page: str) -> None:
    """As a user does: where the code server was too busy to say that it can stop the run (Dagster gives it five
    seconds), the dialog offers to force it; then look again."""
    for last_try in (False, False, True):
        open_page(browser, run_page, "Terminate", "checkpoint__r3")
        click(browser, "Terminate")
        try:
            click(browser, "Terminate 1 run", within_s=20)
            break
        except AssertionError:
            if last_try:
                raise


def step_shown(driven: DrivenUi, run: str) -> int:
    """The step of the last point that a run added to its training's curve; -1 before the first."""
    query = """query { assetNodes(assetKeys: [{path: ["checkpoint", "r3"]}]) { assetObservations(limit: 1) { runId
      metadataEntries { label ... on IntMetadataEntry { intValue } } } } }"""
    (node,) = driven.ask(query)["assetNodes"]
    for last in node["assetObservations"]:
        if last["runId"] == run:
            return next(entry["intValue"] for entry in last["metadataEntries"] if entry["label"] == "step")
    return -1


def curves(browser, ui: str) -> list[str]:
    """What is drawn under Plots of the checkpoint, canvas by canvas."""
    open_page(browser, f"{ui}/assets/checkpoint/r3?view=overview", "Plots")
    click(browser, "Plots")
    time.sleep(2)
    assert "loss" in browser.find_element("tag name", "body").text
    return browser.execute_script("return [...document.querySelectorAll('canvas')].map(one => one.toDataURL())")


def test_a_training_s_curve_is_live_and_a_click_cancels_it(browser, ui, demo):
    """Last: it leaves a checkpoint of another run."""
    driven = DrivenUi(ui)
    metrics = Workspace(demo.root).checkpoint_dir(None) / "metrics.jsonl"
    asset = {"max_steps": 10_000, "overrides": {"save_every": 5, "eval_rows": 0, "seed": 5}}
    run = driven.launch("train", ["checkpoint/r3"], {"checkpoint__r3": {"config": asset}})
    driven.wait_for(lambda: metrics.is_file() and len(metrics.read_text().splitlines()) > 20, "steps")
    first, drawn = step_shown(driven, run), curves(browser, ui)
    assert drawn, "numbers of observations are drawn"
    driven.wait_for(lambda: step_shown(driven, run) > first, "a later point of the curve")
    driven.wait_for(lambda: curves(browser, ui) != drawn, "picture with a later point")  # on a busy machine it lags
    assert driven.status(run) == "STARTED"
    terminate(browser, f"{ui}/runs/{run}")
    driven.wait_for(lambda: driven.status(run) == "CANCELED", "cancelled run")
    open_page(browser, f"{ui}/runs/{run}", "Canceled")


def test_the_browser_console_holds_no_error(browser, ui):
    open_page(browser, f"{ui}/asset-groups/", "Global asset lineage")
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
