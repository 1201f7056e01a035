"""Whole tensors in files: any number of ranks writes the same ones, and a part is read without the rest."""

import json

import pytest
import torch  # noqa: TID253 - what is tested here is torch
from safetensors.torch import load_file

from r3pp_core.errors import R3Error
from r3pp_core.model import tensor_files
from r3pp_core.model.tensor_files import Unsharded, open_tensors, read_tensors, write_tensors

SHAPES = {"vector": (7,), "matrix": (5, 3), "cube": (4, 2, 3), "one": ()}


@pytest.fixture
def tensors():
    torch.manual_seed(0)
    return {name: torch.randn(shape) for name, shape in SHAPES.items()}


@pytest.fixture
def small_files(monkeypatch):
    monkeypatch.setattr(tensor_files, "MAX_FILE_BYTES", 100)


def empty_like(tensors):
    return {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}


def test_one_file_comes_back_bit_equal_and_has_no_index(tensors, tmp_path):
    write_tensors(tmp_path, "model", tensors)
    found = empty_like(tensors)
    read_tensors(tmp_path, "model", found)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


@pytest.mark.usefixtures("small_files")
def test_several_files_come_back_bit_equal_and_have_the_hubs_index(tensors, tmp_path):
    write_tensors(tmp_path, "model", tensors)
    found = empty_like(tensors)
    read_tensors(tmp_path, "model", found)
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
    assert len(set(index.values())) > 1
    assert set(index) == set(tensors)
    assert all(name in load_file(tmp_path / file) for name, file in index.items())


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("num_ranks", [2, 3])
def test_ranks_in_turn_write_the_files_of_one_process(tensors, tmp_path, num_ranks):
    write_tensors(tmp_path / "alone", "model", tensors)
    for rank in range(num_ranks):
        sharding = Unsharded()
        sharding.rank, sharding.size = rank, num_ranks
        write_tensors(tmp_path / "together", "model", tensors, sharding)
    names = sorted(path.name for path in (tmp_path / "alone").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "together").iterdir())
    assert all((tmp_path / "alone" / n).read_bytes() == (tmp_path / "together" / n).read_bytes() for n in names)


@pytest.mark.parametrize("name", SHAPES)
def test_a_piece_is_a_range_of_the_flattened_tensor(tensors, tmp_path, name):
    write_tensors(tmp_path, "model", tensors)
    stored, flat = open_tensors([tmp_path / "model.safetensors"])[name], tensors[name].reshape(-1)
    assert stored.shape == SHAPES[name]
    for start in range(len(flat) + 1):
        for stop in range(start, len(flat) + 1):
            assert torch.equal(stored.piece(start, stop), flat[start:stop]), (start, stop)


@pytest.mark.parametrize("fault", ["missing", "unexpected", "other shape", "truncated", "absent"])
def test_files_that_do_not_fit_are_refused_before_any_tensor_is_touched(tensors, tmp_path, fault):
    saved = dict(tensors)
    if fault == "missing":
        del saved["cube"]
    elif fault == "unexpected":
        saved["stranger"] = torch.zeros(2)
    elif fault == "other shape":
        saved["matrix"] = torch.zeros(3, 5)
    write_tensors(tmp_path, "model", saved)
    path = tmp_path / "model.safetensors"
    if fault == "truncated":
        path.write_bytes(path.read_bytes()[:-5])
    elif fault == "absent":
        path.unlink()
    found = empty_like(tensors)
    said = {"missing": "1 weights missing", "unexpected": "1 unexpected", "other shape": "matrix has shape"}
    with pytest.raises(R3Error, match=said.get(fault, "missing or damaged")):
        read_tensors(tmp_path, "model", found)
    assert not any(tensor.any() for tensor in found.values())
