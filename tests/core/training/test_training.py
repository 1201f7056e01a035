"""The whole loop on a small world: resume, checkpoints, refusals, messages, export."""

import json
import shutil

import pytest

from r3pp_core import code_versions
from r3pp_core.errors import R3Error
from r3pp_core.training import checkpoints, loop
from r3pp_core.training.loop import train


@pytest.fixture
def trained(small_run):
    """A run of two steps that goes on to four."""
    train(small_run(max_steps=4), should_stop=StopAfter(2))
    return small_run()


class StopAfter:
    """Asks for a stop at the boundary after `num_steps` steps."""

    def __init__(self, num_steps):
        self.left = num_steps

    def __call__(self):
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("fields", [{}, {"use_lora": False, "full_lr": 1e-3}, {"bf16": True}])
def test_stopping_and_resuming_gives_bit_equal_losses(small_run, losses_of, fields):
    straight, resumed = small_run(run="straight", **fields), small_run(run="resumed", **fields)
    train(straight)
    train(resumed, should_stop=StopAfter(2))
    assert checkpoints.newest(resumed.run_dir).name == "step_2"
    train(resumed)
    wanted, found = losses_of(straight.run_dir), losses_of(resumed.run_dir)
    assert sorted(wanted) == [1, 2, 3, 4]
    assert found == wanted
    one, other = (config.run_dir / "step_4" / "model" / "model.safetensors" for config in (straight, resumed))
    assert one.read_bytes() == other.read_bytes()


def test_a_run_reports_its_steps_its_preview_and_its_end(small_run):
    told = []
    final = train(small_run(max_steps=2, eval_rows=2), send=lambda kind, **fields: told.append((kind, fields)))
    assert [kind for kind, _ in told] == [
        "plan",
        "validation",
        "label_preview",
        "step",
        "step",
        "validation",
        "checkpoint",
        "done",
    ]
    preview = told[2][1]["text"]
    assert preview.endswith("<|im_end|>»")
    assert "How many units" in preview.split("«")[0]
    step = told[3][1]
    names = {"step", "total_steps", "loss", "ce", "conf", "entropy", "align", "lr", "gate", "tokens_per_s"}
    assert names | {"memory_bytes", "seconds_left", "grad_norm"} <= set(step)
    assert told[-1][1]["checkpoint"] == str(final)


def test_the_newest_checkpoints_are_kept_and_hold_no_pickle(small_run):
    config = small_run(save_every=1, keep=2)
    train(config)
    assert [path.name for path in checkpoints.whole_checkpoints(config.run_dir)] == ["step_3", "step_4"]
    suffixes = {path.suffix for path in config.run_dir.glob("step_*/**/*") if path.is_file()}
    assert suffixes <= {".safetensors", ".json", ".jsonl", ".md"}


def test_what_a_killed_save_left_is_removed(trained):
    for name in (".saving-step_3", ".removing-step_1"):
        (trained.run_dir / name).mkdir()
    train(trained)
    assert not [path.name for path in trained.run_dir.iterdir() if path.name.startswith((".saving", ".removing"))]


@pytest.mark.parametrize("resume", ["auto", "match"])
def test_a_truncated_newest_checkpoint_is_not_passed_over_in_silence(small_run, resume):
    """Its steps would be trained again and its folder replaced."""
    config = small_run(save_every=1, max_steps=2, keep=2, resume=resume)
    train(config)
    weights = config.run_dir / "step_2" / "model" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(R3Error, match=r"step_2 is damaged: .*; remove it to go on from .*step_1$"):
        train(config)
    (config.run_dir / "step_1" / "manifest.json").unlink()
    with pytest.raises(R3Error, match=r"step_2 is damaged: .*; remove it to start anew$"):
        train(config)
    assert weights.is_file()


def test_a_new_start_moves_a_damaged_checkpoint_away(trained):
    (trained.run_dir / "step_2" / "manifest.json").unlink()
    train(trained.model_copy(update={"resume": "never"}))
    assert (trained.run_dir / "replaced" / "step_2").is_dir()


def test_rows_that_cannot_be_read_end_the_run_after_it_has_saved(small_run, monkeypatch):
    config, step = small_run(save_every=100, max_steps=4), loop.StepsAhead.take
    taken = []

    def take(ahead):
        taken.append(1)
        if len(taken) == 3:
            raise OSError(5, "Input/output error")
        return step(ahead)

    monkeypatch.setattr(loop.StepsAhead, "take", take)
    with pytest.raises(R3Error, match=r"the rows of step 2 cannot be read: .*Input/output error"):
        train(config)
    assert checkpoints.newest(config.run_dir).name == "step_2"


def test_a_card_that_runs_out_of_memory_loses_no_step(small_run, monkeypatch):
    import torch

    config, step = small_run(save_every=100, max_steps=4), loop.train_step
    taken = []

    def out_of_memory(*arguments):
        taken.append(1)
        if len(taken) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(*arguments)

    monkeypatch.setattr(loop, "train_step", out_of_memory)
    with pytest.raises(torch.OutOfMemoryError):
        train(config)
    assert checkpoints.newest(config.run_dir).name == "step_2"


@pytest.mark.parametrize("file", ["optimizer.safetensors", "model/adapter_model.safetensors"])
def test_a_damaged_checkpoint_is_refused_by_name(trained, file):
    path = trained.run_dir / "step_2" / file
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(R3Error, match=f"{path.name} is missing or damaged"):
        train(trained)


def test_resuming_with_another_configuration_or_other_rows_names_what_differs(trained, small_run, tmp_path, world):
    with pytest.raises(R3Error, match="another lr;"):
        train(small_run(lr=5e-4))
    fewer = tmp_path / "fewer.jsonl"
    fewer.write_text("".join((world / "train.jsonl").read_text().splitlines(keepends=True)[:6]))
    with pytest.raises(R3Error, match="another train_jsonl;"):
        train(small_run(train_jsonl=str(fewer)))


def test_another_version_of_the_training_code_trains_anew_where_it_may_and_is_named_where_not(trained, monkeypatch):
    monkeypatch.setattr(code_versions, "TRAINING", "another")
    with pytest.raises(R3Error, match="another version of the training code;"):
        train(trained)
    train(trained.model_copy(update={"resume": "match"}))
    assert (trained.run_dir / "replaced" / "step_2").is_dir()
    assert checkpoints.read_manifest(checkpoints.Target(checkpoints.newest(trained.run_dir))).code_version == "another"


def test_starting_anew_sets_the_old_checkpoints_aside(trained, small_run):
    train(small_run(resume="never", lr=5e-4, max_steps=2))
    assert (trained.run_dir / "replaced" / "step_2").is_dir()
    assert json.loads((trained.run_dir / "step_2" / "config.json").read_text())["lr"] == 5e-4


def test_a_missing_picture_is_left_out_and_named(small_run, world, tmp_path):
    root = shutil.copytree(world / "data", tmp_path / "data")
    (root / "chartqa" / "images" / "train_4.png").unlink()
    told = []
    config = small_run(image_root=str(root), max_steps=8, save_every=8, lr=1e-4)
    train(config, send=lambda kind, **fields: told.append((kind, fields)))
    rejected = [fields for kind, fields in told if kind == "rejected"]
    assert {fields["row_id"] for fields in rejected} == {"chartqa/train/4"}
    assert rejected[0]["reason"] == "picture_missing"


def with_long_answers(table, folder, *numbers):
    """A copy of a table in which the answers of these lines do not fit into 300 tokens."""
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    for number in numbers:
        rows[number]["answer"] = "many " * 400
    copy = folder / table.name
    copy.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(copy)


def test_a_row_that_is_too_long_is_left_out_of_its_step_and_named(small_run, world, tmp_path):
    """Forty draws from ten rows meet it for certain."""
    told = []
    table = with_long_answers(world / "train.jsonl", tmp_path, 4)
    train(
        small_run(train_jsonl=table, max_length=300, batch_size=5),
        send=lambda kind, **fields: told.append((kind, fields)),
    )
    rejected = [fields for kind, fields in told if kind == "rejected"]
    steps = [fields for kind, fields in told if kind == "step"]
    assert {(fields["row_id"], fields["reason"]) for fields in rejected} == {("chartqa/train/4", "too_long")}
    assert [step["step"] for step in steps] == [1, 2, 3, 4]
    assert sum(step["num_rows"] for step in steps) == 40 - len(rejected)
    assert steps[-1]["num_rejected"] == len(rejected)


def test_a_validation_row_that_is_too_long_is_left_out_and_named(small_run, world, tmp_path):
    told = []
    table = with_long_answers(world / "val.jsonl", tmp_path, 1)
    train(
        small_run(val_jsonl=table, max_length=300, max_steps=1, eval_rows=2, eval_every=5),
        send=lambda kind, **fields: told.append((kind, fields)),
    )
    assert [fields["val_rows"] for kind, fields in told if kind == "validation"] == [1, 1]
    assert [fields["row_id"] for kind, fields in told if kind == "rejected"] == ["chartqa/train/11"] * 2


@pytest.mark.parametrize("table, numbers", [("train", range(10)), ("val", range(2))])
def test_when_not_a_single_row_is_short_enough_the_run_ends_with_one_named(small_run, world, tmp_path, table, numbers):
    path = with_long_answers(world / f"{table}.jsonl", tmp_path, *numbers)
    with pytest.raises(
        R3Error, match=r"none of 2 rows can be used, for example: row .* needs \d+ tokens, more than 300"
    ):
        train(small_run(**{f"{table}_jsonl": path}, max_length=300, eval_rows=2))


def test_what_was_trained_is_saved_when_a_later_row_stops_the_run(small_run):
    def fail_at_third(kind, **fields):
        if kind == "step" and fields["step"] == 3:
            raise R3Error("the disk of the messages is full")

    config = small_run(save_every=100)
    with pytest.raises(R3Error, match="messages"):
        train(config, send=fail_at_third)
    assert checkpoints.newest(config.run_dir).name == "step_3"


@pytest.mark.parametrize("use_lora", [True, False])
def test_an_export_reloads_with_the_checkpoints_logits(small_run, tmp_path, use_lora):
    from r3pp_core.model.r3 import R3Model
    from r3pp_core.training.export import export

    config = small_run(use_lora=use_lora, max_steps=2)
    train(config)
    manifest = export(config.run_dir, tmp_path / "exported")
    assert manifest.details["max_logit_difference"] == 0.0
    assert manifest.details["num_logits_compared"] > 0
    assert manifest.counts["step"] == 2
    assert R3Model.from_pretrained(tmp_path / "exported").config.adapter == ("lora" if use_lora else "full")


def test_an_export_whose_logits_are_no_numbers_is_refused(trained, tmp_path, monkeypatch):
    """float16 overflows in some backbones, and NaN is more than nothing."""
    from r3pp_core.training import export

    monkeypatch.setattr(export, "_difference", lambda one, other: float("nan"))
    with pytest.raises(R3Error, match="differ from the checkpoint's by nan"):
        export.export(trained.run_dir, tmp_path / "out", merge=True, dtype="float16")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_exporting_from_a_folder_without_checkpoints_is_refused(tmp_path):
    from r3pp_core.training.export import export

    with pytest.raises(R3Error, match="no finished checkpoint"):
        export(tmp_path, tmp_path / "out")


def test_float16_that_overflows_in_the_backbone_is_named_and_ends_the_run(small_run, world, tmp_path):
    """The second layer's output does not fit; the loss alone would not tell where."""
    from safetensors.torch import load_file, save_file

    backbone = shutil.copytree(world / "models" / "backbone", tmp_path / "backbone")
    weights = load_file(backbone / "model.safetensors")
    weights["model.language_model.layers.1.mlp.down_proj.weight"] *= 1e7
    save_file(weights, backbone / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(R3Error, match="float16 overflowed in the backbone's layer 1 at step 0"):
        train(small_run(model_name=str(backbone), fp16=True))
