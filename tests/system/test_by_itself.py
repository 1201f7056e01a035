"""The platform by itself: what lands in the watched folder becomes the champion without a hand, and nothing else does.

Its services are those of deploy/systemd, killed at random while the line runs, and started again as systemd would.
"""

import io
import os
import random
import shutil
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deployment import SERVICES, Deployment
from PIL import Image, ImageDraw

from r3pp_core.champion.history import entries
from r3pp_core.jsonl import read_jsonl
from r3pp_core.workspace import Workspace

pytestmark = pytest.mark.system

TICK_S = 5
LINE_S = 900
# On so few rows little is certain: what has to be shown is that r3, which is given the text, is above the base.
GATE = '{"clean_margin": 1.0, "champion_margin": 1.0, "min_robustness_gain": 0.0}'
SENSORS = ("new_source_data", "retraining_on_change")


@pytest.fixture
def deployed(demo, tmp_path):
    root, source = tmp_path / "workspace", tmp_path / "source"
    shutil.copytree(demo.root, root, symlinks=True)
    shutil.copytree(demo.source, source)
    (tmp_path / "gate.json").write_text(GATE)
    deployment = Deployment(
        root,
        R3PP_PROFILE="smoke",
        R3PP_SOURCE=str(source),
        R3PP_GATE=str(tmp_path / "gate.json"),
        R3PP_TICK_S=str(TICK_S),
    )
    yield deployment, source
    deployment.stop()


def add_picture(source: Path) -> str:
    """One more chart in the source's train file, with one question; the question."""
    (path,) = (source / "chartqa" / "data").glob("train*.parquet")
    table = pq.read_table(path)
    picture, data = Image.new("RGB", (320, 200), "white"), io.BytesIO()
    draw = ImageDraw.Draw(picture)
    draw.text((20, 20), "Lamps sold in Kranton", fill="black")
    for number, height in enumerate((40, 90, 130)):
        draw.rectangle((30 + 90 * number, 180 - height, 80 + 90 * number, 180), fill=(30, 90, 200))
    picture.save(data, "PNG")
    row = table.slice(0, 1).to_pylist()[0]
    question = "Are there five bars for Kranton?"
    row |= {"image": {**row["image"], "bytes": data.getvalue()}, "query": question, "label": ["No"]}
    unfinished = path.with_name("unfinished")
    pq.write_table(pa.concat_tables([table, pa.Table.from_pylist([row], table.schema)]), unfinished)
    unfinished.replace(path)
    return question


def kill_at_random(deployment: Deployment, rng: random.Random, ends: threading.Event) -> None:
    """Each service once, in some order, half a minute apart."""
    for service in rng.sample(SERVICES, len(SERVICES)):
        if ends.wait(rng.uniform(20, 40)):
            return
        deployment.kill(service)


def test_a_new_picture_becomes_a_champion_and_a_worse_model_does_not(deployed, rounds):
    deployment, source = deployed
    paths = Workspace(deployment.root)
    for sensor in SENSORS:
        deployment.turn_on(sensor)
    deployment.wait_for(lambda: all(len(deployment.ticks(sensor)) > 2 for sensor in SENSORS), "ticks")
    before = {run["runId"] for run in deployment.runs()}
    assert len(entries(paths.champion_dir)) == 1

    # A new picture: sensor, ingest, index, train, evaluate, gate, champion; whatever is killed meanwhile.
    question = add_picture(source)
    for number in range(rounds):
        ends = threading.Event()
        killer = threading.Thread(target=kill_at_random, args=(deployment, random.Random(number), ends))
        killer.start()
        deployment.wait_for(lambda n=number: len(entries(paths.champion_dir)) == 2 + n, "champion", LINE_S)
        ends.set()
        killer.join()
        assert question in {row["question"] for row in read_jsonl(paths.merged("train"))}
        if number < rounds - 1:
            settle(deployment)
            question = add_picture(source)
    assert all(deployment.num_starts[service] > 1 for service in SERVICES)
    settle(deployment)
    runs = [run for run in deployment.runs() if run["runId"] not in before]
    made = [name for run in runs if run["status"] == "SUCCESS" for name in assets_of(run)]
    assert len(made) == len(set(made)) or rounds > 1, f"something was made twice: {sorted(made)}"
    assert {"raw/chartqa", "ocr/chartqa", "merged/train", "checkpoint/r3", "evaluation/r3", "champion"} <= set(made)
    assert "raw/screenqa" not in made
    assert "evaluation/base" not in made, "neither val nor the backbone changed"
    card = entries(paths.champion_dir)[-1].card["why"]
    assert card["rows"]["chartqa"]["added"] == 1

    # The same bytes again: nothing runs.
    num_runs = len(deployment.runs())
    for path in source.rglob("*.parquet"):
        os.utime(path)
    settle(deployment)
    assert len(deployment.runs()) == num_runs

    # A model that training ruined: evaluated, turned away, and the reason is on the check.
    ruined = {"config": {"max_steps": 3, "overrides": {"lora_lr": 1.0, "warmup_steps": 0, "eval_rows": 0}}}
    deployment.launch("train", ["checkpoint/r3"], {"checkpoint__r3": ruined}, checks=True)
    deployment.wait_for(lambda: "FAILED" in gate(deployment).values(), "closed gate", LINE_S)
    settle(deployment)
    assert gate(deployment)["robustness_above_base"] == "FAILED"
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


def gate(deployment: Deployment) -> dict[str, str]:
    """The report's checks by name, as the UI shows them."""
    query = """query { assetNodes(assetKeys: [{path: ["report"]}]) { assetChecksOrError { ... on AssetChecks {
      checks { name executionForLatestMaterialization { status } } } } } }"""
    (node,) = deployment.ask(query)["assetNodes"]
    return {
        check["name"]: (check["executionForLatestMaterialization"] or {}).get("status", "none")
        for check in node["assetChecksOrError"]["checks"]
    }
