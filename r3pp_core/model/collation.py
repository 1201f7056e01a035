"""Prepared rows to one batch of tensors.

B rows, T padded length, P patches of all pictures, k hits, d embedding length.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from r3pp_core.model.config import ARMS, Arm, R3Config
from r3pp_core.model.evidence import RowHits
from r3pp_core.model.preparation import PreparedRow, RejectedRow
from r3pp_core.model.prompt import EncodedPrompt, encode, instruction, system_turn, user_text

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from r3pp_core.model.reconstruction import StepMeans

IGNORED = -100
NUM_OCR_FEATURES = 3
NUM_DIGITS = 4  # of a confidence, so that what hangs on it does not depend on how rows were batched
T_co = TypeVar("T_co", bound="EvidenceBatch | Batch | StepMeans")


@dataclass(frozen=True)
class EvidenceBatch:
    """Hits of both indices (zero where there is none), what confidence is read from, and the simulator's truth."""

    text_vectors: "Tensor"  # [B, k, d_text]
    text_weights: "Tensor"  # [B, k]
    text_scores: "Tensor"  # [B, k]
    text_mask: "Tensor"  # bool [B, k]
    image_vectors: "Tensor"  # [B, k, d_image]
    image_weights: "Tensor"  # [B, k]
    image_scores: "Tensor"  # [B, k]
    image_mask: "Tensor"  # bool [B, k]
    image_query: "Tensor"  # [B, d_image]
    ocr: "Tensor"  # [B, NUM_OCR_FEATURES], see ocr_features
    c_vis: "Tensor"  # [B], a target only: never an input
    c_text: "Tensor"  # [B], a target only: never an input


@dataclass(frozen=True)
class Batch:
    """`labels` hold the answer's ids at their own positions and -100 elsewhere; `has_placeholders`: K in every row.

    `off`: parts of the model that the arm switches off. `clean`: the same rows as the teacher sees them.
    """

    row_ids: list[str]
    has_placeholders: bool
    input_ids: "Tensor"  # [B, T]
    attention_mask: "Tensor"  # [B, T]
    mm_token_type_ids: "Tensor"  # [B, T], 1 on picture tokens
    labels: "Tensor"  # [B, T]
    pixel_values: "Tensor"  # [P, patch length]
    image_grid_thw: "Tensor"  # [B, 3]
    evidence: EvidenceBatch
    off: frozenset[str] = frozenset()
    clean: "Batch | None" = None

    @property
    def num_answer_tokens(self) -> int:
        return int((self.labels != IGNORED).sum())


def to_device(batch: T_co, device: str) -> T_co:
    """The same batch with its tensors on `device`."""
    moved: dict[str, Any] = {}
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, EvidenceBatch | Batch):
            moved[field.name] = to_device(value, device)
        elif hasattr(value, "to"):
            moved[field.name] = value.to(device)
    return replace(batch, **moved)


def in_dtype(values: T_co, dtype: "torch.dtype") -> T_co:
    """The same tensors, those of floating point in `dtype`."""
    found = {field.name: getattr(values, field.name) for field in fields(values)}
    return replace(values, **{name: one.to(dtype) for name, one in found.items() if one.is_floating_point()})


@dataclass(frozen=True)
class EncodedRow:
    row: PreparedRow
    prompt: EncodedPrompt

    @property
    def length(self) -> int:
        return len(self.prompt.prompt_ids) + len(self.prompt.answer_ids)


def collate(
    rows: Sequence[PreparedRow],
    tokenizer: Any,
    config: R3Config,
    *,
    arm: Arm = ARMS["r3"],
    with_answers: bool = False,
    padding_side: Literal["left", "right"] = "left",
    merge_size: int = 2,
) -> Batch:
    """Left padding for generation; training puts the answers in (`with_answers`), on either side."""
    encoded = [encode_row(row, tokenizer, config, arm, with_answers, merge_size) for row in rows]
    return collate_encoded(encoded, tokenizer, config, arm=arm, padding_side=padding_side)


def encode_row(
    row: PreparedRow, tokenizer: Any, config: R3Config, arm: Arm, with_answers: bool, merge_size: int
) -> EncodedRow:
    damaged = row.damaged
    text = user_text(
        damaged.question,
        instruction(damaged.row["dataset"], config.prompt),
        damaged.pseudo_text if arm.ocr_text else None,
        words_of(row, config, arm),
        config.prompt,
    )
    num_soft_tokens = config.num_soft_tokens if arm.soft_tokens else 0
    num_image_tokens = int(np.prod(damaged.grid_thw)) // merge_size**2
    answer = damaged.row["answer"] if with_answers else None
    encoded = encode(tokenizer, text, answer, num_soft_tokens, num_image_tokens, system_turn(config.prompt))
    return EncodedRow(row, encoded)


def gives_words(config: R3Config, arm: Arm) -> bool:
    """Whether an arm has its text evidence as words at all."""
    return arm.text_evidence and config.use_words and "words" not in arm.off


def words_of(row: PreparedRow, config: R3Config, arm: Arm) -> list[str]:
    """The text evidence that the prompt of a row holds as words, best first."""
    return row.evidence.text.texts if row.has_words and gives_words(config, arm) else []


def words_by_trust(rows: Sequence[PreparedRow], config: R3Config, c_text: Sequence[float] | None) -> list[PreparedRow]:
    """The rows, without words where their own text is in the prompt and its `c_text` not below `words_below`.

    `c_text`: the simulator's truth in training, elsewhere what the confidence head states; None where it is not known.
    """
    below = config.words_below
    if below is None or c_text is None or not config.prompt.max_ocr_chars:
        return list(rows)
    return [
        replace(row, has_words=round(trust, NUM_DIGITS) < below or not row.damaged.pseudo_text.strip())
        for row, trust in zip(rows, c_text, strict=True)
    ]


def split_by_length(encoded: Sequence[EncodedRow], max_length: int) -> tuple[list[EncodedRow], list[RejectedRow]]:
    """The rows of at most `max_length` ids, answer included, and the others as rejected for `too_long`."""
    fitting = [one for one in encoded if one.length <= max_length]
    rejected = [
        RejectedRow(
            one.row.row_id,
            "too_long",
            f"row {one.row.row_id} needs {one.length} tokens, more than {max_length}; "
            "raise max_length, or lower max_pixels or the prompt's limits",
        )
        for one in encoded
        if one.length > max_length
    ]
    return fitting, rejected


def collate_encoded(
    encoded: Sequence[EncodedRow],
    tokenizer: Any,
    config: R3Config,
    *,
    arm: Arm = ARMS["r3"],
    padding_side: Literal["left", "right"] = "left",
) -> Batch:
    """The batch of rows that `encode_row` encoded for the same arm."""
    import torch

    rows = [one.row for one in encoded]
    shape = (len(encoded), max(one.length for one in encoded))
    input_ids = np.full(shape, tokenizer.pad_token_id, np.int64)
    attention_mask, labels = np.zeros(shape, np.int64), np.full(shape, IGNORED, np.int64)
    for number, one in enumerate(encoded):
        prompt = one.prompt
        first = shape[1] - one.length if padding_side == "left" else 0
        answer_start, end = first + len(prompt.prompt_ids), first + one.length
        input_ids[number, first:end] = prompt.prompt_ids + prompt.answer_ids
        attention_mask[number, first:end] = 1
        labels[number, answer_start:end] = prompt.answer_ids
    image_token = tokenizer.convert_tokens_to_ids("<|image_pad|>")
    return Batch(
        row_ids=[row.row_id for row in rows],
        has_placeholders=arm.soft_tokens and config.num_soft_tokens > 0,
        input_ids=torch.from_numpy(input_ids),
        attention_mask=torch.from_numpy(attention_mask),
        mm_token_type_ids=torch.from_numpy((input_ids == image_token).astype(np.int32)),
        labels=torch.from_numpy(labels),
        pixel_values=torch.from_numpy(np.concatenate([row.damaged.pixel_values for row in rows])),
        image_grid_thw=torch.tensor([row.damaged.grid_thw for row in rows]),
        evidence=evidence_batch(rows, config, arm),
        off=arm.off,
    )


def ocr_features(conf: float | None, text: str) -> list[float]:
    """What OCR tells of how much it read: log-odds of its confidence (of 0.5 where unknown), whether that is known, and
    the logarithm of the number of characters.

    As a bare number a confidence of 0.99, where all was read, is hardly another than 0.8, where little was. Both
    logarithms are 0 at what divides a page that was read from one that was not, a confidence of 0.88 and 90
    characters: in few steps a head does not learn where to look.
    """
    bounded = 0.5 if conf is None else min(max(conf, 0.01), 0.999)
    return [math.log(bounded / (1 - bounded)) - 2, float(conf is not None), math.log1p(len(text)) - 4.5]


def evidence_batch(rows: Sequence[PreparedRow], config: R3Config, arm: Arm) -> EvidenceBatch:
    import torch

    def stacked(values: list[Any]) -> "Tensor":
        return torch.from_numpy(np.stack(values).astype(np.float32))

    def side(name: Literal["text", "image"], dim: int, used: bool) -> dict[str, "Tensor"]:
        hits: list[RowHits] = [getattr(row.evidence, name) if used else RowHits.none(config.k, dim) for row in rows]
        return {
            f"{name}_vectors": stacked([hit.vectors for hit in hits]),
            f"{name}_weights": stacked([hit.weights for hit in hits]),
            f"{name}_scores": stacked([hit.scores for hit in hits]),
            f"{name}_mask": torch.from_numpy(np.stack([hit.mask for hit in hits])),
        }

    return EvidenceBatch(
        **side("text", config.text_dim, arm.text_evidence),
        **side("image", config.image_dim, arm.image_evidence),
        image_query=stacked([row.evidence.image_query for row in rows]),
        ocr=torch.tensor([ocr_features(row.damaged.ocr_conf, row.damaged.pseudo_text) for row in rows]),
        c_vis=torch.tensor([float(row.damaged.c_vis) for row in rows]),
        c_text=torch.tensor([float(row.damaged.c_text) for row in rows]),
    )
