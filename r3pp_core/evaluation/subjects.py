"""What is asked: the bare backbone, or a trained R3 model with its indices."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r3pp_core.artefact import Target, read_manifest
from r3pp_core.errors import R3Error
from r3pp_core.model.config import ARMS, R3Config
from r3pp_core.model.prompt import PROMPT_VERSION

if TYPE_CHECKING:
    from r3pp_core.model.preparation import PreparedRow, Preparer
    from r3pp_core.model.r3 import R3Model

BASE_ARMS = ("base", "base_ocr")
R3_ARMS = tuple(arm for arm in ARMS if arm not in BASE_ARMS)


@dataclass
class Subject:
    """A loaded model with what it retrieves from. `hashes` names the bytes that its answers depend on."""

    name: str
    model: "R3Model"
    arms: Sequence[str]
    hashes: dict[str, str]
    retriever: Any = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def max_pixels(self) -> int:
        return self.model.config.max_pixels

    @property
    def prompt(self) -> dict[str, Any]:
        return {"version": PROMPT_VERSION, **self.model.config.prompt.model_dump()}

    def preparer(self, image_root: Path, damage: str, seed: int) -> "Preparer":
        from r3pp_core.corruption.simulator import CorruptionConfig
        from r3pp_core.ingest.ocr_store import OcrStore
        from r3pp_core.model.preparation import Preparer

        corruption = CorruptionConfig.model_validate({"seed": seed, "damage": damage})
        return Preparer(
            image_root,
            self.model.config,
            corruption,
            self.model.image_processor,
            self.retriever,
            OcrStore(image_root).lines,
        )

    def answer(self, prepared: "list[PreparedRow]", arm: str, max_new_tokens: int) -> list[Any]:
        from r3pp_core.model.collation import collate, to_device

        batch = collate(
            prepared, self.model.tokenizer, self.model.config, arm=ARMS[arm], merge_size=self.model.merge_size
        )
        return self.model.generate(to_device(batch, self.model.device), max_new_tokens=max_new_tokens)


def base_subject(backbone_dir: Path, like: R3Config) -> Subject:
    """The backbone as it came: asked with picture and question, or with the picture's OCR text besides.

    It sees pictures and prompts as large as `like` lets R3 see them, or the comparison would not be one.
    """
    from r3pp_core.model.backbone import inference_dtype, load_backbone
    from r3pp_core.model.r3 import R3Model

    backbone = load_backbone(str(backbone_dir), dtype=inference_dtype(device()), device=device())
    model = R3Model(backbone, R3Config.bare(max_pixels=like.max_pixels, prompt=like.prompt))
    model.eval()
    return Subject("base", model, BASE_ARMS, {"model": backbone.hash})


def r3_subject(
    model_dir: Path,
    backbone_dir: Path | None,
    index_dir: Path,
    text_encoder_dir: Path,
    image_encoder_dir: Path,
) -> Subject:
    """A trained model, from an exported folder or a checkpoint, with the indices it retrieves from."""
    from r3pp_core.model.backbone import inference_dtype, weights_hash
    from r3pp_core.model.evidence import Retriever
    from r3pp_core.model.r3 import R3Model

    folder = model_dir / "model" if (model_dir / "model").is_dir() else model_dir
    if not (folder / "config.json").is_file():
        raise R3Error(f"{model_dir} holds no model (no config.json); give a checkpoint step_<n> or an exported folder")
    model = R3Model.from_pretrained(folder, backbone_dir, dtype=inference_dtype(device()), device=device())
    model.eval()
    config = model.config
    retriever = Retriever.load(
        index_dir, text_encoder_dir, image_encoder_dir, config.k, config.min_score, device=device()
    )
    hashes = {"model": weights_hash(folder), "backbone": model.backbone_hash}
    for kind in ("text", "image"):
        manifest = read_manifest(Target(index_dir / kind))
        hashes[f"index_{kind}"] = manifest.content_hash if manifest else "none"
    return Subject("r3", model, R3_ARMS, hashes, retriever)


def device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
