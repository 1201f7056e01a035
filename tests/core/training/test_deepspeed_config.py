"""The user's DeepSpeed JSON: auto follows the flags, what agrees is taken, what contradicts is named with its flag."""

import json

import pytest

from r3pp_core.errors import UsageError
from r3pp_core.training.backends.deepspeed_config import PACKAGED, read_deepspeed_config, resolved
from r3pp_core.training.config import TrainConfig, require_supported

FIELDS = {"backend": "deepspeed", "batch_size": 2, "grad_accum": 4, "max_grad_norm": 0.5, "weight_decay": 0.1}
RATES = {"lr": 3e-4, "full_lr": 2e-5}
ADAMW = {"type": "AdamW", "params": {"lr": 3e-4, "weight_decay": 0.1, "betas": [0.9, 0.999], "eps": 1e-8}}


@pytest.fixture
def config_of(tmp_path):
    """`config_of(values, **fields)`: a run whose DeepSpeed JSON holds `values`; the packaged one without them."""

    def make(values=None, **fields):
        name = None
        if values is not None:
            (tmp_path / "mine.json").write_text(json.dumps(values))
            name = str(tmp_path / "mine.json")
        return TrainConfig(**{**FIELDS, **RATES, "use_lora": True, "deepspeed_config": name, **fields})

    return make


@pytest.mark.parametrize("use_lora", [True, False], ids=["lora", "full"])
@pytest.mark.parametrize("precision", [None, "bf16", "fp16"])
def test_the_packaged_file_follows_the_run_and_leaves_no_auto(config_of, use_lora, precision):
    found = resolved(config_of(use_lora=use_lora, **({precision: True} if precision else {})), world_size=3)
    assert '"auto"' not in json.dumps(found)
    assert found["train_micro_batch_size_per_gpu"] == 2
    assert found["gradient_accumulation_steps"] == 4
    assert found["train_batch_size"] == 24
    assert found["gradient_clipping"] == 0.5
    assert found["zero_optimization"]["stage"] == 3
    assert found["bf16"]["enabled"] is (precision == "bf16")
    assert found["fp16"]["enabled"] is (precision == "fp16")


def test_the_packaged_file_scales_losses_as_the_other_backends_do():
    from r3pp_core.training.loss_scaler import FIRST_SCALE, GROWTH_INTERVAL

    fp16 = read_deepspeed_config(None)["fp16"]
    assert (2.0 ** fp16["initial_scale_power"], fp16["loss_scale_window"]) == (FIRST_SCALE, GROWTH_INTERVAL)


def test_the_packaged_file_is_the_default_and_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_deepspeed_config(PACKAGED) == read_deepspeed_config(None)
    assert PACKAGED == "configs/deepspeed_zero3.json"
    assert read_deepspeed_config(None)["zero_optimization"]["stage"] == 3


def test_a_users_file_wins_over_the_packaged_one_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / PACKAGED).write_text('{"wall_clock_breakdown": true}')
    assert read_deepspeed_config(PACKAGED) == {"wall_clock_breakdown": True}
    assert "wall_clock_breakdown" not in read_deepspeed_config(None)


def test_what_no_flag_decides_is_taken_from_the_users_file(config_of):
    offload = {"offload_optimizer": {"device": "cpu"}, "reduce_bucket_size": 1000}
    found = resolved(config_of({"zero_optimization": offload, "steps_per_print": 5}), 1)
    assert found["zero_optimization"] == {**offload, "stage": 3}
    assert found["steps_per_print"] == 5
    assert "overlap_comm" not in found["zero_optimization"]


@pytest.mark.parametrize(
    ("values", "key", "flag"),
    [
        ({"train_micro_batch_size_per_gpu": 3}, "train_micro_batch_size_per_gpu 3", r"\(--batch_size\)"),
        ({"gradient_accumulation_steps": 1}, "gradient_accumulation_steps 1", r"\(--grad_accum\)"),
        ({"train_batch_size": 8}, "train_batch_size 8", r"\(--batch_size x --grad_accum x ranks\)"),
        ({"gradient_clipping": 1.0}, r"gradient_clipping 1\.0", r"\(--max_grad_norm\)"),
        ({"gradient_clipping": 0}, "gradient_clipping 0", r"\(--max_grad_norm\)"),
        ({"bf16": {"enabled": True}}, "bf16.enabled True", "--bf16"),
        ({"fp16": {"enabled": True}}, "fp16.enabled True", "--fp16"),
        ({"zero_optimization": {"stage": 2}}, "zero_optimization.stage 2", "--backend deepspeed"),
        ({"zero_optimization": {"stage": 0}}, "zero_optimization.stage 0", "--backend deepspeed"),
        ({"optimizer": {"type": "Adam"}}, "optimizer.type 'Adam'", "the optimizer of every backend"),
        ({"optimizer": {"params": {"lr": 1e-3}}}, r"optimizer.params.lr 0\.001", r"\(--lr\)"),
        ({"optimizer": {"params": {"weight_decay": 0}}}, "optimizer.params.weight_decay 0", r"\(--weight_decay\)"),
        ({"optimizer": {"params": {"betas": [0.9, 0.95]}}}, r"optimizer.params.betas \[0.9, 0.95\]", "every backend"),
        ({"optimizer": {"params": {"eps": 1e-6}}}, "optimizer.params.eps 1e-06", "every backend"),
    ],
)
def test_a_value_that_contradicts_a_flag_is_an_error_that_names_both(config_of, values, key, flag):
    with pytest.raises(UsageError, match=rf"mine\.json says {key}.*{flag}"):
        resolved(config_of(values), 2)


def test_the_rate_of_a_full_run_is_that_of_the_backbones_own_weights(config_of):
    values = {"optimizer": {"params": {"lr": RATES["lr"]}}}
    with pytest.raises(UsageError, match=r"optimizer\.params\.lr 0\.0003, the run says 2e-05 \(--full_lr\)"):
        resolved(config_of(values, use_lora=False), 1)


@pytest.mark.parametrize("section", ["scheduler", "amp"])
def test_a_section_that_the_flags_decide_is_refused(config_of, section):
    with pytest.raises(UsageError, match=f"section '{section}'"):
        resolved(config_of({section: {"type": "WarmupLR"}}), 1)


def test_a_precision_that_the_card_does_not_serve_is_a_contradiction_once_it_is_known(config_of):
    config = config_of({"bf16": {"enabled": True}}, bf16=True)
    assert resolved(config, 1)["bf16"]["enabled"] is True
    with pytest.raises(UsageError, match=r"bf16\.enabled True"):
        resolved(config, 1, "float16")


def test_the_engine_computes_in_what_the_card_serves(config_of):
    found = resolved(config_of(bf16=True), 1, "float16")
    assert (found["bf16"]["enabled"], found["fp16"]["enabled"]) == (False, True)


def test_equal_values_are_accepted(config_of):
    equal = {
        "train_micro_batch_size_per_gpu": 2,
        "gradient_accumulation_steps": 4,
        "train_batch_size": 16,
        "gradient_clipping": 0.5,
        "bf16": {"enabled": True},
        "fp16": {"enabled": False},
        "zero_optimization": {"stage": 3},
    }
    found = resolved(config_of(equal, bf16=True), 2)
    assert {key: found[key] for key in equal} == equal


def test_auto_is_filled_in_wherever_a_flag_decides(config_of):
    keys = ("train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "train_batch_size", "gradient_clipping")
    sections = {"bf16": {"enabled": "auto"}, "fp16": {"enabled": "auto"}, "zero_optimization": {"stage": "auto"}}
    found = resolved(config_of({**dict.fromkeys(keys, "auto"), **sections}), 1)
    assert [found[key] for key in keys] == [2, 4, 8, 0.5]
    assert [found["bf16"]["enabled"], found["fp16"]["enabled"], found["zero_optimization"]["stage"]] == [
        False,
        False,
        3,
    ]


@pytest.mark.parametrize("optimizer", [ADAMW, {"type": "AdamW", "params": dict.fromkeys(ADAMW["params"], "auto")}])
def test_an_optimizer_that_agrees_is_left_to_the_run(config_of, optimizer):
    assert "optimizer" not in resolved(config_of({"optimizer": optimizer}), 1)


def test_an_auto_that_no_flag_decides_is_named(config_of):
    values = {"zero_optimization": {"stage": 3, "reduce_bucket_size": "auto"}}
    with pytest.raises(UsageError, match=r"auto for zero_optimization\.reduce_bucket_size"):
        resolved(config_of(values), 1)


@pytest.mark.parametrize("values", [{"bf16": True}, {"fp16": False}, {"zero_optimization": 3}])
def test_a_section_that_is_no_object_is_a_wrong_request_that_names_it(config_of, values):
    with pytest.raises(UsageError, match=next(iter(values))):
        resolved(config_of(values), 1)


@pytest.mark.parametrize("optimizer", ["Adam", {"type": "AdamW", "params": {"amsgrad": True}}], ids=["name", "amsgrad"])
def test_an_optimizer_that_is_not_the_runs_own_is_not_left_out_in_silence(config_of, optimizer):
    with pytest.raises(UsageError, match="optimizer"):
        resolved(config_of({"optimizer": optimizer}), 1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "not a readable JSON file"),
        (b"\xff\xfe{}", "not a readable JSON file"),
        (b"[1, 2]", "no JSON object"),
        (b'"auto"', "no JSON object"),
        (None, "not a readable JSON file"),
    ],
    ids=["torn", "not_utf8", "list", "string", "missing"],
)
def test_a_file_that_is_no_json_object_is_a_wrong_request(config_of, tmp_path, content, said):
    path = tmp_path / "theirs.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=rf"--deepspeed_config .*theirs\.json .*{said}"):
        resolved(config_of(deepspeed_config=str(path)), 1)


@pytest.mark.parametrize("backend", ["single", "fsdp"])
def test_another_backend_does_not_take_a_deepspeed_config(config_of, backend):
    with pytest.raises(UsageError, match=f"--deepspeed_config is for --backend deepspeed, not '{backend}'"):
        require_supported(config_of({}, backend=backend), 1)


def test_a_contradiction_is_found_before_anything_is_loaded(config_of):
    require_supported(config_of(), 2)
    with pytest.raises(UsageError, match=r"train_batch_size 8.*16"):
        require_supported(config_of({"train_batch_size": 8}), 2)


def test_without_the_package_the_backend_is_refused(config_of, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install deepspeed"):
        require_supported(config_of(), 1)
