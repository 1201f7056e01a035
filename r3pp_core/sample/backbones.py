"""Small backbones of the real architectures, with random weights: Qwen3-VL and CLIP, in the Hub's layout.

They let the whole line run on two CPU cores without a network. What they share with the real ones is everything
but the size: deepstack, mRoPE, the special tokens, the chat template, the file names.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r3pp_core.artefact import Manifest, Outcome, Request, Target, build, hash_json
from r3pp_core.progress import Progress, silent
from r3pp_core.quiet import quiet_transformers
from r3pp_core.sample.tokenizer import NUM_MERGED, train_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CODE_VERSION = "2"
PATCH_SIZE, MERGE_SIZE = 16, 2
MAX_SIDE = 256
CLIP_SIDE, CLIP_DIM = 64, 64


@dataclass(frozen=True)
class SmallSizes:
    """About 2 million parameters; every ratio that the architecture demands is kept."""

    hidden: int = 128
    layers: int = 5
    heads: int = 4
    kv_heads: int = 4
    head_dim: int = 32
    mlp: int = 256
    vision_hidden: int = 96
    vision_layers: int = 4
    vision_mlp: int = 192
    deepstack: tuple[int, ...] = (1, 2)
    mrope_section: tuple[int, ...] = (6, 5, 5)


def build_small_backbone(
    out_dir: Path, texts: Iterable[str], seed: int = 0, progress: Progress = silent, *, force: bool = False
) -> Manifest:
    """Write a Qwen3-VL of at most 3 M random parameters and a tokenizer trained on `texts`.

    Deterministic: the same texts and seed give the same bytes.
    """
    lines = list(texts)
    request = Request(
        stage="models/backbone",
        code_version=CODE_VERSION,
        config={"seed": seed, "vocab_size": NUM_MERGED, "max_side": MAX_SIDE, "sizes": hash_json(repr(SmallSizes()))},
        inputs={"texts": hash_json(lines)},
    )

    def make(staging: Path) -> Outcome:
        progress(f"models/backbone: training a tokenizer on {len(lines)} texts")
        tokenizer = train_tokenizer(lines)
        with quiet_transformers():
            tokenizer.save_pretrained(staging)
            num_parameters = save_qwen(staging, tokenizer, seed)
        save_image_processor(staging)
        progress(f"models/backbone: {num_parameters:,} parameters, {len(tokenizer)} tokens")
        return Outcome(counts={"parameters": num_parameters, "tokens": len(tokenizer), "texts": len(lines)})

    return build(Target(out_dir), request, make, force=force, progress=progress)


def build_small_clip(out_dir: Path, seed: int = 0, progress: Progress = silent, *, force: bool = False) -> Manifest:
    """Write a CLIP of random weights with its image preprocessing; deterministic from the seed."""
    request = Request("models/clip", CODE_VERSION, {"seed": seed, "image_size": CLIP_SIDE, "dim": CLIP_DIM}, {})

    def make(staging: Path) -> Outcome:
        with quiet_transformers():
            num_parameters = _save_clip(staging, seed)
        progress(f"models/clip: {num_parameters:,} parameters")
        return Outcome(counts={"parameters": num_parameters})

    return build(Target(out_dir), request, make, force=force, progress=progress)


def save_qwen(folder: Path, tokenizer: "PreTrainedTokenizerBase", seed: int) -> int:
    import torch
    from transformers import GenerationConfig, Qwen3VLConfig, Qwen3VLForConditionalGeneration

    token: Any = tokenizer.convert_tokens_to_ids
    size = SmallSizes()
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": size.hidden,
            "intermediate_size": size.mlp,
            "num_hidden_layers": size.layers,
            "num_attention_heads": size.heads,
            "num_key_value_heads": size.kv_heads,
            "head_dim": size.head_dim,
            "max_position_embeddings": 4096,
            "initializer_range": 0.05,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": list(size.mrope_section),
                "mrope_interleaved": True,
            },
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": size.vision_layers,
            "hidden_size": size.vision_hidden,
            "intermediate_size": size.vision_mlp,
            "num_heads": size.heads,
            "out_hidden_size": size.hidden,
            "patch_size": PATCH_SIZE,
            "spatial_merge_size": MERGE_SIZE,
            "num_position_embeddings": (MAX_SIDE // PATCH_SIZE) ** 2,
            "deepstack_visual_indexes": list(size.deepstack),
            "initializer_range": 0.05,
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3VLForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        do_sample=False,
        eos_token_id=[token("<|im_end|>"), token("<|endoftext|>")],
        pad_token_id=token("<|endoftext|>"),
    )
    model.save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


def save_image_processor(folder: Path) -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    Qwen2VLImageProcessorPil(
        size={"shortest_edge": 32 * 32, "longest_edge": MAX_SIDE * MAX_SIDE},
        patch_size=PATCH_SIZE,
        merge_size=MERGE_SIZE,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    ).save_pretrained(folder)


def _save_clip(folder: Path, seed: int) -> int:
    import torch
    from transformers import CLIPConfig, CLIPModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    width = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    text_width = {"vocab_size": 512, "max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": 1}
    config = CLIPConfig(
        text_config={**width, **text_width, "projection_dim": CLIP_DIM},
        vision_config={**width, "image_size": CLIP_SIDE, "patch_size": 8, "projection_dim": CLIP_DIM},
        projection_dim=CLIP_DIM,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CLIPModel(config).eval()
    _spread_embeddings(model, seed)
    model.save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": CLIP_SIDE}, crop_size={"height": CLIP_SIDE, "width": CLIP_SIDE}
    ).save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


def _spread_embeddings(model: Any, seed: int) -> None:
    """Make random weights tell pictures apart: as drawn, any two have a cosine above 0.99.

    The class token gives way to the patches, and what all pictures share is taken off in the last layer's bias,
    rounded so that its bytes do not depend on the order of a sum.
    """
    import numpy as np
    import torch

    # Mostly white pages (1.9 after CLIP's normalisation) with some coloured cells, as screens and charts are.
    draw = np.random.default_rng(seed)
    coloured = draw.random((64, 1, 8, 8)) < draw.uniform(0.1, 0.5, (64, 1, 1, 1))
    cells = np.where(coloured, draw.uniform(-1.8, 1.9, (64, 3, 8, 8)), 1.9)
    pictures = torch.from_numpy(np.kron(cells, np.ones((8, 8)))).float()
    vision = model.vision_model
    with torch.no_grad():
        vision.embeddings.class_embedding.zero_()
        vision.embeddings.patch_embedding.weight.mul_(20)
        shared = vision(pixel_values=pictures).pooler_output.mean(dim=0)
        vision.post_layernorm.bias.copy_(-torch.round(shared, decimals=3))
