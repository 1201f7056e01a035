"""A very small world on disk: two data sets, twelve pictures, small models and indices; a config that trains on it."""

import hashlib
import json
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from r3pp_core.model.config import PromptConfig, R3Config
from r3pp_core.retrieval.build import build_index
from r3pp_core.retrieval.minilm import copy_packaged_minilm
from r3pp_core.sample.backbones import build_small_backbone, build_small_clip
from r3pp_core.training.config import TrainConfig


def write_world(root: Path) -> Path:
    """data/, train.jsonl, val.jsonl, models/backbone and models/clip in one folder."""
    rows = [_row(root, number) for number in range(12)]
    for name, part in (("train", rows[:10]), ("val", rows[10:])):
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
    texts = [f"{row['question']} {row['pseudo_text']} {row['answer']}" for row in rows] * 3
    build_small_backbone(root / "models" / "backbone", texts)
    build_small_clip(root / "models" / "clip")
    return root


def write_indices(root: Path) -> dict[str, str]:
    """Both indices over the world's training rows, and the fields of TrainConfig that retrieve from them."""
    copy_packaged_minilm(root / "models" / "minilm")
    encoders = {"text": root / "models" / "minilm", "image": root / "models" / "clip"}
    for kind, encoder in encoders.items():
        build_index(kind, root / "train.jsonl", root / "data", root / "indices", encoder)
    names = {f"{kind}_encoder_dir": str(encoder) for kind, encoder in encoders.items()}
    return {"index_dir": str(root / "indices"), **names}


def sharpen(backbone_dir: Path, factor: float = 6.0) -> None:
    """Have a drawn backbone answer other questions otherwise: with its small weights it repeats the last token."""
    from safetensors.torch import load_file, save_file

    path = backbone_dir / "model.safetensors"
    tensors = load_file(path)
    for name, tensor in tensors.items():
        if "language_model.layers" in name and tensor.ndim == 2:
            tensor *= factor
    save_file(tensors, path, {"format": "pt"})


def write_r3(world: Path, folder: Path, **fields: Any) -> Path:
    """An R3 model as it is drawn, untrained, for the world's backbone and encoders; `fields` of its config win."""
    import torch

    from r3pp_core.model.backbone import load_backbone
    from r3pp_core.model.r3 import R3Model
    from r3pp_core.model.storage import save_model

    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes = {"adapter": "none", "text_dim": 384, "image_dim": 64, "bottleneck": 16, "max_pixels": 4096}
    prompt = PromptConfig(max_ocr_chars=40, max_context_chars=80)
    model = R3Model(load_backbone(world / "models" / "backbone"), R3Config(**{**sizes, "prompt": prompt, **fields}))
    save_model(model, folder, {})
    return folder


def _row(root: Path, number: int) -> dict:
    dataset = "chartqa" if number % 3 else "screenqa"
    path = root / "data" / dataset / "images" / f"train_{number}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", (80, 60), "white")
    ImageDraw.Draw(picture).rectangle((5, 5, 10 + 5 * number, 40), fill=(20 * number, 90, 200 - 10 * number))
    picture.save(path)
    return {
        "id": f"{dataset}/train/{number}",
        "dataset": dataset,
        "split": "train",
        "image_path": f"{dataset}/images/train_{number}.png",
        "image_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "question": f"How many units were sold in {1990 + number}?",
        "answer": "many " * (number % 3) + str(number * 37),
        "answers": [str(number * 37)],
        "ocr_text": "",
        "ocr_conf": 0.9,
        "pseudo_text": f"Sales of year {1990 + number} are {number * 37} units",
        "meta": {},
    }


def small_config(world: Path, output_dir: Path, **fields: Any) -> TrainConfig:
    """LoRA on the small backbone without retrieval, four steps of two rows; `fields` win."""
    values = {
        "model_name": str(world / "models" / "backbone"),
        "train_jsonl": str(world / "train.jsonl"),
        "val_jsonl": str(world / "val.jsonl"),
        "image_root": str(world / "data"),
        "output_dir": str(output_dir),
        "use_lora": True,
        "batch_size": 1,
        "grad_accum": 2,
        "lr": 1e-3,
        "warmup_steps": 1,
        "max_steps": 4,
        "max_pixels": 4096,
        "eval_rows": 0,
        "save_every": 2,
        "num_workers": 1,
        "r3": R3Config(bottleneck=8, text_dim=6, image_dim=5, prompt=PromptConfig(max_ocr_chars=40)),
        "curriculum": {"kind": "constant", "max_level": 0.5},
    }
    return TrainConfig.model_validate({**values, **fields})
