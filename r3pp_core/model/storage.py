"""A saved R3 model: plain safetensors and JSON that transformers and PEFT can open by themselves.

config.json              our config, the backbone's name and hash, the hashes of what it was made from
model.safetensors        the R3 modules
adapter_config.json,
adapter_model.safetensors   LoRA in PEFT's layout (adapter "lora")
backbone/                all weights in the Hub's layout, with tokenizer and image processor (adapter "full")
README.md                model card
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from r3pp_core.errors import R3Error
from r3pp_core.model.backbone import load_backbone
from r3pp_core.model.config import R3Config
from r3pp_core.model.tensor_files import UNSHARDED, Sharding, read_tensors, write_tensors, writing
from r3pp_core.quiet import quiet_transformers

if TYPE_CHECKING:
    from r3pp_core.model.r3 import R3Model

MODEL_TYPE = "r3pp"
SEEN_VERSION = 2  # of what gate and confidence head read; raise it when trained ones would read something else
MODULES, ADAPTER, ADAPTER_CONFIG = "model", "adapter_model", "adapter_config.json"
BACKBONE = "backbone"


def save_model(model: "R3Model", folder: Path, hashes: dict[str, str], sharding: Sharding = UNSHARDED) -> None:
    """Write into an existing or new folder; deterministic bytes for equal weights. `hashes`: what it was made from.

    Every rank of a sharded model calls this.
    """
    sharding.from_first(lambda: _write_description(model, folder, hashes))
    for part, tensors in _saved_parts(model).items():
        write_tensors((folder / part).parent, (folder / part).name, tensors, sharding)


def save_merged(model: "R3Model", folder: Path, hashes: dict[str, str]) -> None:
    """As `save_model` for a model whose backbone is whole, adapters added into its weights, in the dtype it is in.

    The model is changed by this: it is one without adapters from then on.
    """
    if model.peft_model is not None:
        model.peft_model.merge_and_unload(safe_merge=True)
    model.config = model.config.model_copy(update={"adapter": "full"})
    save_model(model, folder, hashes)


def _saved_parts(model: "R3Model") -> dict[str, dict[str, Any]]:
    """What is saved of a model: by file, then by the name that PEFT or transformers gives it."""
    modules = model.reconstruction
    parts = {MODULES: {**dict(modules.named_parameters()), **dict(modules.named_buffers())}}
    if model.config.adapter == "lora":
        lora = [(name, parameter) for name, parameter in model.backbone.named_parameters() if parameter.requires_grad]
        parts[ADAPTER] = {saved_place(name)[1]: parameter for name, parameter in lora}
    elif model.config.adapter == "full":
        parts[f"{BACKBONE}/model"] = dict(model.backbone.named_parameters())
    return parts


def saved_place(name: str) -> tuple[Path, str]:
    """In which part of a saved model a trainable backbone weight lies, and under which name, by `R3Model`'s name."""
    own = name.removeprefix("backbone.")
    if ".lora_" in own:
        return Path(ADAPTER), f"base_model.model.{own.replace('.default.', '.')}"
    return Path(BACKBONE) / "model", own


def _write_description(model: "R3Model", folder: Path, hashes: dict[str, str]) -> None:
    """All files but the weights."""
    described = {
        "model_type": MODEL_TYPE,
        "seen_version": SEEN_VERSION,
        "backbone": model.backbone_name,
        "backbone_hash": model.backbone_hash,
        "r3": model.config.model_dump(mode="json"),
        "made_from": hashes,
    }
    with writing(folder), quiet_transformers():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(described, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(model_card(described), encoding="utf-8")
        if model.config.adapter == "lora":
            (folder / ADAPTER_CONFIG).write_text(_adapter_config(model), encoding="utf-8")
        elif model.config.adapter == "full":
            backbone = model.backbone
            for part in (backbone.config, backbone.generation_config, model.tokenizer, model.image_processor):
                part.save_pretrained(folder / BACKBONE)


def load_model(folder: Path, backbone_dir: Path | None, dtype: str, device: str) -> "R3Model":
    """The model in evaluation mode. LoRA and bare models take their backbone from `backbone_dir`, else by its name.

    Raises R3Error for a folder that is no such model, a damaged file, another backbone than it was trained on, and
    any missing or unexpected weight.
    """
    from r3pp_core.model.r3 import R3Model

    described, config = read_description(folder), read_config(folder)
    source: Path | str = backbone_dir or described["backbone"]
    if config.adapter == "full":
        backbone = load_backbone(folder / BACKBONE, dtype=dtype, device=device)
        # Saved again, it is still of the backbone that it was trained on, and not of itself.
        backbone = replace(backbone, name=described["backbone"], hash=described["backbone_hash"])
    else:
        backbone = load_backbone(source, dtype=dtype, device=device)
        if backbone.hash != described["backbone_hash"]:
            raise R3Error(
                f"{folder} was trained on another backbone than {source}; give the folder of {described['backbone']}"
            )
    model = R3Model(backbone, config)
    load_trained(model, folder)
    return model.eval()


def load_trained(model: "R3Model", folder: Path, sharding: Sharding = UNSHARDED) -> None:
    """Put saved weights into a model of the same config: R3 modules, adapters, or the whole backbone (full)."""
    for part, tensors in _saved_parts(model).items():
        read_tensors((folder / part).parent, (folder / part).name, tensors, sharding)


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


def read_config(folder: Path) -> R3Config:
    """Of a saved R3 model. Raises R3Error when it is not one, or of another version."""
    described = read_description(folder)
    try:
        config = R3Config.model_validate(described["r3"])
    except ValidationError as error:
        raise R3Error(f"{folder}/config.json does not fit this version: {error.errors()[0]['msg']}") from error
    if (config.use_gate or config.use_confidence) and described.get("seen_version", 1) != SEEN_VERSION:
        raise R3Error(
            f"{folder}: its gate and confidence head learned from what another version told them; train again"
        )
    return config


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
