"""`r3pp index` by one process and by launched ranks."""

import contextlib
import hashlib
import json

import numpy as np
import pytest

from r3pp_core.cli import main
from r3pp_core.jsonl import write_jsonl


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Models of the sample and a table of three pictures."""
    from PIL import Image

    root = tmp_path_factory.mktemp("workspace")
    rows = []
    for number in range(3):
        path = root / f"{number}.png"
        Image.fromarray(np.full((40, 30, 3), 80 * number, np.uint8)).save(path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append({"id": f"chartqa/train/{number}", "image_path": path.name, "image_sha256": sha256})
    write_jsonl(root / "t.jsonl", [{**row, "dataset": "chartqa", "pseudo_text": f"shop {row['id']}"} for row in rows])
    with contextlib.chdir(root):
        assert main(["download-models", "--out_dir", "models", "--profile", "sample"]) == 0
    return root


def test_launched_ranks_give_the_index_of_one_process(table, r3pp, monkeypatch):
    monkeypatch.chdir(table)
    line = "index --jsonl t.jsonl --image_root . --shard_entries 2"
    assert r3pp(f"{line} --out_dir one").code == 0
    said = r3pp(f"{line} --out_dir two --launcher local --num_processes 2")
    assert said.code == 0
    assert said.out.count("started 2 processes under torchrun") == 2
    hashes = [
        [json.loads((table / out / kind / "manifest.json").read_text())["content_hash"] for kind in ("text", "image")]
        for out in ("one", "two")
    ]
    assert hashes[0] == hashes[1]
    assert sorted(path.name for path in (table / "two").iterdir()) == ["image", "neighbours", "text"]


@pytest.mark.parametrize(
    "flags, words",
    [
        ("--launcher cloud", "invalid choice: 'cloud'"),
        ("--num_processes 0", "--num_processes: Input should be greater than"),
        ("--shard_entries 0", "--shard_entries: Input should be greater than"),
        ("--max_query_chars 0", "--max_query_chars: Input should be greater than"),
        ("--index_type IVF4,Flatt", "index_type: "),
    ],
)
def test_a_wrong_way_to_start_is_one_sentence_and_code_2(table, r3pp, flags, words):
    said = r3pp(f"index --jsonl {table}/t.jsonl --image_root {table} --out_dir {table}/wrong {flags}")
    assert said.code == 2
    assert words in said.err
    assert not (table / "wrong").exists()
