"""An interrupted build goes on where it stood, and who encoded what does not show in the bytes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from r3pp_core.errors import R3Error
from r3pp_core.launch.interface import LaunchConfig
from r3pp_core.launch.run_dir import Stopped
from r3pp_core.progress import silent
from r3pp_core.retrieval import shards
from r3pp_core.retrieval.batches import Batch, encoded_batches
from r3pp_core.retrieval.build import build_index
from r3pp_core.retrieval.config import IndexConfig
from r3pp_core.retrieval.plan import plan_index
from r3pp_core.retrieval.shards import encode_shards, read_rejected, read_vectors, shard_path

THREE_SHARDS = IndexConfig(shard_entries=4, batch_size=3)
FILES = {"vectors.npy", "index.faiss", "metadata.parquet", "rejected.jsonl", "manifest.json"}

# A build whose process is gone after the third shard was written and before it has its name.
KILLED_BUILD = """
import os, signal, sys
from pathlib import Path
from r3pp_core.retrieval.build import build_index
from r3pp_core.retrieval.config import IndexConfig

calls = []

def fsync(descriptor):
    calls.append(descriptor)
    if len(calls) == 5:
        os.kill(os.getpid(), signal.SIGKILL)

os.fsync = fsync
kind, *places = sys.argv[1:]
build_index(kind, *map(Path, places), IndexConfig(shard_entries=4, batch_size=3))
"""

# A build whose process is gone when a function of `build` or of `artefact` has been called for the n-th time.
KILLED_MERGE = """
import importlib, os, signal, sys
from pathlib import Path
from r3pp_core.retrieval.build import build_index
from r3pp_core.retrieval.config import IndexConfig

module, name, count, kind, *places = sys.argv[1:]
module = importlib.import_module(module)
original, calls = getattr(module, name), []

def last(*args, **options):
    found = original(*args, **options)
    calls.append(name)
    if len(calls) == int(count):
        os.kill(os.getpid(), signal.SIGKILL)
    return found

setattr(module, name, last)
build_index(kind, *map(Path, places), IndexConfig(shard_entries=4, batch_size=3))
"""
MERGING = [
    ("r3pp_core.retrieval.build", "read_vectors", 2),
    ("r3pp_core.retrieval.build", "write_metadata", 1),
    ("r3pp_core.retrieval.build", "write_faiss_index", 1),
    ("r3pp_core.artefact", "_seal", 1),
]


@pytest.fixture
def request_for(corpus, clip_dir, minilm_dir):
    """The arguments of `build_index` for an index in a folder."""

    def make(kind: str, out_dir: Path, config: IndexConfig = THREE_SHARDS):
        encoder_dir = clip_dir if kind == "image" else minilm_dir
        return kind, corpus.jsonl, corpus.image_root, out_dir, encoder_dir, config

    return make


@pytest.fixture
def written(monkeypatch):
    """The names of the shards that this process writes."""
    names: list[str] = []
    write = shards._write

    def recorded(shard, path):
        names.append(path.name)
        write(shard, path)

    monkeypatch.setattr(shards, "_write", recorded)
    return names


def bytes_of(folder: Path) -> dict[str, bytes]:
    files = {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}
    assert set(files) == FILES
    return files


def assert_no_work_is_left(out_dir: Path) -> None:
    assert list(out_dir.glob(".work-*")) == []


@pytest.mark.parametrize("kind", ["text", "image"])
def test_after_kill_9_the_next_build_encodes_what_is_missing_and_gives_the_undisturbed_bytes(
    kind, request_for, tmp_path, written
) -> None:
    build_index(*request_for(kind, tmp_path / "whole"))
    written.clear()
    arguments = [str(value) for value in request_for(kind, tmp_path / "again")[:-1]]
    killed = subprocess.run([sys.executable, "-c", KILLED_BUILD, *arguments], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "again" / kind / "manifest.json").exists()
    said: list[str] = []
    build_index(*request_for(kind, tmp_path / "again"), said.append)
    assert written == ["000002.safetensors"]
    assert any("3 shards, 2 encoded before" in line for line in said)
    assert bytes_of(tmp_path / "again" / kind) == bytes_of(tmp_path / "whole" / kind)
    assert_no_work_is_left(tmp_path / "again")


@pytest.mark.parametrize(("module", "name", "count"), MERGING)
def test_after_kill_9_while_merging_nothing_is_encoded_again(
    module, name, count, request_for, tmp_path, written
) -> None:
    build_index(*request_for("image", tmp_path / "whole"))
    arguments = [str(value) for value in request_for("image", tmp_path / "again")[:-1]]
    command = [sys.executable, "-c", KILLED_MERGE, module, name, str(count), *arguments]
    killed = subprocess.run(command, check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "again" / "image" / "manifest.json").exists()
    written.clear()
    build_index(*request_for("image", tmp_path / "again"))
    assert written == []
    assert bytes_of(tmp_path / "again" / "image") == bytes_of(tmp_path / "whole" / "image")
    assert_no_work_is_left(tmp_path / "again")


def test_shards_of_many_ranks_are_merged_to_the_bytes_of_one_process(request_for, tmp_path, written) -> None:
    build_index(*request_for("image", tmp_path / "one"))
    written.clear()
    plan = plan_index(*request_for("image", tmp_path / "many"))
    assert [encode_shards(plan, silent, rank, 2) for rank in (1, 0)] == [1, 2]
    assert written == ["000001.safetensors", "000000.safetensors", "000002.safetensors"]
    build_index(*request_for("image", tmp_path / "many"))
    assert len(written) == 3, "nothing was encoded twice"
    assert bytes_of(tmp_path / "many" / "image") == bytes_of(tmp_path / "one" / "image")


def test_a_stop_comes_between_two_shards_and_what_was_encoded_is_kept(request_for, tmp_path, written) -> None:
    plan = plan_index(*request_for("image", tmp_path))
    calls = iter([False, True])

    def stop_before_the_second() -> None:
        if next(calls):
            raise Stopped

    with pytest.raises(Stopped):
        encode_shards(plan, silent, stop_point=stop_before_the_second)
    assert written == ["000000.safetensors"]
    assert encode_shards(plan, silent) == 2


def test_more_ranks_than_shards_leave_some_idle(request_for, tmp_path) -> None:
    plan = plan_index(*request_for("image", tmp_path))
    assert [encode_shards(plan, silent, rank, 5) for rank in range(5)] == [1, 1, 1, 0, 0]


def test_two_launched_ranks_give_the_bytes_of_one_process(request_for, tmp_path) -> None:
    build_index(*request_for("image", tmp_path / "one"))
    said: list[str] = []
    launch = LaunchConfig(num_processes=2, poll_s=0.05)
    build_index(*request_for("image", tmp_path / "two"), said.append, launch=launch)
    assert any("2 shards of rank 0, 0 encoded before" in line for line in said), "rank 0 speaks for all"
    assert bytes_of(tmp_path / "two" / "image") == bytes_of(tmp_path / "one" / "image")
    assert_no_work_is_left(tmp_path / "two")


def torchrun(kind: str, jsonl: Path, image_root: Path, out_dir: Path, encoder: Path) -> str:
    places = {"jsonl": jsonl, "image_root": image_root, "out_dir": out_dir, "encoder": encoder}
    command = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc_per_node", "2"]
    flags = [f"--kind={kind}", "--shard_entries=4", "--batch_size=3", *(f"--{k}={v}" for k, v in places.items())]
    ended = subprocess.run(
        [sys.executable, *command, "-m", "r3pp_core.retrieval", *flags],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_torchrun_by_hand_builds_the_whole_index_and_a_second_time_nothing(request_for, tmp_path) -> None:
    build_index(*request_for("text", tmp_path / "one"))
    places = request_for("text", tmp_path / "two")[:-1]
    torchrun(*places)
    assert bytes_of(tmp_path / "two" / "text") == bytes_of(tmp_path / "one" / "text")
    assert_no_work_is_left(tmp_path / "two")
    assert "nothing to do" in torchrun(*places)


@pytest.mark.parametrize("num_threads", [2, 3])
def test_a_short_text_alone_has_the_same_vector_however_many_cores_there_are(num_threads, minilm) -> None:
    """Where torch splits one product over its threads, this text's vector differs in the seventh digit."""
    import torch

    before = torch.get_num_threads()
    batch = Batch(0, [0], ["visitors revenue total green store march harbour"])
    found: list[np.ndarray] = []
    for threads in (1, num_threads):
        torch.set_num_threads(threads)
        try:
            found += [vectors for _, vectors in encoded_batches(minilm, [batch] * 4, "cpu")]
            assert torch.get_num_threads() == threads, "what was set stays set"
        finally:
            torch.set_num_threads(before)
    assert len({vectors.tobytes() for vectors in found}) == 1


def test_no_batch_crosses_a_shards_border(request_for, tmp_path, monkeypatch) -> None:
    sizes: list[int] = []
    check = shards._require_unit

    def recorded(vectors, entries, encoder):
        sizes.append(len(vectors))
        check(vectors, entries, encoder)

    monkeypatch.setattr(shards, "_require_unit", recorded)
    encode_shards(plan_index(*request_for("image", tmp_path)), silent)
    assert sizes == [3, 1] * 3


def test_a_shard_keeps_what_could_not_be_opened(own_corpus, clip_dir, tmp_path) -> None:
    picture = own_corpus.image_root / "chartqa" / "images" / "train_7.png"
    picture.write_bytes(picture.read_bytes()[:60])
    plan = plan_index("image", own_corpus.jsonl, own_corpus.image_root, tmp_path / "i", clip_dir, THREE_SHARDS)
    encode_shards(plan, silent)
    assert [read_rejected(shard_path(plan, number)) for number in range(3)] == [{}, {3: "picture_undecodable"}, {}]
    assert [len(read_vectors(shard_path(plan, number))) for number in range(3)] == [4, 3, 4]


def test_a_damaged_shard_is_named_with_what_to_do(request_for, tmp_path) -> None:
    plan = plan_index(*request_for("image", tmp_path))
    encode_shards(plan, silent)
    path = shard_path(plan, 1)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(R3Error, match=r"000001\.safetensors is no whole shard .*remove it"):
        build_index(*request_for("image", tmp_path))
    path.unlink()
    assert build_index(*request_for("image", tmp_path)).counts["entries"] == 12


def test_shards_of_another_request_are_not_used_and_go(request_for, tmp_path, written) -> None:
    encode_shards(plan_index(*request_for("image", tmp_path)), silent)
    written.clear()
    build_index(*request_for("image", tmp_path, IndexConfig(shard_entries=6)))
    assert written == ["000000.safetensors", "000001.safetensors"]
    assert_no_work_is_left(tmp_path)


def test_vectors_of_a_batch_size_do_not_depend_on_the_shards_that_it_divides(request_for, tmp_path) -> None:
    for name, entries in (("one", 12), ("three", 4)):
        build_index(*request_for("image", tmp_path / name, IndexConfig(shard_entries=entries, batch_size=4)))
    one, three = (np.load(tmp_path / name / "image" / "vectors.npy") for name in ("one", "three"))
    np.testing.assert_array_equal(one, three)
