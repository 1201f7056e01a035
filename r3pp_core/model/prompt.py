"""Token ids of a prompt and its answer.

Special tokens come from this file alone: text that comes from data is tokenised with its special tokens split into
plain characters, so that a picture which shows `<|vision_pad|>` or `<|im_end|>` cannot inject one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from r3pp_core.model.backbone import PLACEHOLDER
from r3pp_core.model.config import PromptConfig

SYSTEM = "Answer the question about the picture. The picture or its text may be damaged."
OCR_HEADING = "Text read from the picture (may be wrong):"
EVIDENCE_HEADING = "Evidence from other documents (may not apply):"
PROMPT_VERSION = "2"
LINE_MARK = " | "


@dataclass(frozen=True)
class EncodedPrompt:
    """`prompt_ids` end where the answer begins; `answer_ids` end with <|im_end|>, or are empty without an answer."""

    prompt_ids: list[int]
    answer_ids: list[int]


def user_text(
    question: str, instruction: str, ocr_text: str | None, evidence: Sequence[str], config: PromptConfig
) -> str:
    """The words of the user turn: what was read, evidence, instruction, question.

    What stands before the question is the same for all questions of a picture with the same evidence. `ocr_text` None
    leaves that block out; `evidence` is best first.
    """
    parts = context_blocks(ocr_text, evidence, config)
    return "\n".join([*parts, instruction, question])


def context_blocks(ocr_text: str | None, evidence: Sequence[str], config: PromptConfig) -> list[str]:
    """What the prompt says before the question, block by block; possibly nothing."""
    parts = []
    if ocr_text is not None and config.max_ocr_chars:
        parts.append(f"{OCR_HEADING} {shown_ocr_text(ocr_text, config)}")
    if context := evidence_text(evidence, config.max_context_chars):
        parts.append(f"{EVIDENCE_HEADING}\n{context}")
    return parts


def shown_ocr_text(ocr_text: str, config: PromptConfig) -> str:
    """As much of it as the prompt holds."""
    return one_line(ocr_text)[: config.max_ocr_chars]


def one_line(text: str) -> str:
    """`text` with its lines side by side, so that no picture's text can pose as a line of the prompt."""
    return LINE_MARK.join(" ".join(line.split()) for line in text.splitlines() if line.strip())


def evidence_text(evidence: Sequence[str], max_chars: int) -> str:
    """Numbered hits, best first, cut where their own characters reach `max_chars`."""
    lines = []
    left = max_chars
    for number, text in enumerate(evidence, start=1):
        words = one_line(text)[:left]
        if not words:
            break
        lines.append(f"[{number}] {words}")
        left -= len(words)
    return "\n".join(lines)


def encode(
    tokenizer: Any,
    text: str,
    answer: str | None,
    num_soft_tokens: int,
    num_image_tokens: int,
    system: str = SYSTEM,
) -> EncodedPrompt:
    """System turn, user turn (placeholders, picture, text), the assistant's opening: as Qwen's template writes them."""
    special = tokenizer.convert_tokens_to_ids
    start, end = special("<|im_start|>"), special("<|im_end|>")
    user = [special(PLACEHOLDER)] * num_soft_tokens
    if num_image_tokens:
        user += [special("<|vision_start|>"), *[special("<|image_pad|>")] * num_image_tokens, special("<|vision_end|>")]
    newline = plain_ids(tokenizer, "\n")
    prompt = [start, *plain_ids(tokenizer, f"system\n{system}"), end, *newline]
    prompt += [start, *plain_ids(tokenizer, "user\n"), *user, *plain_ids(tokenizer, text), end, *newline]
    prompt += [start, *plain_ids(tokenizer, "assistant\n")]
    return EncodedPrompt(prompt, [] if answer is None else [*plain_ids(tokenizer, answer), end])


def plain_ids(tokenizer: Any, text: str) -> list[int]:
    """Ids of a text in which no special token is recognised."""
    ids: list[int] = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return ids
