import json
import shutil
from pathlib import Path

import pytest

# Fields of config.json that make other small backbones: deeper, wider and with an output layer of its own.
SHAPES = {
    "as_sampled": {},
    "untied": {"tie_word_embeddings": False},
    "deeper": {"text_config": {"num_hidden_layers": 5, "intermediate_size": 200}, "vision_config": {"depth": 3}},
}


@pytest.fixture(scope="session", params=SHAPES)
def backbone(request, world, tmp_path_factory) -> Path:
    """A small backbone of another shape."""
    import torch
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    folder = tmp_path_factory.mktemp("backbones") / request.param
    shutil.copytree(world / "models" / "backbone", folder)
    values = json.loads((folder / "config.json").read_text())
    for name, change in SHAPES[request.param].items():
        values[name] = {**values[name], **change} if isinstance(change, dict) else change
    values["text_config"].pop("layer_types", None)
    torch.manual_seed(0)
    for path in folder.glob("*.safetensors"):
        path.unlink()
    Qwen3VLForConditionalGeneration(Qwen3VLConfig(**values)).save_pretrained(folder)
    return folder
