"""The real UI in a real browser: lineage, metadata and checks of a finished demo."""

import json
import time
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

LOAD_S = 90
LINEAGE = "/assets/champion?view=lineage&lineageScope=upstream&lineageDepth=10"
GRAPH = Path(__file__).parents[1] / "assets" / "graph.json"
STATUSES = """
query { assetNodes { assetKey { path } isPartitioned assetMaterializations(limit: 1) { timestamp }
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


def graphql(ui: str, query: str) -> dict:
    request = urllib.request.Request(
        f"{ui}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["data"]


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
    nodes = [node for node in graphql(ui, STATUSES)["assetNodes"] if not node["isPartitioned"]]
    graph = {name: node for name, node in json.loads(GRAPH.read_text()).items() if not name.startswith("experiment/")}
    assert len(nodes) == len(graph)
    assert [node["assetKey"]["path"] for node in nodes if not node["assetMaterializations"]] == []
    statuses = {
        (*node["assetKey"]["path"], check["name"]): (check["executionForLatestMaterialization"] or {}).get("status")
        for node in nodes
        for check in node["assetChecksOrError"]["checks"]
    }
    assert len(statuses) == sum(len(node["checks"]) for node in graph.values())
    assert {name: status for name, status in statuses.items() if status != "SUCCEEDED"} == {}
    shown = open_page(
        browser,
        f"{ui}/assets/merged/train?view=checks",
        f"Checks ({len(graph['merged/train']['checks'])})",
        "no_picture_shared_with_val",
    )
    assert shown.count("Succeeded") == len(graph["merged/train"]["checks"])


def test_the_browser_console_holds_no_error(browser, ui):
    open_page(browser, f"{ui}/asset-groups/", "Global asset lineage")
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
