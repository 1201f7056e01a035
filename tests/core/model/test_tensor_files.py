"""Tensors in one file or in several, written by one process or by ranks in turn, come back bit-equal or not at all."""

import json
from pathlib import Path

import pytest
import torch  # noqa: TID253 - what is tested here is torch
from safetensors.torch import load_file

from r3pp_core.errors import R3Error
from r3pp_core.model.r3 import R3Model
from r3pp_core.model.tensor_files import UNSHARDED, Unsharded, open_tensors, read_tensors, tensor_files, write_tensors

SMALL = 100
SHARDS = ["t-00001-of-00003.safetensors", "t-00002-of-00003.safetensors", "t-00003-of-00003.safetensors"]


class FakeRank(Unsharded):
    """One of two ranks that both hold everything."""

    size = 2

    def __init__(self, rank):
        self.rank = rank

    def from_first(self, work):
        return work() if self.rank == 0 else None


@pytest.fixture
def small_files(monkeypatch):
    monkeypatch.setattr("r3pp_core.model.tensor_files.MAX_FILE_BYTES", SMALL)


def drawn():
    """Of 72, 12 | 120 | 80, 4 bytes: three files of at most 100 bytes, but for what is larger by itself."""
    torch.manual_seed(0)
    return {
        "matrix": torch.randn(3, 6),
        "half": torch.randn(6).to(torch.bfloat16),
        "block": torch.randn(2, 3, 5),
        "counts": torch.arange(10).reshape(5, 2),
        "step": torch.tensor(3.0),
    }


def emptied(tensors):
    return {name: torch.full_like(tensor, 7) for name, tensor in tensors.items()}


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_equal(found, wanted):
    assert list(found) == list(wanted)
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_one_file_gives_back_what_was_written_and_has_no_index(tmp_path):
    tensors = drawn()
    write_tensors(tmp_path / "new", "t", tensors)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["t.safetensors"]
    found = emptied(tensors)
    read_tensors(tmp_path / "new", "t", found)
    assert_equal(found, tensors)


def test_several_files_give_back_what_was_written(tmp_path, small_files):
    tensors = drawn()
    write_tensors(tmp_path, "t", tensors)
    assert [path.name for path in tensor_files(tmp_path, "t")] == SHARDS
    found = emptied(tensors)
    read_tensors(tmp_path, "t", found)
    assert_equal(found, tensors)


def test_the_index_names_the_file_of_each_tensor(tmp_path, small_files):
    write_tensors(tmp_path, "t", drawn())
    weight_map = json.loads((tmp_path / "t.safetensors.index.json").read_text())["weight_map"]
    first, second, third = SHARDS
    assert weight_map == {"matrix": first, "half": first, "block": second, "counts": third, "step": third}
    for name, file in weight_map.items():
        assert name in load_file(tmp_path / file)


def test_no_file_is_larger_than_the_limit_unless_one_tensor_is(tmp_path, small_files):
    write_tensors(tmp_path, "t", drawn())
    for path in tensor_files(tmp_path, "t"):
        tensors = load_file(path).values()
        assert len(tensors) == 1 or sum(one.numel() * one.element_size() for one in tensors) <= SMALL


def test_nothing_at_all_is_one_empty_file(tmp_path):
    write_tensors(tmp_path, "t", {})
    read_tensors(tmp_path, "t", {})
    assert [path.name for path in tmp_path.iterdir()] == ["t.safetensors"]


@pytest.mark.parametrize(("first", "second"), [(SMALL, 10_000), (SMALL, 250)], ids=["then_one", "then_fewer"])
def test_what_is_written_over_another_number_of_files_is_what_is_read(tmp_path, monkeypatch, first, second):
    monkeypatch.setattr("r3pp_core.model.tensor_files.MAX_FILE_BYTES", first)
    write_tensors(tmp_path, "t", emptied(drawn()))
    monkeypatch.setattr("r3pp_core.model.tensor_files.MAX_FILE_BYTES", second)
    write_tensors(tmp_path, "t", drawn())
    found = emptied(drawn())
    read_tensors(tmp_path, "t", found)
    assert_equal(found, drawn())


def test_a_transposed_parameter_is_written_as_it_reads(tmp_path):
    parameter = torch.nn.Parameter(torch.randn(3, 4).T)
    write_tensors(tmp_path, "t", {"p": parameter})
    found = torch.nn.Parameter(torch.zeros(4, 3))
    read_tensors(tmp_path, "t", {"p": found})
    assert torch.equal(found, parameter)


@pytest.mark.parametrize("shape", [(), (7,), (1, 6), (4, 3), (5, 1), (2, 3, 4)])
def test_a_piece_is_the_slice_of_the_flattened_tensor_wherever_it_is_cut(tmp_path, shape):
    tensor = torch.randn(shape)
    write_tensors(tmp_path, "t", {"x": tensor})
    stored = open_tensors(tensor_files(tmp_path, "t"))["x"]
    flat, end = tensor.reshape(-1), tensor.numel()
    for start in range(end + 1):
        for stop in range(start, end + 1):
            piece = stored.piece(start, stop)
            assert piece.shape == (stop - start,)
            assert torch.equal(piece, flat[start:stop])


def test_rows_are_those_of_the_first_dimension(tmp_path):
    tensor = torch.randn(5, 2, 3)
    write_tensors(tmp_path, "t", {"x": tensor})
    stored = open_tensors(tensor_files(tmp_path, "t"))["x"]
    assert stored.shape == (5, 2, 3)
    assert torch.equal(stored.rows(1, 4), tensor[1:4])
    assert stored.rows(5, 5).shape == (0, 2, 3)


def missing(folder, tensors):
    tensors["stranger"] = torch.zeros(2)


def unexpected(folder, tensors):
    del tensors["block"]


def other_shape(folder, tensors):
    tensors["block"] = torch.full((3, 2, 5), 7.0)


def truncated(folder, tensors):
    path = tensor_files(folder, "t")[-1]
    path.write_bytes(path.read_bytes()[:-3])


def absent(folder, tensors):
    tensor_files(folder, "t")[-1].unlink()


@pytest.mark.parametrize("are_several", [False, True], ids=["one_file", "several_files"])
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (missing, r"1 weights missing \['stranger'\]"),
        (unexpected, r"1 unexpected \['block'\]"),
        (other_shape, r"block has shape \(2, 3, 5\), this model needs \(3, 2, 5\)"),
        (truncated, "missing or damaged"),
        (absent, "missing"),
    ],
)
def test_files_that_do_not_fit_are_refused_before_any_tensor_is_touched(tmp_path, request, are_several, fault, said):
    if are_several:
        request.getfixturevalue("small_files")
    write_tensors(tmp_path, "t", drawn())
    targets = emptied(drawn())
    fault(tmp_path, targets)
    before = {name: tensor.clone() for name, tensor in targets.items()}
    with pytest.raises(R3Error, match=said):
        read_tensors(tmp_path, "t", targets)
    assert_equal(targets, before)


@pytest.mark.parametrize("are_several", [False, True], ids=["one_file", "several_files"])
def test_two_ranks_write_byte_for_byte_the_files_of_one(tmp_path, request, are_several):
    if are_several:
        request.getfixturevalue("small_files")
    write_tensors(tmp_path / "alone", "t", drawn(), UNSHARDED)
    for rank in (1, 0):
        write_tensors(tmp_path / "together", "t", drawn(), FakeRank(rank))
    assert files_of(tmp_path / "together") == files_of(tmp_path / "alone")


def test_each_of_two_ranks_writes_every_second_file_and_the_first_the_index(tmp_path, small_files):
    for rank in (0, 1):
        write_tensors(tmp_path / str(rank), "t", drawn(), FakeRank(rank))
    assert sorted(files_of(tmp_path / "0")) == [SHARDS[0], SHARDS[2], "t.safetensors.index.json"]
    assert sorted(files_of(tmp_path / "1")) == [SHARDS[1]]


def test_every_rank_is_asked_for_every_tensor_in_the_same_order(tmp_path, small_files):
    """`whole` may be a collective: a rank that skipped one would hang the others."""
    asked = {0: [], 1: []}

    class Recording(FakeRank):
        def whole(self, tensor):
            asked[self.rank].append(tuple(tensor.shape))
            return super().whole(tensor)

    for rank in (0, 1):
        write_tensors(tmp_path, "t", drawn(), Recording(rank))
    assert asked[0] == asked[1] == [tuple(tensor.shape) for tensor in drawn().values()]


def test_transformers_opens_a_backbone_in_several_files(new_model, tmp_path, monkeypatch):
    from transformers import Qwen3VLForConditionalGeneration

    monkeypatch.setattr("r3pp_core.model.tensor_files.MAX_FILE_BYTES", 200_000)
    model = new_model(adapter="full")
    model.save_pretrained(tmp_path)
    backbone = tmp_path / "backbone"
    assert len(tensor_files(backbone, "model")) > 1
    assert (backbone / "model.safetensors.index.json").is_file()
    found, info = Qwen3VLForConditionalGeneration.from_pretrained(backbone, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert_equal(dict(found.named_parameters()), dict(model.backbone.named_parameters()))
    ours = R3Model.from_pretrained(tmp_path)
    assert_equal(dict(ours.named_parameters()), dict(model.named_parameters()))
