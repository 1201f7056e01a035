"""Loading a Qwen3-VL of any size, from a folder or by its name on the Hub."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r3pp_core.artefact import content_hash_of, hash_json
from r3pp_core.errors import R3Error
from r3pp_core.hub import hub_errors
from r3pp_core.quiet import quiet_transformers

if TYPE_CHECKING:
    from torch import Tensor

ARCHITECTURE = "qwen3_vl"
PLACEHOLDER = "<|vision_pad|>"
REQUIRED_TOKENS = (
    PLACEHOLDER,
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
)
FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt"]
SHA256_LENGTH = 64
ROWS_AT_ONCE = 8192

# Folder, its config, dtype and device -> the model, and the mean norm of its token embeddings.
Load = Callable[[Path, Any, str, str], tuple[Any, float]]


@dataclass(frozen=True)
class Backbone:
    """A loaded model with what its inputs need. `hash` covers config and weights, not the dtype; `token_norm` is the
    mean norm of its token embeddings.
    """

    model: Any
    tokenizer: Any
    image_processor: Any
    name: str
    hash: str
    token_norm: float
    device: str

    @property
    def hidden_size(self) -> int:
        return int(self.model.config.text_config.hidden_size)


def inference_dtype(device: str) -> str:
    """float32 on a CPU; on a GPU bfloat16, or float16 below compute capability 8.0, which emulates bfloat16."""
    import torch

    if device != "cuda":
        return "float32"
    return "bfloat16" if torch.cuda.get_device_capability() >= (8, 0) else "float16"


def load_backbone(
    name_or_dir: str | Path,
    revision: str | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    load: Load | None = None,
) -> Backbone:
    """Load from safetensors only, in `dtype` (float32, bfloat16, float16), in evaluation mode.

    `load` gives the model in another way: on no device, or in parts. Raises R3Error when the folder or the Hub does
    not have it, when it is of another architecture, or when any weight is missing or unexpected.
    """
    from transformers import AutoConfig, AutoTokenizer
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    folder = local_folder(str(name_or_dir), revision)
    try:
        with quiet_transformers():
            config = AutoConfig.from_pretrained(folder)
            if config.model_type != ARCHITECTURE:
                raise R3Error(f"{name_or_dir} is a {config.model_type} model; this project needs a {ARCHITECTURE}")
            model, token_norm = (load or _load_whole)(folder, config, dtype, device)
            tokenizer = AutoTokenizer.from_pretrained(folder)
            image_processor = Qwen2VLImageProcessorPil.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise R3Error(f"{name_or_dir} does not load ({error}); fetch or build it again") from error
    absent = [token for token in REQUIRED_TOKENS if token not in tokenizer.get_vocab()]
    if absent:
        raise R3Error(f"the tokenizer of {name_or_dir} lacks {', '.join(absent)}; use a Qwen3-VL tokenizer")
    return Backbone(
        model.eval(), tokenizer, image_processor, str(name_or_dir), weights_hash(folder), token_norm, device
    )


def _load_whole(folder: Path, config: Any, dtype: str, device: str) -> tuple[Any, float]:
    import torch
    from transformers import Qwen3VLForConditionalGeneration

    model, info = Qwen3VLForConditionalGeneration.from_pretrained(
        folder, config=config, dtype=getattr(torch, dtype), use_safetensors=True, output_loading_info=True
    )
    refuse_key_differences(str(folder), info["missing_keys"], info["unexpected_keys"])
    return model.to(device), mean_norm(model.get_input_embeddings().weight.detach())


def mean_norm(rows: "Tensor") -> float:
    """[N, D] in any dtype; a part at a time is held in fp32."""
    return sum(float(part.float().norm(dim=1).sum()) for part in rows.split(ROWS_AT_ONCE)) / len(rows)


def refuse_key_differences(source: str, missing: Any, unexpected: Any) -> None:
    """Raise R3Error naming some of the keys unless both are empty."""
    if missing or unexpected:
        raise R3Error(
            f"{source} does not fit this model: {len(missing)} weights missing {sorted(missing)[:3]}, "
            f"{len(unexpected)} unexpected {sorted(unexpected)[:3]}; it was saved with another configuration"
        )


def weights_hash(folder: Path) -> str:
    """One hash over config.json and every safetensors file below `folder`; known hashes are not computed again."""
    files = [folder / "config.json", *folder.rglob("*.safetensors")]
    return hash_json({path.relative_to(folder).as_posix(): _file_hash(path) for path in sorted(files)})


def _file_hash(path: Path) -> str:
    # In the Hub's cache a large file is a link to a blob that is named by its sha256.
    blob = path.resolve().name
    return blob if path.is_symlink() and len(blob) == SHA256_LENGTH else content_hash_of(path)


def local_folder(name: str, revision: str | None = None) -> Path:
    """`name` where it is a folder, else that of the Hub's cache, fetched where it is not there. Raises R3Error."""
    if Path(name).is_dir():
        return Path(name)
    if name.count("/") != 1 or name.startswith((".", "/")):
        raise R3Error(f"no model folder {name}; build or fetch it first (`r3pp download-models`)")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=FILES))
    except hub_errors() as error:
        raise R3Error(
            f"{name} is neither a folder nor to be had from the Hub ({error.__class__.__name__}); "
            "run `r3pp download-models --backbone` where there is a network"
        ) from error
