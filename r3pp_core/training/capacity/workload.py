"""How much one row asks of the model: tokens, patches, and the products of a step."""

from dataclasses import dataclass
from typing import Any

from r3pp_core.training.config import TrainConfig

CHARS_A_TOKEN = 3  # of English and numbers; other scripts take more, and max_length bounds them
FIXED_TOKENS = 128  # system and instruction, the template, the question
ANSWER_TOKENS = 32
ASSUMED_UTILISATION = 0.35  # of a card's peak, for the hours before any step was timed


@dataclass(frozen=True)
class RowSize:
    """The largest row that the limits of the config make likely; `max_length` bounds its tokens."""

    tokens: int
    clean_tokens: int
    patches: int
    answer_tokens: int


def row_size(config: TrainConfig, model: Any) -> RowSize:
    """`model`: its outline."""
    vision = model.backbone.config.vision_config
    patches = config.max_pixels // vision.patch_size**2
    picture = patches // vision.spatial_merge_size**2
    prompt = config.r3.prompt
    clean = picture + FIXED_TOKENS + ANSWER_TOKENS + prompt.max_ocr_chars // CHARS_A_TOKEN
    tokens = clean + model.config.num_soft_tokens
    if config.index_dir and config.evidence in ("both", "text"):
        tokens += prompt.max_context_chars // CHARS_A_TOKEN
    return RowSize(min(tokens, config.max_length), min(clean, config.max_length), patches, ANSWER_TOKENS)


def step_flops(config: TrainConfig, model: Any, row: RowSize) -> float:
    """Floating-point operations of all rows of one rank in one step, recomputation and teacher included.

    A product with a weight takes two a weight and token forwards and as many for each of the two gradients; the
    weights' own gradient is not taken where they are frozen, and none is in front of the first that is trained.
    """
    text, vision = model.backbone.config.text_config, model.backbone.config.vision_config
    inside = model.backbone.model
    language = _weights(inside.language_model) - text.vocab_size * text.hidden_size
    head = text.vocab_size * text.hidden_size
    forward = _stack(language, text.num_hidden_layers, text.num_attention_heads * text.head_dim, row.tokens)
    clean = _stack(language, text.num_hidden_layers, text.num_attention_heads * text.head_dim, row.clean_tokens)
    sight = _stack(_weights(inside.visual), vision.depth, 2 * vision.hidden_size, row.patches)
    logits = 2.0 * head * row.answer_tokens
    again = 1 if config.gradient_checkpointing else 0
    is_full = not config.use_lora
    total = forward * (3 + again if is_full else 2 + again) + sight * (3 + again if is_full else 1) + 3 * logits
    if config.losses.kl:
        total += clean + sight + logits
    return total * config.batch_size * config.grad_accum


def _weights(module: Any) -> int:
    return sum(parameter.numel() for name, parameter in module.named_parameters() if "lora_" not in name)


def _stack(num_weights: int, num_layers: int, width: int, length: int) -> float:
    """Forward of a stack over one row: its weights, and attention that sees the half before each token."""
    return 2.0 * num_weights * length + 2.0 * num_layers * width * length**2
