"""The command line: the runbook's flag names, a whole config by file, errors with exit code 2."""

import json

import pytest

from r3pp_core.errors import UsageError
from r3pp_core.recipes.control import trained_otherwise
from r3pp_core.recipes.paths import RunPaths
from r3pp_core.recipes.registry import RECIPES, recipe
from r3pp_core.recipes.resolve import difference
from r3pp_core.training.__main__ import main
from r3pp_core.training.config import TrainConfig
from r3pp_core.training.flags import parse
from r3pp_core.workspace import Workspace


def test_dashes_and_underscores_are_the_same():
    assert parse(["--train-jsonl", "a", "--batch_size=4", "--use-lora", "--bf16"]).config == TrainConfig(
        train_jsonl="a", batch_size=4, use_lora=True, bf16=True
    )


def test_every_plain_field_has_a_flag_and_can_be_switched_off():
    assert parse(["--no-use_lora"]).config.use_lora is False
    assert parse(["--no_use_lora"]).config.use_lora is False
    assert parse(["--index_dir", "i", "--text_encoder_dir", "t", "--image_encoder_dir", "c"]).config.index_dir == "i"


def test_a_flag_wins_over_the_file_and_the_file_over_the_default(tmp_path):
    whole = TrainConfig(lr=5e-4, max_steps=7).model_dump(mode="json")
    (tmp_path / "c.json").write_text(json.dumps(whole))
    config = parse(["--config", str(tmp_path / "c.json"), "--max_steps", "9"]).config
    assert (config.lr, config.max_steps) == (5e-4, 9)
    assert parse(["--config", str(tmp_path / "c.json")]).config == TrainConfig(lr=5e-4, max_steps=7)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--batch_size", "0"], "batch_size"),
        (["--bf16", "--fp16"], "choose one of bf16 and fp16"),
        (["--index_dir", "x"], "needs text_encoder_dir"),
        (["--config", "nowhere.json"], "nowhere.json"),
    ],
)
def test_what_does_not_fit_is_named(arguments, said):
    with pytest.raises(UsageError, match=said):
        parse(arguments)


@pytest.mark.parametrize("arguments", [["--backend", "horovod"], ["--lr", "0"]])
def test_a_wrong_request_ends_with_code_2_and_one_sentence(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_several_processes_of_the_single_backend_are_refused(capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert main([]) == 2
    assert "8 were started" in capsys.readouterr().err


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_one_whole_config_that_survives_json(name, tmp_path):
    config = recipe(name)(RunPaths.of(Workspace(tmp_path)))
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config
    assert config.train_jsonl == str(tmp_path / "data" / "unified" / "train.jsonl")


def test_a_control_is_its_recipe_but_for_evidence_and_modules(tmp_path):
    paths = RunPaths.of(Workspace(tmp_path))
    for name in ("sample", "qwen3vl_8b_lora"):
        changed = difference(name, paths, recipe(f"{name}_control")(paths))
        off = {field for field in changed if field.startswith("r3.use_")}
        assert len(off) == 7
        nowhere = {"index_dir", "text_encoder_dir", "image_encoder_dir"}
        assert changed.keys() - off == {"run", "evidence", *nowhere}


def test_a_control_that_was_trained_otherwise_is_told(tmp_path):
    paths = RunPaths.of(Workspace(tmp_path))

    def exported(name, config, rows="of today"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(
            json.dumps({"model_type": "r3pp", "made_from": {"train_jsonl": rows, "backbone": "b"}})
        )
        (folder / "training_config.json").write_text(config.model_dump_json())
        return folder

    r3 = exported("r3", recipe("sample")(paths))
    control = recipe("sample_control")(paths)
    assert trained_otherwise(r3, exported("control", control)) is None
    shorter = control.model_copy(update={"max_steps": 7})
    assert "another max_steps;" in trained_otherwise(r3, exported("shorter", shorter))
    assert "another train_jsonl;" in trained_otherwise(r3, exported("earlier", control, "of last week"))
    assert "cannot be told" in trained_otherwise(r3, tmp_path / "nowhere")


def test_an_unknown_recipe_lists_the_known_ones():
    with pytest.raises(UsageError, match="sample, sample_control, smoke, smoke_control, qwen3vl_8b_lora"):
        recipe("nonsense")


@pytest.mark.parametrize("backend", ["fsdp", "deepspeed"])
def test_a_sharded_backend_without_a_starter_is_refused(capsys, monkeypatch, backend):
    monkeypatch.delenv("RANK", raising=False)
    assert main(["--backend", backend]) == 2
    assert "torchrun --nproc_per_node=N" in capsys.readouterr().err
