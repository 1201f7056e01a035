"""What is asked: the bare backbone, or a trained R3 model with its indices."""

from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from r3pp_core.artefact import Target, require_manifest
from r3pp_core.datasets.registry import DATASETS
from r3pp_core.errors import R3Error
from r3pp_core.launch.failures import RowOutOfMemoryError
from r3pp_core.model.config import ARMS, BASE_ARMS, CONTROL_ARMS, R3_ARMS, R3Config
from r3pp_core.model.prompt import PROMPT_VERSION, instruction, system_turn

if TYPE_CHECKING:
    from r3pp_core.evaluation.controls import EvidenceControls
    from r3pp_core.model.evidence import Retriever
    from r3pp_core.model.preparation import PreparedRow, Preparer
    from r3pp_core.model.r3 import R3Model

MAX_KEPT_BYTES = 1 << 30  # of decoded pictures, which come back at every damage level
NUM_KEPT_TEXTS = 4096  # pictures whose OCR lines are kept for the same reason


class Places(BaseModel):
    """The folders that a subject is made of, for another process that makes the same one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["base", "r3"]
    backbone: str
    like: R3Config | None = None
    model_dir: Path | None = None
    index_dir: Path | None = None
    text_encoder_dir: Path | None = None
    image_encoder_dir: Path | None = None

    def subject(self) -> "Subject":
        if self.kind == "base":
            assert self.like is not None
            return base_subject(self.backbone, self.like)
        assert self.model_dir and self.index_dir and self.text_encoder_dir and self.image_encoder_dir
        folders = (self.index_dir, self.text_encoder_dir, self.image_encoder_dir)
        return r3_subject(self.model_dir, Path(self.backbone), *folders)


class Subject:
    """A model with what it retrieves from, loaded when it is first asked.

    `hashes` names the bytes that its answers depend on, `config` what it sees and is told, `backbone` the folder or
    name of the model that it was trained on. `places` is None for one that lives in this process alone.
    """

    def __init__(
        self,
        name: str,
        arms: Sequence[str],
        hashes: dict[str, str],
        config: R3Config,
        load: "Callable[[], tuple[R3Model, Retriever | None]]",
        places: Places | None = None,
    ) -> None:
        self.name, self.arms, self.hashes, self.config, self.places = name, arms, hashes, config, places
        self._load = load
        self._pictures: list[Any] = []  # what `_seen` was made of: arms are asked about the same ones in turn
        self._seen: Any = None
        self._most_rows: int | None = None  # that fit into memory together; None: not known to be too many yet

    @cached_property
    def _loaded(self) -> "tuple[R3Model, Retriever | None]":
        model, retriever = self._load()
        return model.prepare_to_ask(), retriever

    @property
    def model(self) -> "R3Model":
        return self._loaded[0]

    @property
    def retriever(self) -> "Retriever | None":
        return self._loaded[1]

    @property
    def max_pixels(self) -> int:
        return self.config.max_pixels

    @property
    def dtype(self) -> str:
        """In which its weights answer on this machine."""
        from r3pp_core.model.backbone import inference_dtype

        return inference_dtype(device())

    @property
    def prompt(self) -> dict[str, Any]:
        """All words that it is asked with, but for those of its rows."""
        own = self.config.prompt
        return {
            "version": PROMPT_VERSION,
            **own.model_dump(),
            "system": system_turn(own),
            "instructions": {name: instruction(name, own) for name in DATASETS},
        }

    def preparer(self, image_root: Path, damage: str, seed: int) -> "Preparer":
        from r3pp_core.corruption.config import CorruptionConfig
        from r3pp_core.ingest.ocr_store import OcrStore
        from r3pp_core.model.preparation import Preparer
        from r3pp_core.pictures import DecodedPictures

        damages_question = damage == "question"
        corruption = CorruptionConfig.model_validate({"seed": seed, "damage": "text" if damages_question else damage})
        return Preparer(
            image_root,
            self.config,
            corruption,
            self.model.image_processor,
            self.retriever,
            lru_cache(NUM_KEPT_TEXTS)(OcrStore(image_root).lines),
            damages_question=damages_question,
            open_path=DecodedPictures(MAX_KEPT_BYTES).open,
        )

    @cached_property
    def _controls(self) -> "EvidenceControls":
        from r3pp_core.evaluation.controls import EvidenceControls

        assert self.retriever is not None, "an arm of evidence is asked of R3 alone"
        return EvidenceControls(self.retriever)

    def shown(self, prepared: "list[PreparedRow]", arm: str) -> "list[PreparedRow]":
        """The rows with the evidence that `arm` is shown, as words only where the model wants them."""
        control = ARMS[arm].control
        given = self._controls.apply(control, prepared) if control else prepared
        return self.model.words_by_trust(given, ARMS[arm])

    def answer(self, prepared: "list[PreparedRow]", arm: str, max_new_tokens: int) -> list[Any]:
        """One answer a row, with what `shown` gave. Pictures of the call before are not encoded again.

        Rows that do not fit into the device's memory together are asked in halves, and so many only from then on.
        Raises RowOutOfMemoryError naming a row that does not fit alone.
        """
        import torch

        size = min(self._most_rows or len(prepared), len(prepared))
        if size == len(prepared):
            try:
                return self._answer(prepared, arm, max_new_tokens)
            except torch.OutOfMemoryError as error:
                if len(prepared) == 1:
                    raise RowOutOfMemoryError(
                        f"{prepared[0].row_id} alone is out of memory: train with smaller pictures (--max_pixels) or "
                        f"shorter texts (--r3.prompt.max_ocr_chars), or take a larger device ({error})"
                    ) from error
            # Outside of the handler, whose error holds the tensors of the attempt.
            size = self._most_rows = -(-size // 2)
        parts = [prepared[start : start + size] for start in range(0, len(prepared), size)]
        return [answer for part in parts for answer in self.answer(part, arm, max_new_tokens)]

    def _answer(self, prepared: "list[PreparedRow]", arm: str, max_new_tokens: int) -> list[Any]:
        from r3pp_core.model.collation import collate, to_device

        model = self.model
        batch = collate(prepared, model.tokenizer, self.config, arm=ARMS[arm], merge_size=model.merge_size)
        batch = to_device(batch, model.device)
        pictures = [row.damaged.pixel_values for row in prepared]
        if not _are_same(pictures, self._pictures):
            self._pictures, self._seen = [], None  # not both in memory
            self._pictures, self._seen = pictures, model.see(batch)
        return model.generate(batch, max_new_tokens=max_new_tokens, seen=self._seen)


def _are_same(pictures: Sequence[Any], others: Sequence[Any]) -> bool:
    return len(pictures) == len(others) and all(one is other for one, other in zip(pictures, others, strict=True))


def base_subject(backbone: str | Path, like: R3Config) -> Subject:
    """The backbone as it came: asked with picture and question, or with the picture's OCR text besides.

    It sees pictures and prompts as large as `like` lets R3 see them, or the comparison would not be one. Raises R3Error
    where there is no such backbone.
    """
    from r3pp_core.model.backbone import local_folder, weights_hash

    config = R3Config.bare(max_pixels=like.max_pixels, prompt=like.prompt)

    def load() -> "tuple[R3Model, None]":
        from r3pp_core.model.backbone import inference_dtype, load_backbone
        from r3pp_core.model.r3 import R3Model

        return R3Model(load_backbone(backbone, dtype=inference_dtype(device()), device=device()), config), None

    places = Places(kind="base", backbone=_absolute(backbone), like=like)
    return Subject("base", BASE_ARMS, {"model": weights_hash(local_folder(str(backbone)))}, config, load, places)


def r3_subject(
    model_dir: Path,
    backbone_dir: Path | None,
    index_dir: Path,
    text_encoder_dir: Path,
    image_encoder_dir: Path,
) -> Subject:
    """A trained model, from an exported folder or a checkpoint, with the indices it retrieves from.

    One that was trained without evidence and without soft tokens is a control: it has that arm alone, and retrieves
    nothing.

    Raises R3Error for a folder that holds no model and for an index that is not there.
    """
    from r3pp_core.model.backbone import weights_hash
    from r3pp_core.model.storage import read_config, read_description

    folder = model_dir / "model" if (model_dir / "model").is_dir() else model_dir
    if not (folder / "config.json").is_file():
        raise R3Error(f"{model_dir} holds no model (no config.json); give a checkpoint step_<n> or an exported folder")
    described, config = read_description(folder), read_config(folder)

    def load() -> "tuple[R3Model, Retriever | None]":
        from r3pp_core.model.backbone import inference_dtype
        from r3pp_core.model.evidence import Retriever
        from r3pp_core.model.r3 import R3Model

        model = R3Model.from_pretrained(folder, backbone_dir, dtype=inference_dtype(device()), device=device())
        if not config.uses_evidence:
            return model, None
        folders = (index_dir, text_encoder_dir, image_encoder_dir)
        return model, Retriever.load(*folders, config.k, config.min_score, device=device())

    hashes = {"model": weights_hash(folder), "backbone": described["backbone_hash"]}
    for kind in ("text", "image"):
        hashes[f"index_{kind}"] = require_manifest(Target(index_dir / kind), "r3pp index").content_hash
    places = Places(
        kind="r3",
        backbone=_absolute(backbone_dir or described["backbone"]),
        model_dir=model_dir.resolve(),
        index_dir=index_dir.resolve(),
        text_encoder_dir=text_encoder_dir.resolve(),
        image_encoder_dir=image_encoder_dir.resolve(),
    )
    if config.is_control:
        return Subject("control", CONTROL_ARMS, hashes, config, load, places)
    arms = tuple(arm for arm in R3_ARMS if all(getattr(config, f"use_{part}") for part in ARMS[arm].off))
    return Subject("r3", arms, hashes, config, load, places)


def _absolute(backbone: str | Path) -> str:
    """A folder's whole path; a name on the Hub as it is."""
    return str(Path(backbone).resolve()) if Path(backbone).is_dir() else str(backbone)


def device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
