"""From a config to everything that the loop holds: model, optimizer, data, inputs' hashes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r3pp_core.artefact import content_hash_of, hash_json
from r3pp_core.errors import R3Error
from r3pp_core.model.backbone import load_backbone
from r3pp_core.model.evidence import Retriever
from r3pp_core.model.preparation import Preparer
from r3pp_core.progress import Progress
from r3pp_core.training.config import TrainConfig
from r3pp_core.training.optimizer import build_optimizer
from r3pp_core.training.order import MixedOrder, RowFile
from r3pp_core.training.precision import choose_precision, current_device


@dataclass
class Training:
    """A run that is ready to step. `step` is the number of steps done."""

    config: TrainConfig
    model: Any
    optimizer: Any
    scaler: Any
    preparer: Preparer
    train_rows: RowFile
    val_rows: RowFile | None
    order: MixedOrder
    inputs: dict[str, str]
    step: int = 0


def set_up(config: TrainConfig, progress: Progress) -> Training:
    """Load and build everything; deterministic from the config's seed. Raises R3Error for what cannot be loaded."""
    import torch

    from r3pp_core.model.r3 import R3Model

    if config.num_threads:
        torch.set_num_threads(config.num_threads)
    torch.manual_seed(config.seed)
    precision = choose_precision(config, *current_device())
    if precision.note:
        progress(precision.note)
    train_rows = RowFile(Path(config.train_jsonl))
    val_rows = RowFile(Path(config.val_jsonl)) if config.eval_rows else None
    retriever = _retriever(config, precision.device)
    dims = (retriever.text_encoder.dim, retriever.image_encoder.dim) if retriever else (None, None)
    progress(f"training: loading {config.model_name} in {precision.weights} on {precision.device}")
    backbone = load_backbone(config.model_name, config.revision, precision.weights, precision.device)
    model = R3Model(backbone, config.resolved_r3(*dims))
    model.autocast_dtype = getattr(torch, precision.autocast) if precision.autocast else None
    if config.gradient_checkpointing:
        model.backbone.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    num_trainable = sum(parameter.numel() for parameter in model.trainable().values())
    progress(
        f"training: {num_trainable:,} trainable parameters, {len(train_rows)} rows of {', '.join(train_rows.names)}"
    )
    return Training(
        config=config,
        model=model,
        optimizer=build_optimizer(model.trainable(), config),
        scaler=torch.amp.GradScaler(precision.device) if precision.loss_scaler else None,
        preparer=_preparer(config, model, retriever),
        train_rows=train_rows,
        val_rows=val_rows,
        order=MixedOrder(train_rows.codes, train_rows.names, config.mixing_alpha, config.seed),
        inputs=_inputs(config, backbone.hash, retriever, precision.weights),
    )


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
    )


def _preparer(config: TrainConfig, model: Any, retriever: Retriever | None) -> Preparer:
    from r3pp_core.ingest.ocr_store import OcrStore

    image_root = Path(config.image_root)
    if not image_root.is_dir():
        raise R3Error(f"image_root {image_root} is not a folder; download the data sets first (`r3pp download`)")
    lines = OcrStore(image_root).lines
    return Preparer(image_root, model.config, config.corruption, model.image_processor, retriever, lines)


def _inputs(config: TrainConfig, backbone_hash: str, retriever: Retriever | None, dtype: str) -> dict[str, str]:
    inputs = {
        "train_jsonl": content_hash_of(Path(config.train_jsonl)),
        "backbone": backbone_hash,
        "dtype": dtype,
    }
    if config.eval_rows:
        inputs["val_jsonl"] = content_hash_of(Path(config.val_jsonl))
    if retriever:
        inputs["text_encoder"] = retriever.text_encoder.hash
        inputs["image_encoder"] = retriever.image_encoder.hash
        inputs["text_index"] = hash_json(retriever.text_index.details)
        inputs["image_index"] = hash_json(retriever.image_index.details)
        inputs["neighbours"] = retriever.neighbours.content_hash if retriever.neighbours else "none"
    return inputs
