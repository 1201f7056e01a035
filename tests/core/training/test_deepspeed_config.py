"""The user's DeepSpeed JSON: auto follows the flags, and a contradiction is an error that names both."""

import json

import pytest

from r3pp_core.errors import UsageError
from r3pp_core.training.backends.deepspeed_config import PACKAGED, resolved
from r3pp_core.training.config import TrainConfig, require_supported

RUN = {"batch_size": 2, "grad_accum": 4, "lr": 3e-4, "full_lr": 2e-5, "backend": "deepspeed"}


def config(**fields):
    return TrainConfig(**{**RUN, **fields})


@pytest.fixture
def with_json(tmp_path):
    """`with_json(values, **fields)`: a run whose DeepSpeed JSON is this one."""

    def make(values, **fields):
        path = tmp_path / "ds.json"
        path.write_text(values if isinstance(values, str) else json.dumps(values))
        return config(deepspeed_config=str(path), **fields)

    return make


@pytest.mark.parametrize("name", [None, PACKAGED])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_packaged_file_follows_the_run(name, dtype):
    values = resolved(config(deepspeed_config=name), 8, dtype)
    assert '"auto"' not in json.dumps(values)
    assert (values["train_micro_batch_size_per_gpu"], values["gradient_accumulation_steps"]) == (2, 4)
    assert (values["train_batch_size"], values["gradient_clipping"]) == (64, 1.0)
    assert values["zero_optimization"]["stage"] == 3
    assert (values["bf16"]["enabled"], values["fp16"]["enabled"]) == (dtype == "bfloat16", dtype == "float16")


def test_a_file_of_the_users_own_wins(with_json):
    values = {"zero_optimization": {"stage": 3, "offload_optimizer": {"device": "cpu"}}}
    assert resolved(with_json(values), 2, "float32")["zero_optimization"] == values["zero_optimization"]


@pytest.mark.parametrize(
    ("values", "key", "flag"),
    [
        ({"train_micro_batch_size_per_gpu": 3}, "train_micro_batch_size_per_gpu 3", "--batch_size"),
        ({"gradient_accumulation_steps": 1}, "gradient_accumulation_steps 1", "--grad_accum"),
        ({"train_batch_size": 8}, "train_batch_size 8", "ranks"),
        ({"gradient_clipping": 0.5}, "gradient_clipping 0.5", "--max_grad_norm"),
        ({"bf16": {"enabled": True}}, "bf16.enabled True", "--bf16"),
        ({"fp16": {"enabled": True}}, "fp16.enabled True", "--fp16"),
        ({"zero_optimization": {"stage": 2}}, "zero_optimization.stage 2", "ZeRO-3"),
        ({"optimizer": {"type": "Adam"}}, "optimizer.type 'Adam'", "AdamW"),
        ({"optimizer": {"params": {"lr": 1e-3}}}, "optimizer.params.lr 0.001", "--full_lr"),
        ({"optimizer": {"params": {"weight_decay": 0.1}}}, "optimizer.params.weight_decay 0.1", "--weight_decay"),
        ({"scheduler": {"type": "WarmupLR"}}, "scheduler", "flags"),
        ({"zero_optimization": {"stage": 3, "reduce_bucket_size": "auto"}}, "reduce_bucket_size", "auto"),
    ],
)
def test_what_contradicts_the_run_is_named_with_the_flag(with_json, values, key, flag):
    with pytest.raises(UsageError) as caught:
        require_supported(with_json(values), 2)
    assert key in str(caught.value)
    assert flag in str(caught.value)


def test_what_agrees_is_accepted(with_json):
    agreeing = {
        "train_batch_size": 16,
        "gradient_clipping": 1.0,
        "bf16": {"enabled": "auto"},
        "optimizer": {"type": "AdamW", "params": {"lr": 3e-4, "weight_decay": "auto", "betas": [0.9, 0.999]}},
    }
    assert "optimizer" not in resolved(with_json(agreeing, use_lora=True), 2, "float32")


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_file_that_is_no_json_object_is_refused(with_json, text):
    with pytest.raises(UsageError, match="deepspeed_config"):
        require_supported(with_json(text), 2)


def test_a_deepspeed_file_for_another_backend_is_refused():
    with pytest.raises(UsageError, match="for --backend deepspeed, not 'fsdp'"):
        require_supported(TrainConfig(backend="fsdp", deepspeed_config=PACKAGED), 2)
