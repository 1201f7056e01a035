"""The small CLIP: pages of other worlds against what is printed on them, contrastively (Radford et al. 2021).

It sees pictures at 128 pixels, blurred, noisy and dark ones as well, so that a damaged query still lies near its like.
"""

import io
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from r3pp_core.model.config import FROZEN
from r3pp_core.progress import Progress, silent
from r3pp_core.sample.pretrain.batches import NUM_HELD_OUT
from r3pp_core.sample.pretrain.pool import read_pool

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

SIDE, PATCH, WIDTH, DIM, MAX_TOKENS = 128, 16, 96, 64, 64
_LOG_EVERY = 50


class ClipConfig(BaseModel):
    """Defaults are the recipe that the packaged weights were made with."""

    model_config = FROZEN

    seed: int = Field(default=1, ge=0, description="of first weights, order and damage")
    num_groups: int = Field(default=600, ge=NUM_HELD_OUT + 1, description="drawn groups of twelve pages; four held out")
    steps: int = Field(default=1000, ge=1)
    pages: int = Field(default=96, ge=2, description="pages that are told apart in a step")
    lr: float = Field(default=1e-3, gt=0, description="peak learning rate; a warm-up, then a cosine")
    num_threads: int = Field(default=2, ge=1)


def train_clip(
    pool_dir: Path, tokenizer: Any, out_dir: Path, config: ClipConfig = ClipConfig(), progress: Progress = silent
) -> dict[str, float]:
    """Write a CLIP in the Hub's layout to `out_dir`; returns what it makes of pages that it never saw."""
    import torch
    from torch.nn.functional import cross_entropy, normalize

    torch.set_num_threads(config.num_threads)
    groups = read_pool(pool_dir, config.num_groups)
    pages = [page for group in groups for page in group]
    pictures = torch.from_numpy(_pixels([page.png for page in pages]))
    texts = [" | ".join(page.lines) for page in pages]
    num_seen = sum(len(group) for group in groups[:-NUM_HELD_OUT])
    model = small_clip(tokenizer, config.seed).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=0.1, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=config.steps, pct_start=0.1)
    began = time.monotonic()
    for step in range(config.steps):
        rng = random.Random(f"{config.seed}/clip/{step}")
        chosen = rng.sample(range(num_seen), min(config.pages, num_seen))
        generator = torch.Generator().manual_seed(rng.randrange(2**31))
        seen = normalize(_image_features(model, damaged(pictures[chosen], generator)), dim=-1)
        said = normalize(_text_features(model, tokenizer, [_some_lines(rng, texts[i]) for i in chosen]), dim=-1)
        logits = model.logit_scale.exp() * seen @ said.T
        target = torch.arange(len(chosen))
        loss = (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=4.6)  # 100, as in CLIP
        if (step + 1) % _LOG_EVERY == 0:
            progress(f"clip: step {step + 1} of {config.steps}, loss {loss.item():.3f}")
    scores = _scores(model.eval(), tokenizer, pictures[num_seen:], texts[num_seen:], config.seed)
    scores |= {"steps": config.steps, "seconds": round(time.monotonic() - began)}
    _save(model, tokenizer, out_dir, scores)
    return scores


def small_clip(tokenizer: Any, seed: int) -> Any:
    """CLIP's architecture with about 1 M parameters."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    width = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_attention_heads": 4}
    config = CLIPConfig(
        text_config={
            **width,
            "num_hidden_layers": 2,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": MAX_TOKENS,
            "bos_token_id": None,
            "eos_token_id": tokenizer.pad_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "projection_dim": DIM,
        },
        vision_config={
            **width,
            "num_hidden_layers": 4,
            "image_size": SIDE,
            "patch_size": PATCH,
            "projection_dim": DIM,
        },
        projection_dim=DIM,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CLIPModel(config)


def damaged(pixels: "Tensor", generator: "Tensor | Any") -> "Tensor":
    """uint8 pictures [n, 3, h, w] as CLIP's input, each with its own loss of detail, light and a patch of itself."""
    import torch
    from torch.nn.functional import interpolate

    images = pixels.float() / 255
    n = len(images)
    for i, factor in enumerate(torch.randint(1, 5, (n,), generator=generator).tolist()):
        if factor > 1:
            small = interpolate(images[i : i + 1], scale_factor=1 / factor, mode="area")
            images[i : i + 1] = interpolate(small, size=images.shape[-2:], mode="bilinear")
    light = 0.5 + 0.7 * torch.rand((n, 1, 1, 1), generator=generator)
    noise = 0.2 * torch.rand((n, 1, 1, 1), generator=generator)
    images = images * light + noise * torch.randn(images.shape, generator=generator)
    side = images.shape[-1]
    for i, (top, left, size) in enumerate(torch.randint(0, side // 2, (n, 3), generator=generator).tolist()):
        images[i, :, top : top + size, left : left + size] = 0.5
    return normalised(images.clamp(0, 1))


def normalised(images: "Tensor") -> "Tensor":
    """0..1 pictures as CLIP's processor gives them."""
    import torch
    from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    return (images - mean) / std


def _pixels(pngs: Sequence[bytes]) -> "np.ndarray":
    """Pictures as the processor fits them: the shorter side to SIDE, the middle cut out. uint8 [n, 3, SIDE, SIDE]."""
    import numpy as np
    from PIL import Image

    found = np.empty((len(pngs), 3, SIDE, SIDE), np.uint8)
    for i, png in enumerate(pngs):
        image: Image.Image = Image.open(io.BytesIO(png)).convert("RGB")
        scale = SIDE / min(image.size)
        width, height = (max(SIDE, round(side * scale)) for side in image.size)
        left, top = (width - SIDE) // 2, (height - SIDE) // 2
        fitted = image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + SIDE, top + SIDE))
        found[i] = np.asarray(fitted).transpose(2, 0, 1)
    return found


def _some_lines(rng: random.Random, text: str) -> str:
    """A stretch of what is printed, so that no line stands for a page."""
    lines = text.split(" | ")
    first = rng.randrange(max(1, len(lines) - 6))
    return " | ".join(lines[first : first + 8])


def _image_features(model: Any, pixels: "Tensor") -> "Tensor":
    return model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)


def _text_features(model: Any, tokenizer: Any, texts: Sequence[str]) -> "Tensor":
    """The end of a text is its first padding token, which every text is given one of."""
    ends = [text + tokenizer.pad_token for text in texts]
    batch = tokenizer(ends, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
    batch["input_ids"][:, -1] = tokenizer.pad_token_id
    output = model.text_model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    return model.text_projection(output.pooler_output)


def _scores(model: Any, tokenizer: Any, pictures: "Tensor", texts: list[str], seed: int) -> dict[str, float]:
    """Among all held-out pages at once: how often the nearest is the right one."""
    import torch
    from torch.nn.functional import normalize

    with torch.inference_mode():
        clean = normalize(_image_features(model, normalised(pictures.float() / 255)), dim=-1)
        worn = normalize(_image_features(model, damaged(pictures, torch.Generator().manual_seed(seed))), dim=-1)
        said = normalize(_text_features(model, tokenizer, texts), dim=-1)
    target = torch.arange(len(texts))
    return {
        "pages": len(texts),
        "text_to_picture": round(float(((said @ clean.T).argmax(1) == target).float().mean()), 3),
        "damaged_to_clean": round(float(((worn @ clean.T).argmax(1) == target).float().mean()), 3),
    }


def _save(model: Any, tokenizer: Any, out_dir: Path, scores: dict[str, float]) -> None:
    import torch
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    model.to(torch.bfloat16).save_pretrained(out_dir)
    tokenizer.save_pretrained(out_dir)
    CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}).save_pretrained(
        out_dir
    )
    (out_dir.parent / f"{out_dir.name}.json").write_text(json.dumps(scores) + "\n", encoding="utf-8")
