"""The small tokenizer: byte-level BPE in which a number of up to three digits and a first word are one token.

A model of 2 M parameters copies one token from its context long before it copies a row of digits, each of which stands
on the page several times. Every text gets a leading space, so that an answer has the tokens that its page has.
"""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from r3pp_core.sample.world import first_words

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
# The layout of Qwen's own template for system, user and assistant turns of text and images.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' }}"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
NUM_MERGED = 1700  # bytes and what is merged from them, before numbers and special tokens
_WORD_REPETITIONS = 3000  # so that each first word becomes a token whatever the texts hold
_PIECES = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_DIGITS = "0123456789"


def train_tokenizer(texts: Iterable[str]) -> "PreTrainedTokenizerBase":
    """A tokenizer with Qwen3-VL's special tokens and chat template; deterministic from `texts`."""
    from tokenizers import Tokenizer, models, trainers
    from transformers import PreTrainedTokenizerFast

    trained = _pipeline(Tokenizer(models.BPE()))
    trained.train_from_iterator(
        _without_digits([*texts, *[" ".join(first_words())] * _WORD_REPETITIONS]),
        trainers.BpeTrainer(
            vocab_size=NUM_MERGED, initial_alphabet=_byte_alphabet(), special_tokens=[], show_progress=False
        ),
    )
    learned = json.loads(trained.to_str())["model"]
    tokens = sorted(learned["vocab"], key=learned["vocab"].__getitem__)
    tokens += [number for number in _numbers() if number not in learned["vocab"]]
    merges = [*_merges_of_digits(), *(tuple(merge) for merge in learned["merges"])]
    whole = _pipeline(Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges)))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=whole,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=list(SPECIAL_TOKENS),
        model_max_length=4096,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _pipeline(tokenizer: "Tokenizer") -> "Tokenizer":
    from tokenizers import Regex, decoders, normalizers, pre_tokenizers

    tokenizer.normalizer = normalizers.Prepend(" ")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    return tokenizer


def _byte_alphabet() -> list[str]:
    from tokenizers import pre_tokenizers

    return sorted(pre_tokenizers.ByteLevel.alphabet())


def _without_digits(texts: Iterable[str]) -> Iterable[str]:
    return ("".join(letter for letter in text if not letter.isdigit()) for text in texts)


def _numbers() -> list[str]:
    return [f"{n:02d}" for n in range(100)] + [f"{n:03d}" for n in range(1000)]


def _merges_of_digits() -> list[tuple[str, str]]:
    """Merges that make one token of any two or three digits, whichever pair of them is merged first."""
    pairs = [a + b for a in _DIGITS for b in _DIGITS]
    return [
        *((pair[0], pair[1]) for pair in pairs),
        *((pair, digit) for pair in pairs for digit in _DIGITS),
        *((digit, pair) for digit in _DIGITS for pair in pairs),
    ]
