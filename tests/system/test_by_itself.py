"""The platform by itself: what lands in the watched folder becomes the champion without a hand, and nothing else does.

Its services are those of deploy/systemd, killed at random while the line runs, and started again as systemd would.
"""

import io
import os
import random
import shutil
import threading
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Demo
from deployment import SERVICES, Deployment
from PIL import Image, ImageDraw

from r3pp_assets.metadata import NOTHING
from r3pp_core.champion.history import entries
from r3pp_core.jsonl import read_jsonl
from r3pp_core.workspace import Workspace

pytestmark = pytest.mark.system

TICK_S = 5
LINE_S = 900
# On so few rows little is certain: what has to be shown is that r3, which is given the text, is above the base.
GATE = '{"clean_margin": 1.01, "champion_margin": 1.01, "min_robustness_gain": 0.0}'
SENSORS = ("new_source_data", "retraining_on_change")


def deploy_copy(demo: Demo, folder: Path) -> tuple[Deployment, Path]:
    """The services of a copy of `demo`, with both sensors on, and the folder that they watch."""
    root, source = folder / "workspace", folder / "source"
    shutil.copytree(demo.root, root, symlinks=True)
    shutil.copytree(demo.source, source)
    (folder / "gate.json").write_text(GATE)
    deployment = Deployment(
        root,
        R3PP_PROFILE="smoke",
        R3PP_SOURCE=str(source),
        R3PP_GATE=str(folder / "gate.json"),
        R3PP_TICK_S=str(TICK_S),
    )
    try:
        for sensor in SENSORS:
            deployment.turn_on(sensor)
        deployment.wait_for(lambda: all(len(deployment.ticks(sensor)) > 2 for sensor in SENSORS), "ticks")
    except BaseException:
        deployment.stop()
        raise
    return deployment, source


@pytest.fixture
def deployed(finished_demo, tmp_path):
    deployment, source = deploy_copy(finished_demo, tmp_path)
    yield deployment, source
    deployment.stop()


def add_picture(source: Path, number: int) -> str:
    """One more chart in the source's train file, another for each number, with one question; the question."""
    (path,) = (source / "chartqa" / "data").glob("train*.parquet")
    table = pq.read_table(path)
    picture, data = Image.new("RGB", (320, 200), "white"), io.BytesIO()
    draw = ImageDraw.Draw(picture)
    draw.text((20, 20), f"Lamps sold in Kranton, day {number}", fill="black")
    for place, height in enumerate((40, 90, 60 + 5 * number)):
        draw.rectangle((30 + 90 * place, 180 - height, 80 + 90 * place, 180), fill=(30, 90, 200))
    picture.save(data, "PNG")
    row = table.slice(0, 1).to_pylist()[0]
    question = f"Are there five bars for Kranton on day {number}?"
    row |= {"image": {**row["image"], "bytes": data.getvalue()}, "query": question, "label": ["No"]}
    unfinished = path.with_name("unfinished")
    pq.write_table(pa.concat_tables([table, pa.Table.from_pylist([row], table.schema)]), unfinished)
    unfinished.replace(path)
    return question


def kill_at_random(deployment: Deployment, rng: random.Random, gives_up: threading.Event, killed: list[str]) -> None:
    """Each service once, in some order, half a minute apart; with the runs that it started, or without."""
    for service in rng.sample(SERVICES, len(SERVICES)):
        if gives_up.wait(rng.uniform(20, 40)):
            return
        deployment.kill(service, with_runs=rng.random() < 0.5)
        killed.append(service)


def test_a_new_picture_becomes_a_champion_and_a_worse_model_does_not(deployed, rounds):
    deployment, source = deployed
    paths = Workspace(deployment.root)
    assert len(entries(paths.champion_dir)) == 1

    # A new picture: sensor, ingest, index, train, evaluate, gate, champion; whatever is killed meanwhile.
    seed = random.randrange(10**6)
    for number in range(rounds):
        made_before = num_made(deployment)
        question = add_picture(source, number)
        killed, gives_up = [], threading.Event()
        rng = random.Random(seed + number)
        killer = threading.Thread(target=kill_at_random, args=(deployment, rng, gives_up, killed))
        killer.start()
        what = f"champion in round {number} of seed {seed}"
        try:
            deployment.wait_for(lambda n=number: len(entries(paths.champion_dir)) == 2 + n, what, LINE_S)
        except BaseException:
            gives_up.set()
            raise
        finally:
            killer.join()
        assert sorted(killed) == sorted(SERVICES), f"in round {number} of seed {seed}"
        assert question in {row["question"] for row in read_jsonl(paths.merged("train"))}
        settle(deployment)
        made = {name: n - made_before[name] for name, n in num_made(deployment).items()}
        told = f"round {number} of seed {seed}: {made}"
        for name in ("raw/chartqa", "ocr/chartqa", "merged/train", "checkpoint/r3", "evaluation/r3", "champion"):
            assert made[name] == 1, told
        assert max(made.values()) == 1, told
        assert made["raw/screenqa"] == 0, told
        assert made["evaluation/base"] == 0, "neither val nor the backbone changed"
        assert entries(paths.champion_dir)[-1].card["why"]["rows"]["chartqa"]["added"] == 1
    assert all(deployment.num_starts[service] > rounds for service in SERVICES)

    # Each run says why it was started.
    whys = [tag["value"] for run in deployment.runs() for tag in run["tags"] if tag["key"] == "r3pp/why"]
    assert whys.count("files of chartqa changed") >= rounds, whys
    assert any("raw/chartqa" in why for why in whys), whys

    # The same bytes again: nothing runs, and nothing runs below where a hand makes them once more.
    num_runs = len(deployment.runs())
    for path in source.rglob("*.parquet"):
        os.utime(path)
    settle(deployment)
    assert len(deployment.runs()) == num_runs
    deployment.launch("ingest", ["raw/chartqa"], {"raw__chartqa": {"config": {"force": True}}})
    settle(deployment)
    num_runs += 1
    assert len(deployment.runs()) == num_runs
    assert deployment.runs()[0]["status"] == "SUCCESS"

    # A model that training ruined: evaluated, turned away, and the reason is on the check.
    ruined = {"config": {"max_steps": 3, "overrides": {"lora_lr": 1.0, "warmup_steps": 0, "eval_rows": 0}}}
    deployment.launch("train", ["checkpoint/r3"], {"checkpoint__r3": ruined}, checks=True)
    deployment.wait_for(lambda: gate(deployment)["robustness_above_base"][0] == "FAILED", "closed gate", LINE_S)
    settle(deployment)
    assert "whose lower bound has to be above" in gate(deployment)["robustness_above_base"][1]
    assert len(entries(paths.champion_dir)) == 1 + rounds
    assert "champion" not in [name for run in deployment.runs()[: -num_runs or None] for name in assets_of(run)]


def settle(deployment: Deployment) -> None:
    """Until no run is there and both sensors have looked three times since."""
    running = {"QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"}
    deployment.wait_for(lambda: not running & {run["status"] for run in deployment.runs()}, "rest", LINE_S)
    seen = {sensor: deployment.ticks(sensor)[0]["timestamp"] for sensor in SENSORS}

    def looked() -> bool:
        later = {s: [t for t in deployment.ticks(s) if t["timestamp"] > seen[s]] for s in SENSORS}
        return all(len(ticks) >= 3 for ticks in later.values())

    deployment.wait_for(looked, "further looks")


def assets_of(run: dict) -> list[str]:
    return ["/".join(key["path"]) for key in run["assetSelection"] or ()]


def num_made(deployment: Deployment) -> Counter[str]:
    """How often each asset was made so far, by runs that failed later too.

    Where a run is lost between an asset and its checks, another takes the asset up for them, and finds it as it was:
    that one does not count.
    """
    query = """query { assetNodes { assetKey { path } assetMaterializations(limit: 1000) {
      runId metadataEntries { label ... on TextMetadataEntry { text } } } } }"""
    found_whole = {"label": "changed_since_last", "text": NOTHING}
    for_lost = {run["runId"] for run in deployment.runs() if any("was lost" in tag["value"] for tag in run["tags"])}
    return Counter(
        {
            "/".join(node["assetKey"]["path"]): sum(
                made["runId"] not in for_lost or found_whole not in made["metadataEntries"]
                for made in node["assetMaterializations"]
            )
            for node in deployment.ask(query)["assetNodes"]
        }
    )


def gate(deployment: Deployment) -> dict[str, tuple[str, str]]:
    """Status and reason of the report's checks by name, as the UI shows them."""
    query = """query { assetNodes(assetKeys: [{path: ["report"]}]) { assetChecksOrError { ... on AssetChecks {
      checks { name executionForLatestMaterialization { status evaluation { description } } } } } } }"""
    (node,) = deployment.ask(query)["assetNodes"]
    found = {
        check["name"]: check["executionForLatestMaterialization"] for check in node["assetChecksOrError"]["checks"]
    }
    return {
        name: (last["status"], (last["evaluation"] or {}).get("description") or "") if last else ("none", "")
        for name, last in found.items()
    }
