"""The model of a run on no device: names, shapes and dtypes as training will have them, in seconds and no memory."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

from r3pp_core.errors import R3Error
from r3pp_core.model.backbone import ARCHITECTURE, Backbone
from r3pp_core.model.config import R3Config
from r3pp_core.quiet import quiet_transformers

QWEN3_VL_8B = "Qwen/Qwen3-VL-8B-Instruct"
PACKAGED = "qwen3_vl_8b.json"
FUSED_ATTENTION = "r3pp_outline"


class _NoTokenizer:
    """Ids do not matter to sizes."""

    def convert_tokens_to_ids(self, token: str) -> int:
        return 0


def outline(model_name: str, r3: R3Config, dtype: str) -> Any:
    """The R3Model with a backbone in `dtype`, all of it on torch's meta device.

    `model_name`: a folder with config.json, or Qwen3-VL-8B-Instruct's name on the Hub, whose sizes are known without
    it. Raises R3Error otherwise.
    """
    import torch
    from accelerate import init_empty_weights
    from transformers import Qwen3VLForConditionalGeneration

    from r3pp_core.model.r3 import R3Model

    config = _read(model_name)
    _register_fused_attention()
    with quiet_transformers(), init_empty_weights(include_buffers=False):
        model = Qwen3VLForConditionalGeneration._from_config(
            config, dtype=getattr(torch, dtype), attn_implementation=FUSED_ATTENTION
        )
    model.tie_weights()
    model.name_or_path = model_name
    with quiet_transformers(), init_empty_weights(include_buffers=False):
        return R3Model(Backbone(model.eval(), _NoTokenizer(), None, model_name, "", 1.0, "meta"), r3)


def _read(model_name: str) -> Any:
    from transformers import Qwen3VLConfig

    path = Path(model_name) / "config.json"
    try:
        if path.is_file():
            text = path.read_text(encoding="utf-8")
        elif model_name == QWEN3_VL_8B:
            text = resources.files("r3pp_core.training.capacity").joinpath(PACKAGED).read_text(encoding="utf-8")
        else:
            raise R3Error(
                f"no model folder {model_name}; fetch or build it first (`r3pp download-models`), or plan with "
                f"--model_name {QWEN3_VL_8B}"
            )
        values = json.loads(text)
        if values.get("model_type") != ARCHITECTURE:
            raise R3Error(f"{model_name} is a {values.get('model_type')} model; this project needs a {ARCHITECTURE}")
        return Qwen3VLConfig(**values)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise R3Error(f"{path} does not describe a model ({error}); fetch or build it again") from error


def _register_fused_attention() -> None:
    """An attention that keeps for its gradient what the fused kernels of a card keep, whatever the device computes."""
    from transformers import AttentionInterface

    AttentionInterface.register(FUSED_ATTENTION, _fused_attention)


def _fused_attention(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **options: Any
) -> tuple[Any, None]:
    """[B, H, T, d] -> [B, T, H, d]. Keys and values are repeated over their groups, as under a mask."""
    from transformers.integrations.sdpa_attention import repeat_kv

    groups = getattr(module, "num_key_value_groups", 1)
    if groups > 1:
        key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    return _kept_of_attention(query, key, value).transpose(1, 2).contiguous(), None


def _kept_of_attention(query: Any, key: Any, value: Any) -> Any:
    import torch

    class FusedAttention(torch.autograd.Function):
        """Keeps its inputs, its output and one number a query."""

        @staticmethod
        def forward(ctx: Any, query: Any, key: Any, value: Any) -> Any:
            output = torch.empty_like(query)
            ctx.save_for_backward(query, key, value, output, query.new_empty(query.shape[:-1], dtype=torch.float32))
            return output

        @staticmethod
        def backward(ctx: Any, *gradients: Any) -> Any:
            raise NotImplementedError("an outline is never run backwards")

    return FusedAttention.apply(query, key, value)
