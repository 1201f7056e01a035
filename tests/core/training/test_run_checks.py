"""What must hold of a finished run: each check passes on a real one and names what was broken."""

import json
import shutil

import pytest
import torch  # noqa: TID253 - what is tested here is torch
from safetensors.torch import load_file, save_file

from r3pp_core.errors import R3Error, UsageError
from r3pp_core.jsonl import write_jsonl
from r3pp_core.model.r3 import R3Model
from r3pp_core.training import checks
from r3pp_core.training.export import export
from r3pp_core.training.loop import train


@pytest.fixture(scope="module", params=[True, False], ids=["lora", "full"])
def trained(request, world, tmp_path_factory):
    from small_world import small_config

    config = small_config(world, tmp_path_factory.mktemp("runs"), use_lora=request.param, full_lr=1e-3, max_steps=6)
    train(config)
    return config


@pytest.fixture
def copy(trained, tmp_path):
    return shutil.copytree(trained.run_dir, tmp_path / "copy")


def edit(path, change):
    """Change the tensors of a safetensors file in place."""
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def backbone_file(run_dir, trained):
    name = "adapter_model.safetensors" if trained.use_lora else "backbone/model.safetensors"
    return run_dir / "step_6" / "model" / name


def test_a_real_run_has_no_problem(trained, world):
    backbone = world / "models" / "backbone"
    assert checks.load_problems(trained.run_dir, backbone) == []
    assert checks.live_problems(trained.run_dir, backbone) == []
    assert checks.base_problems(trained.run_dir, backbone) == []
    assert checks.teacher_problems(trained.run_dir) == []
    assert checks.finite_problems(trained.run_dir / "metrics.jsonl") == []


def test_weights_that_were_not_saved_as_they_were_are_found(trained, copy, world):
    edit(backbone_file(copy, trained), lambda tensors: [tensor.mul_(1.5) for tensor in tensors.values()])
    assert "differ from the live model's" in checks.live_problems(copy, world / "models" / "backbone")[0]
    with pytest.raises(R3Error, match="missing or damaged"):
        export(copy / "step_6", copy / "out", world / "models" / "backbone")


def test_a_backbone_that_was_not_trained_is_found(trained, copy, world):
    base = load_file(world / "models" / "backbone" / "model.safetensors")

    def untrain(tensors):
        for name, tensor in tensors.items():
            tensor.copy_(torch.zeros_like(tensor) if trained.use_lora else base[name])

    edit(backbone_file(copy, trained), untrain)
    assert "not trained" in checks.base_problems(copy, world / "models" / "backbone")[0]


def test_a_teacher_that_equals_its_student_is_found(trained, copy):
    weights = load_file(backbone_file(copy, trained))

    def follow(tensors):
        for name, tensor in tensors.items():
            tensor.copy_(weights[checks_name(name)])

    edit(copy / "step_6" / "teacher.safetensors", follow)
    assert "equal the student's weights" in checks.teacher_problems(copy)[0]


def checks_name(name):
    own = name.removeprefix("backbone.")
    return f"base_model.model.{own.replace('.default.', '.')}" if ".lora_" in own else own


@pytest.mark.parametrize(("fields", "num_problems"), [({"loss": None}, 1), ({"grad_norm": None}, 1), ({}, 0)])
def test_a_step_that_is_not_finite_is_named_unless_it_was_skipped(tmp_path, fields, num_problems):
    step = {"kind": "step", "step": 3, "loss": 1.0, "grad_norm": 2.0, "is_skipped": False, **fields}
    skipped = {**step, "step": 4, "grad_norm": None, "is_skipped": True, "loss": 1.0}
    (tmp_path / "metrics.jsonl").write_text(f"{json.dumps(step)}\n{json.dumps(skipped)}\n")
    found = checks.finite_problems(tmp_path / "metrics.jsonl")
    assert len(found) == num_problems
    assert all(problem.startswith("step 3: ") for problem in found)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_a_merged_export_is_a_whole_backbone_that_says_the_same(trained, world, tmp_path, dtype):
    from transformers import Qwen3VLForConditionalGeneration

    backbone = world / "models" / "backbone"
    manifest = export(trained.run_dir, tmp_path / "merged", backbone, merge=True, dtype=dtype)
    assert manifest.details["merged"] == dtype
    assert manifest.details["max_difference_from_live"] < 1e-3
    assert manifest.details["max_logit_difference"] < {"float32": 1e-3, "float16": 0.05, "bfloat16": 0.3}[dtype]
    alone = Qwen3VLForConditionalGeneration.from_pretrained(tmp_path / "merged" / "backbone", dtype="auto")
    assert {parameter.dtype for parameter in alone.parameters()} == {getattr(torch, dtype)}
    assert R3Model.from_pretrained(tmp_path / "merged").config.adapter == "full"


def test_a_dtype_without_merging_is_refused(trained, tmp_path):
    with pytest.raises(UsageError, match="is for --merge"):
        export(trained.run_dir, tmp_path / "out", dtype="float16")


def test_tensorboard_has_every_number_of_every_step(trained, losses_of):
    (file,) = (trained.run_dir / "tensorboard").glob("events.*")
    found = {}
    for event in events_of(file.read_bytes()):
        for value in event.summary.value:
            found.setdefault(value.tag, {})[event.step] = value.simple_value
    losses = losses_of(trained.run_dir)
    assert found["step/loss"] == {step: pytest.approx(loss) for step, loss in losses.items()}
    assert set(found["step/lr"]) == set(losses)


def events_of(data):
    """A record is its length (8 bytes), that length's checksum (4), the event, and its checksum (4)."""
    from tensorboardX.proto.event_pb2 import Event

    while data:
        length = int.from_bytes(data[:8], "little")
        yield Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]


STEPS = [{"kind": "step", "step": step, "loss": 0.4 + 0.3 * step} for step in range(1, 11)]


def validations(*losses):
    return [{"kind": "validation", "step": 5 * number, "val_loss": loss} for number, loss in enumerate(losses)]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([*STEPS, *validations(1.0, 1.2, 1.02)], []),
        ([*STEPS, *validations(1.0, 0.9, 1.2)], ["the validation loss went from 1.0000 to 1.2000"]),
        ([*STEPS, *validations(1.0)], ["the loss went from 0.7000 to 3.4000"]),
        ([{**row, "loss": -row["loss"]} for row in STEPS], []),
        ([*STEPS, *validations(1.0, None)], ["a loss is not finite"]),
    ],
)
def test_damage_that_grows_may_raise_the_training_loss_but_not_that_of_undamaged_rows(tmp_path, rows, said):
    write_jsonl(tmp_path / "metrics.jsonl", rows)
    assert checks.loss_problems(tmp_path / "metrics.jsonl") == said
