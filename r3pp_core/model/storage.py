"""A saved R3 model: plain safetensors and JSON that transformers and PEFT can open by themselves.

config.json              our config, the backbone's name and hash, the hashes of what it was made from
model.safetensors        the R3 modules
adapter_config.json,
adapter_model.safetensors   LoRA in PEFT's layout (adapter "lora")
backbone/                all weights in the Hub's layout, with tokenizer and image processor (adapter "full")
README.md                model card
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from r3pp_core.errors import R3Error
from r3pp_core.model.backbone import load_backbone, refuse_key_differences
from r3pp_core.model.config import R3Config
from r3pp_core.quiet import quiet_transformers

if TYPE_CHECKING:
    from r3pp_core.model.r3 import R3Model

MODEL_TYPE = "r3pp"
MODULES, ADAPTER, ADAPTER_CONFIG = "model.safetensors", "adapter_model.safetensors", "adapter_config.json"
BACKBONE = "backbone"


def save_model(model: "R3Model", folder: Path, hashes: dict[str, str]) -> None:
    """Write into an existing or new folder; deterministic bytes for equal weights. `hashes`: what it was made from."""
    from safetensors.torch import save_file

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
    modules = {name: tensor.contiguous() for name, tensor in model.reconstruction.state_dict().items()}
    save_file(modules, folder / MODULES, metadata={"format": "pt"})
    if model.config.adapter == "lora":
        save_file(_adapter_state(model), folder / ADAPTER, metadata={"format": "pt"})
        (folder / ADAPTER_CONFIG).write_text(_adapter_config(model), encoding="utf-8")
    elif model.config.adapter == "full":
        with quiet_transformers():
            for part in (model.backbone, model.tokenizer, model.image_processor):
                part.save_pretrained(folder / BACKBONE)


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
    modules = read_tensors(folder / MODULES, model.device)
    _load_exactly(model.reconstruction, modules, str(folder / MODULES))
    if model.config.adapter == "lora":
        _load_adapter(model, folder)
    elif model.config.adapter == "full":
        weights: dict[str, Any] = {}
        for path in sorted((folder / BACKBONE).glob("*.safetensors")):
            weights |= read_tensors(path, model.device)
        if model.backbone.config.tie_word_embeddings:
            weights["lm_head.weight"] = weights["model.language_model.embed_tokens.weight"]
        _load_exactly(model.backbone, weights, str(folder / BACKBONE))


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


def _adapter_state(model: "R3Model") -> dict[str, Any]:
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(model.peft_model)
    return {name: tensor.contiguous() for name, tensor in state.items()}


def _adapter_config(model: "R3Model") -> str:
    assert model.peft_model is not None
    config = model.peft_model.peft_config["default"].to_dict()
    config["inference_mode"] = True
    plain = {name: sorted(value) if isinstance(value, set) else value for name, value in config.items()}
    return json.dumps(plain, indent=1, sort_keys=True, default=str) + "\n"


def _load_adapter(model: "R3Model", folder: Path) -> None:
    from peft import set_peft_model_state_dict

    found = read_tensors(folder / ADAPTER, model.device)
    wanted = _adapter_state(model)
    refuse_key_differences(str(folder / ADAPTER), set(wanted) - set(found), set(found) - set(wanted))
    _refuse_other_shapes(str(folder / ADAPTER), wanted, found)
    set_peft_model_state_dict(model.peft_model, found)


def _load_exactly(module: Any, found: dict[str, Any], source: str) -> None:
    wanted = module.state_dict()
    refuse_key_differences(source, set(wanted) - set(found), set(found) - set(wanted))
    _refuse_other_shapes(source, wanted, found)
    module.load_state_dict(found)


def _refuse_other_shapes(source: str, wanted: dict[str, Any], found: dict[str, Any]) -> None:
    for name, tensor in wanted.items():
        if tensor.shape != found[name].shape:
            raise R3Error(
                f"{source}: {name} has shape {tuple(found[name].shape)}, this model needs {tuple(tensor.shape)}; "
                "it was saved with another backbone or configuration"
            )
