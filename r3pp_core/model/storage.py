"""A saved R3 model: plain safetensors and JSON that transformers and PEFT can open by themselves.

config.json              our config, the backbone's name and hash, the hashes of what it was made from
model.safetensors        the R3 modules
adapter_config.json,
adapter_model.safetensors   LoRA in PEFT's layout (adapter "lora")
backbone/                all weights in the Hub's layout, with tokenizer and image processor (adapter "full")
README.md                model card
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from r3pp_core.errors import R3Error
from r3pp_core.model.backbone import load_backbone
from r3pp_core.model.config import R3Config
from r3pp_core.model.weights import (
    BACKBONE,
    MODULES_PREFIX,
    Place,
    WeightFiles,
    index_of,
    places,
    refuse_differences,
    write_files,
)
from r3pp_core.quiet import quiet_transformers

if TYPE_CHECKING:
    from r3pp_core.model.r3 import R3Model

MODEL_TYPE = "r3pp"
ADAPTER_CONFIG = "adapter_config.json"
TIED = ("lm_head.weight",)  # where it is the embedding itself, a file may hold it twice


def save_model(model: "R3Model", folder: Path, hashes: dict[str, str]) -> None:
    """Write into an existing or new folder; deterministic bytes for equal weights. `hashes`: what it was made from."""
    write_description(model, folder, hashes)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in saved_weights(model).items()}
    placed = places({name: tuple(tensor.shape) for name, tensor in weights.items()})
    write_files(folder, {placed[name]: tensor for name, tensor in weights.items()})
    write_index(folder, placed.values(), sum(tensor.nbytes for tensor in weights.values()))


def saved_weights(model: "R3Model") -> dict[str, Any]:
    """What is saved of a model, by name: its trainable parameters, and the modules' norm of a soft token."""
    return {**model.trainable(), **{f"{MODULES_PREFIX}{name}": b for name, b in model.reconstruction.named_buffers()}}


def write_description(model: "R3Model", folder: Path, hashes: dict[str, str]) -> None:
    """All files but the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    described = {
        "model_type": MODEL_TYPE,
        "backbone": model.backbone_name,
        "backbone_hash": model.backbone_hash,
        "r3": model.config.model_dump(mode="json"),
        "made_from": hashes,
    }
    (folder / "config.json").write_text(json.dumps(described, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(model_card(described), encoding="utf-8")
    if model.config.adapter == "lora":
        (folder / ADAPTER_CONFIG).write_text(_adapter_config(model), encoding="utf-8")
    elif model.config.adapter == "full":
        with quiet_transformers():
            backbone = (model.backbone.config, model.backbone.generation_config, model.tokenizer, model.image_processor)
            for part in backbone:
                part.save_pretrained(folder / BACKBONE)


def write_index(folder: Path, placed: Iterable[Place], num_bytes: int) -> None:
    """The Hub's index of a backbone in several files, where it has them."""
    if index := index_of(placed, num_bytes):
        (folder / BACKBONE / "model.safetensors.index.json").write_text(index, encoding="utf-8")


def load_model(folder: Path, backbone_dir: Path | None, dtype: str, device: str) -> "R3Model":
    """The model in evaluation mode. LoRA and bare models take their backbone from `backbone_dir`, else by its name.

    Raises R3Error for a folder that is no such model, a damaged file, another backbone than it was trained on, and
    any missing or unexpected weight.
    """
    from r3pp_core.model.r3 import R3Model

    described = read_description(folder)
    try:
        config = R3Config.model_validate(described["r3"])
    except ValidationError as error:
        raise R3Error(f"{folder}/config.json does not fit this version: {error.errors()[0]['msg']}") from error
    source: Path | str = backbone_dir or described["backbone"]
    if config.adapter == "full":
        source = folder / BACKBONE
    backbone = load_backbone(source, dtype=dtype, device=device)
    if config.adapter != "full" and backbone.hash != described["backbone_hash"]:
        raise R3Error(
            f"{folder} was trained on another backbone than {source}; give the folder of {described['backbone']}"
        )
    model = R3Model(backbone, config)
    load_trained(model, folder)
    return model.eval()


def load_trained(model: "R3Model", folder: Path) -> None:
    """Put saved weights into a model of the same config: R3 modules, adapters, or the whole backbone (full)."""
    import torch

    weights = saved_weights(model)
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    with TrainedFiles(folder, shapes) as found, torch.no_grad():
        for name, tensor in weights.items():
            tensor.copy_(found.whole(name))


class TrainedFiles:
    """Weights of a saved model by the names of `R3Model.named_parameters()`.

    Raises R3Error unless the folder holds exactly these, of these shapes.
    """

    def __init__(self, folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._keys = {name: place.key for name, place in places(shapes).items()}
        self._of_name: dict[str, WeightFiles] = {}
        self._opened: list[WeightFiles] = []
        by_part: dict[str, list[str]] = {}
        for name, place in places(shapes).items():
            by_part.setdefault(place.file.split("/")[0], []).append(name)
        for part, names in by_part.items():
            source = folder / part
            files = WeightFiles(sorted(source.glob("*.safetensors")) if part == BACKBONE else [source])
            refuse_differences(str(source), {self._keys[name]: shapes[name] for name in names}, files, TIED)
            self._opened.append(files)
            self._of_name.update(dict.fromkeys(names, files))

    def whole(self, name: str) -> Any:
        return self._of_name[name].whole(self._keys[name])

    def piece(self, name: str, start: int, stop: int) -> Any:
        return self._of_name[name].piece(self._keys[name], start, stop)

    def __enter__(self) -> "TrainedFiles":
        return self

    def __exit__(self, *exc_info: object) -> None:
        for files in self._opened:
            files.__exit__(*exc_info)


def read_description(folder: Path) -> dict[str, Any]:
    """config.json of a saved R3 model. Raises R3Error when it is not one."""
    path = folder / "config.json"
    try:
        described: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise R3Error(
            f"{folder} holds no R3 model ({path.name}: {error}); give a folder that training or export made"
        ) from error
    if described.get("model_type") != MODEL_TYPE:
        raise R3Error(f"{folder} holds a {described.get('model_type')} model, not an R3 model")
    return described


def read_tensors(path: Path, device: str = "cpu") -> dict[str, Any]:
    """Tensors of a safetensors file. Raises R3Error when it is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device=device)
    except (OSError, SafetensorError) as error:
        raise R3Error(f"{path} is missing or damaged ({error}); take another checkpoint") from error


def model_card(described: dict[str, Any]) -> str:
    """README.md of a saved model: what it is, from what, and how to load it."""
    config = described["r3"]
    made_from = "\n".join(f"- {name}: `{value}`" for name, value in sorted(described["made_from"].items()))
    return (
        f"---\nbase_model: {described['backbone']}\npipeline_tag: image-text-to-text\ntags: [r3pp, vqa]\n---\n\n"
        "# R3++\n\nAnswers questions about phone screens, charts and infographics with retrieved evidence as soft "
        f"tokens and words.\n\nBackbone adaptation: {config['adapter']}. "
        f"Soft tokens: {config['num_text_tokens']} text, "
        f"{config['num_image_tokens']} image, {config['num_latent_tokens']} latent. "
        f"Pictures: at most {config['max_pixels']:,} pixels.\n\n"
        "```python\nfrom pathlib import Path\nfrom r3pp_core.model.r3 import R3Model\n\n"
        'model = R3Model.from_pretrained(Path("."))\n```\n\n'
        f"## Made from\n\n- backbone: `{described['backbone_hash']}`\n{made_from}\n"
    )


def _adapter_config(model: "R3Model") -> str:
    assert model.peft_model is not None
    config = model.peft_model.peft_config["default"].to_dict()
    config["inference_mode"] = True
    plain = {name: sorted(value) if isinstance(value, set) else value for name, value in config.items()}
    return json.dumps(plain, indent=1, sort_keys=True, default=str) + "\n"
