"""The small CLIP: pages of other worlds against what is printed on them, contrastively (Radford et al. 2021).

It sees pictures at 128 pixels, blurred, noisy and dark ones as well, so that a damaged query still lies near its like.
"""

import io
import json
import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r3pp_core.errors import R3Error
from r3pp_core.progress import Progress, silent
from r3pp_core.sample.pretrain.config import NUM_HELD_OUT, ClipConfig
from r3pp_core.sample.pretrain.pool import ensure_pool, read_pool
from r3pp_core.sample.pretrain.train import ensure_tokenizer, save_state

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

SIDE, PATCH, WIDTH, DIM, MAX_TOKENS = 128, 16, 96, 64, 64
CLIP_LOG, CLIP_STATE = "clip_log.jsonl", "clip_state.pt"
_LOG_EVERY = 50
_SAVE_EVERY = 100


def train_clip(out_dir: Path, config: ClipConfig = ClipConfig(), progress: Progress = silent) -> dict[str, float]:
    """Make the CLIP in `out_dir/clip`, in the Hub's layout; goes on where an earlier call stopped.

    Returns what it makes of pages that it never saw. Raises R3Error when `out_dir` holds a CLIP of another config.
    """
    import torch
    from torch.nn.functional import cross_entropy, normalize

    torch.set_num_threads(config.num_threads)
    ensure_pool(out_dir / "pages", config.seed, config.num_groups, config.num_threads, progress)
    tokenizer = ensure_tokenizer(out_dir / "tokenizer", config.seed, progress)
    groups = read_pool(out_dir / "pages", config.num_groups)
    pages = [page for group in groups for page in group]
    pictures = torch.from_numpy(_pixels([page.png for page in pages]))
    texts = [" | ".join(page.lines) for page in pages]
    num_seen = sum(len(group) for group in groups[:-NUM_HELD_OUT])
    model = small_clip(tokenizer, config.seed).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=0.1, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=config.steps, pct_start=0.1)
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    first, earlier_s = _go_on(out_dir / CLIP_STATE, config, parts)
    began = time.monotonic() - earlier_s
    for step in range(first, config.steps):
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
            _log(out_dir, {"step": step + 1, "loss": round(loss.item(), 3)}, progress)
        if (step + 1) % _SAVE_EVERY == 0:
            state = {name: part.state_dict() for name, part in parts.items()}
            seconds = time.monotonic() - began
            save_state(
                out_dir / CLIP_STATE, state | {"step": step + 1, "seconds": seconds, "config": _comparable(config)}
            )
    scores = _scores(model.eval(), tokenizer, pictures[num_seen:], texts[num_seen:], config.seed)
    _log(out_dir, {"step": config.steps, "seconds": round(time.monotonic() - began), "held_out": scores}, progress)
    _save(model, tokenizer, out_dir / "clip")
    shutil.copyfile(out_dir / CLIP_LOG, out_dir / "clip" / CLIP_LOG)
    return scores


def _go_on(state_path: Path, config: ClipConfig, parts: dict[str, Any]) -> tuple[int, float]:
    """Steps and seconds that an earlier call spent."""
    import torch

    if not state_path.exists():
        return 0, 0.0
    state = torch.load(state_path, weights_only=True)
    if state["config"] != _comparable(config):
        raise R3Error(f"{state_path} is of a CLIP of another config; choose another folder")
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return state["step"], state["seconds"]


def _comparable(config: ClipConfig) -> dict[str, Any]:
    return config.model_dump(exclude={"num_threads"})


def _log(out_dir: Path, line: dict[str, Any], progress: Progress) -> None:
    with (out_dir / CLIP_LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    progress(f"clip: {json.dumps(line)}")


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


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    """The tokenizer goes with it, so that its text side can be used as well."""
    import torch
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    crop = {"height": SIDE, "width": SIDE}
    CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=crop).save_pretrained(folder)
