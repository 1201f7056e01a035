"""Many questions about one page in one sequence: the context is computed once and no question sees another.

B pages, T padded length. Segment 0 is the context, segment j >= 1 question j with its answer; a token sees the context
and its own segment, and the positions of each segment go on where the context ends. So the logits of every answer
are those of a prompt that asks that question alone.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from r3pp_core.model.prompt import encode
from r3pp_core.sample.backbones import MERGE_SIZE
from r3pp_core.sample.pretrain.examples import Example
from r3pp_core.sample.pretrain.questions_apart import Apart, lay_apart
from r3pp_core.sample.pretrain.things import words_in_cells

if TYPE_CHECKING:
    from torch import Tensor

PADDING = -1
NOT_KNOWN = -1.0  # of the cells of a page of which nothing is said


@dataclass(frozen=True)
class Packed:
    """`targets` hold the next token where an answer's token is predicted and -100 elsewhere; `asked_of` the question
    (numbered over the batch) that each of those positions belongs to."""

    input_ids: "Tensor"  # [B, T]
    position_ids: "Tensor"  # [3, B, T]
    apart: Apart  # what attends to what
    mm_token_type_ids: "Tensor"  # [B, T]
    targets: "Tensor"  # [B, T]
    asked_of: "Tensor"  # [B, T]
    pixel_values: "Tensor | None"  # [P, patch length]
    image_grid_thw: "Tensor | None"  # [pictures, 3]
    cells: "Tensor | None"  # [image tokens of the batch, words] 1 where a word describes what stands there, NOT_KNOWN
    kinds: list[str]


@dataclass(frozen=True)
class _Row:
    ids: list[int]
    segments: list[int]
    targets: list[int]
    asked_of: list[int]
    positions: np.ndarray


def pack(examples: Sequence[Example], tokenizer: Any, image_processor: Any) -> Packed:
    """The batch of `examples`, right-padded."""
    import torch
    from PIL import Image

    pictures = [Image.open(io.BytesIO(one.png)) for one in examples if one.png is not None]
    encoded = image_processor(images=pictures, return_tensors="np") if pictures else None
    sizes = (encoded["image_grid_thw"][:, 1:] // MERGE_SIZE).tolist() if encoded else []
    left = iter(sizes)
    kinds: list[str] = []
    image_pad = tokenizer.convert_tokens_to_ids("<|image_pad|>")
    rows = []
    for one in examples:
        rows.append(_row(one, next(left) if one.png is not None else (0, 0), tokenizer, image_pad, len(kinds)))
        kinds += [asked.kind for asked in one.asked]
    length = max(len(row.ids) for row in rows)

    def padded(values: list[list[int]], fill: int) -> np.ndarray:
        return np.array([one + [fill] * (length - len(one)) for one in values], np.int64)

    shown = [one.things for one in examples if one.png is not None]
    cells = [words_in_cells(things, *size) for things, size in zip(shown, sizes, strict=True)]
    for things, of_page in zip(shown, cells, strict=True):
        if not things:
            of_page[:] = NOT_KNOWN
    ids = padded([row.ids for row in rows], tokenizer.pad_token_id)
    segments = padded([row.segments for row in rows], PADDING)
    positions = np.stack([np.pad(row.positions, ((0, 0), (0, length - len(row.ids)))) for row in rows], axis=1)
    return Packed(
        input_ids=torch.from_numpy(ids),
        position_ids=torch.from_numpy(positions),
        apart=lay_apart(segments),
        mm_token_type_ids=torch.from_numpy((ids == image_pad).astype(np.int32)),
        targets=torch.from_numpy(padded([row.targets for row in rows], -100)),
        asked_of=torch.from_numpy(padded([row.asked_of for row in rows], -1)),
        pixel_values=torch.from_numpy(encoded["pixel_values"]) if encoded else None,
        image_grid_thw=torch.from_numpy(encoded["image_grid_thw"]) if encoded else None,
        cells=torch.from_numpy(np.concatenate(cells)) if cells else None,
        kinds=kinds,
    )


def _row(example: Example, size: Sequence[int], tokenizer: Any, image_pad: int, first: int) -> _Row:
    context = "".join(f"{block}\n" for block in example.context)
    whole = [
        encode(tokenizer, f"{context}{example.instruction}\n{asked.text}", asked.answer, 0, size[0] * size[1])
        for asked in example.asked
    ]
    shared = len(_common_start([one.prompt_ids for one in whole])) if len(whole) > 1 else len(whole[0].prompt_ids) - 1
    ids = list(whole[0].prompt_ids[:shared])
    base = _positions(ids, size, image_pad)
    positions, segments, targets, asked_of = [base], [0] * shared, [-100] * shared, [-1] * shared
    after = base[:, -1:].max() + 1
    for number, one in enumerate(whole, start=1):
        own = [*one.prompt_ids[shared:], *one.answer_ids]
        num_asked = len(one.prompt_ids) - shared
        ids += own
        segments += [number] * len(own)
        targets += [-100] * (num_asked - 1) + one.answer_ids + [-100]
        asked_of += [-1] * (num_asked - 1) + [first + number - 1] * len(one.answer_ids) + [-1]
        positions.append(np.tile(after + np.arange(len(own)), (3, 1)))
    return _Row(ids, segments, targets, asked_of, np.concatenate(positions, axis=1))


def _common_start(sequences: list[list[int]]) -> list[int]:
    first = sequences[0]
    for length in range(min(map(len, sequences)), 0, -1):
        if all(one[:length] == first[:length] for one in sequences):
            return first[:length]
    return []


def _positions(ids: list[int], size: Sequence[int], image_pad: int) -> np.ndarray:
    """[3, n] temporal, vertical and horizontal positions: the picture's are its grid, as in Qwen3-VL's rope index."""
    positions = np.tile(np.arange(len(ids)), (3, 1))
    if image_pad in ids:
        start, count = ids.index(image_pad), size[0] * size[1]
        rows, columns = np.divmod(np.arange(count), size[1])
        positions[:, start : start + count] = start + np.stack([np.zeros_like(rows), rows, columns])
        positions[:, start + count :] += max(size) - count
    return positions
