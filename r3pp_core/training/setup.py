"""From a config to everything that the loop holds: model, optimizer, data, inputs' hashes."""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r3pp_core import code_versions
from r3pp_core.artefact import content_hash_of, hash_json
from r3pp_core.errors import R3Error
from r3pp_core.model.backbone import weights_hash
from r3pp_core.model.collation import Batch
from r3pp_core.model.config import Arm
from r3pp_core.model.evidence import Retriever
from r3pp_core.model.preparation import Preparer
from r3pp_core.model.storage import load_trained, read_description
from r3pp_core.progress import Progress
from r3pp_core.training.backends.registry import open_backend
from r3pp_core.training.batches import Batcher
from r3pp_core.training.capacity.check import check_fit
from r3pp_core.training.capacity.plan import Plan, table
from r3pp_core.training.config import TrainConfig
from r3pp_core.training.group import Group
from r3pp_core.training.order import MixedOrder, RowFile
from r3pp_core.training.teacher import Teacher


@dataclass
class Training:
    """A run that is ready to step. `step` is the number of steps done, `position` how far the order was drawn."""

    config: TrainConfig
    backend: Any
    teacher: Teacher | None
    preparer: Preparer
    batcher: Batcher
    stand_in: Batch | None
    train_rows: RowFile
    val_rows: RowFile | None
    order: MixedOrder
    inputs: dict[str, str]
    step: int = 0
    position: int = 0

    @property
    def model(self) -> Any:
        return self.backend.model

    @property
    def group(self) -> Group:
        group: Group = self.backend.group
        return group

    @property
    def rows_a_rank(self) -> int:
        """Rows that one rank draws in a step."""
        return self.config.batch_size * self.config.grad_accum


def set_up(config: TrainConfig, progress: Progress, tell_plan: Callable[[Plan], None] = lambda made: None) -> Training:
    """Load and build everything; deterministic from the config's seed.

    Raises R3Error for what cannot be loaded, and before anything large is, for a run that does not fit.
    """
    import torch

    from r3pp_core.model.r3 import R3Model

    if config.num_threads:
        torch.set_num_threads(config.num_threads)
    backend = open_backend(config)
    precision = backend.precision
    say = progress if backend.group.is_first else _unheard
    if precision.note:
        say(precision.note)
    train_rows = RowFile(Path(config.train_jsonl))
    val_rows = RowFile(Path(config.val_jsonl)) if config.eval_rows else None
    retriever = _retriever(config, precision.device)
    dims = (retriever.text_encoder.dim, retriever.image_encoder.dim) if retriever else (None, None)
    r3 = config.resolved_r3(*dims)
    if retriever and (problem := retriever.neighbours_problem(r3.max_query_chars)):
        say(f"training: undamaged rows are encoded at every step, since {problem}")
    made = backend.group.from_first(lambda: check_fit(config, r3, backend.group.size))
    tell_plan(made)
    say(table(made))
    say(f"training: loading {config.model_name} in {precision.weights} on {precision.device}")
    backbone = backend.load_backbone()
    torch.manual_seed(config.seed)
    model = R3Model(backbone, r3)
    if config.gradient_checkpointing:
        model.backbone.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    num_trainable = sum(math.prod(backend.shape(parameter)) for parameter in model.trainable().values())
    say(f"training: {num_trainable:,} trainable parameters, {len(train_rows)} rows of {', '.join(train_rows.names)}")
    backend.take(model)
    start = find_model(config.init_from) if config.init_from else None
    if start:
        load_trained(model, start, backend)
        backend.loaded()
    seed_rank(config.seed, 0, backend.group)
    arm = Arm(text_evidence=config.evidence in ("both", "text"), image_evidence=config.evidence in ("both", "image"))
    batcher = Batcher(model, config.batch_size, config.max_length, arm=arm, for_teacher=config.losses.kl > 0)
    return Training(
        config=config,
        backend=backend,
        teacher=Teacher(backend) if config.losses.kl else None,
        preparer=_preparer(config, model, retriever),
        batcher=batcher,
        stand_in=batcher.stand_in(model.image_processor) if backend.group.size > 1 else None,
        train_rows=train_rows,
        val_rows=val_rows,
        order=MixedOrder(train_rows.codes, train_rows.names, config.mixing_alpha, config.seed),
        inputs=_inputs(config, backbone.hash, start, retriever, precision.computes),
    )


def seed_rank(seed: int, step: int, group: Group) -> None:
    """Another stream for every rank and step: dropout must differ between ranks, and not repeat after a resume."""
    import torch

    torch.manual_seed(zlib.crc32(f"{seed} {step} {group.rank}".encode()))


def _unheard(message: str) -> None:
    """Rank 0 says it."""


def _retriever(config: TrainConfig, device: str) -> Retriever | None:
    if not config.index_dir:
        return None
    assert config.text_encoder_dir and config.image_encoder_dir, "checked by TrainConfig"
    return Retriever.load(
        Path(config.index_dir),
        Path(config.text_encoder_dir),
        Path(config.image_encoder_dir),
        config.r3.k,
        config.r3.min_score,
        device,
        content_hash_of(Path(config.train_jsonl)),
    )


def _preparer(config: TrainConfig, model: Any, retriever: Retriever | None) -> Preparer:
    from r3pp_core.ingest.ocr_store import OcrStore

    image_root = Path(config.image_root)
    if not image_root.is_dir():
        raise R3Error(f"image_root {image_root} is not a folder; download the data sets first (`r3pp download`)")
    return Preparer(
        image_root,
        model.config,
        config.corruption,
        model.image_processor,
        retriever,
        OcrStore(image_root).lines,
        keep_clean=config.losses.kl > 0,
    )


def find_model(name: str) -> Path:
    """The folder of a saved R3 model: itself, that of a checkpoint, or of the newest in a run. Raises R3Error."""
    folder = Path(name)
    found = sorted(folder.glob("step_*/manifest.json"), key=lambda path: int(path.parent.name.removeprefix("step_")))
    for candidate in (folder / "model", *(path.parent / "model" for path in found[-1:])):
        if candidate.is_dir():
            return candidate
    read_description(folder)
    return folder


def _inputs(
    config: TrainConfig, backbone_hash: str, start: Path | None, retriever: Retriever | None, dtype: str
) -> dict[str, str]:
    inputs = {
        "code": code_versions.TRAINING,
        "train_jsonl": content_hash_of(Path(config.train_jsonl)),
        "backbone": backbone_hash,
        "dtype": dtype,
    }
    if start:
        inputs["init_from"] = weights_hash(start)
    if config.eval_rows:
        inputs["val_jsonl"] = content_hash_of(Path(config.val_jsonl))
    if retriever:
        inputs["text_encoder"] = retriever.text_encoder.hash
        inputs["image_encoder"] = retriever.image_encoder.hash
        inputs["text_index"] = hash_json(retriever.text_index.details)
        inputs["image_index"] = hash_json(retriever.image_index.details)
        inputs["neighbours"] = retriever.neighbours.content_hash if retriever.neighbours else "none"
    return inputs
