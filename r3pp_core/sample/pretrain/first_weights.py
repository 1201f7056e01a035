"""First weights that can already look back, carry and match, so that reading is not left to an accident of training.

With random weights, a model of this size did not learn to name the value beside a key within 30,000 sequences of eight
pairs; with these it does within 10,000 (docs/experiments.md). By layer:

1. Heads look 1, 2, 3 and 4 tokens back and write down, each in a subspace of its own, what stands there.
2. Heads fetch what was asked for: the nearest first word of a name, the nearest number (both have a mark in their
   embeddings), and what stands six and seven tokens before the answer, in front of the turn's end.
3. Heads attend to where what was written matches what was asked for, rather far away than near, and pass on what is
   there: behind a name its value, before a value its name.
4. Heads attend to where what was written matches their own token: after a word what followed it before.

Everything is trained from there. The idea of first weights that imitate trained ones is that of Trockman and Kolter,
"Mimetic Initialization of Self-Attention Layers" (2023); these circuits are ours.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from r3pp_core.sample.world import first_words

if TYPE_CHECKING:
    from torch import Tensor

EMBEDDING_STD = 0.12
# The first coordinates of every embedding, which what is written and read leaves alone.
COMMON, FIRST_WORD, NUMBER = 0, 1, 2
COMMON_SIZE, MARK_SIZE = 0.36, 0.6
QK_NORM = 1.8  # the first weight of the norms of queries and keys: attention can be sharp from the start
STRENGTH = 0.5
SMALL = 0.02
FAR = 0.25  # how much a match far away is preferred to one nearby, which is in the question itself
_FAST = 3  # the rotary frequencies by which neighbours are told apart, of sixteen
_MIDDLE = (5, 6, 7)  # those that fall over some tens of tokens
_SLOW = (13, 14, 15)  # those that hardly turn within a prompt
_IDLE = (9, 10, 11)  # those that no query asks for
_BEFORE_THE_END = 3  # from the start of an answer back to where the turn's end still reaches the last words


@dataclass(frozen=True)
class _Match:
    """A head of the third layer. None stands for a token itself, a number n for what is n tokens before it."""

    asked: int  # by which head of the second layer
    key: int | None
    passed: int | None


_MATCHES = (
    _Match(asked=0, key=3, passed=None),  # "X Y | 7": a value is three behind its name's first word
    _Match(asked=1, key=None, passed=3),  # a number, and the first word three before it
    _Match(asked=0, key=4, passed=None),  # "X Y | $ 7": the value's second token
    _Match(asked=2, key=3, passed=None),  # the last word that was asked for
)


def set_first_weights(model: Any, tokenizer: Any, seed: int) -> None:
    """Overwrite the attention and embeddings of a Qwen3-VL's language model. Needs as many kv heads as heads."""
    import torch

    draw = torch.Generator().manual_seed(seed)
    language, config = model.model.language_model, model.config.text_config
    width, head_dim, num_heads = config.hidden_size, config.head_dim, config.num_attention_heads
    assert config.num_key_value_heads == num_heads == len(_MATCHES), "each head has a subspace of its own"

    def normal(*shape: int) -> "Tensor":
        return torch.randn(*shape, generator=draw)

    def rotation() -> "Tensor":
        """A random one, blind to the common coordinate and the marks."""
        matrix = torch.linalg.qr(normal(width, width))[0]
        matrix[:, : NUMBER + 1] = 0
        return matrix

    def part(head: int) -> slice:
        return slice(head * head_dim, (head + 1) * head_dim)

    whole, written, passed, asked = rotation(), rotation(), rotation(), rotation()
    read = whole[:head_dim]
    slow, middle, idle = (_pairs(pairs, head_dim) for pairs in (_SLOW, _MIDDLE, _IDLE))
    with torch.no_grad():
        _set_embeddings(language.embed_tokens.weight, tokenizer, normal)
        for number, layer in enumerate(language.layers):
            attention = layer.self_attn
            attention.q_norm.weight.fill_(QK_NORM)
            attention.k_norm.weight.fill_(QK_NORM)
            query, key = attention.q_proj.weight, attention.k_proj.weight
            value, output = attention.v_proj.weight, attention.o_proj.weight
            for head in range(num_heads):
                own, match = part(head), _MATCHES[head]
                query[own], key[own] = SMALL * normal(head_dim, width), SMALL * normal(head_dim, width)
                value[own], output[:, own] = STRENGTH * passed[own], STRENGTH * passed[own].T
                if number == 0:
                    query[own, COMMON], key[own, COMMON] = _looking_back(
                        language.rotary_emb.inv_freq, head_dim, head + 1
                    )
                    value[own], output[:, own] = STRENGTH * read, STRENGTH * written[own].T
                elif number == 1 and head < 2:  # the nearest token with the mark
                    query[own, COMMON] = slow + middle
                    key[own, COMMON] = middle + 1.5 * idle  # so that the norm leaves little of a key without the mark
                    key[own, FIRST_WORD + head] = 1.5 * slow
                    value[own], output[:, own] = 2 * STRENGTH * read, STRENGTH * asked[own].T
                elif number == 1:  # six and seven tokens back, by way of what was written three back
                    back = _looking_back(language.rotary_emb.inv_freq, head_dim, _BEFORE_THE_END)
                    query[own, COMMON], key[own, COMMON] = back
                    value[own], output[:, own] = STRENGTH * written[part(head)], STRENGTH * asked[own].T
                elif number == 2:
                    query[own] += 2 * STRENGTH * asked[part(match.asked)]
                    key[own] += STRENGTH * (read if match.key is None else written[part(match.key - 1)])
                    query[own, COMMON], key[own, COMMON] = -FAR * middle, FAR * middle
                    if match.passed is not None:
                        value[own], output[:, own] = STRENGTH * written[part(match.passed - 1)], 2 * STRENGTH * read.T
                else:
                    query[own] += STRENGTH * read
                    key[own] += STRENGTH * written[own]


def _set_embeddings(embeddings: "Tensor", tokenizer: Any, normal: Any) -> None:
    embeddings.copy_(EMBEDDING_STD * normal(*embeddings.shape))
    embeddings[:, : NUMBER + 1] = 0
    embeddings[:, COMMON] = COMMON_SIZE
    words = tokenizer(list(first_words()), add_special_tokens=False)["input_ids"]
    embeddings[[ids[0] for ids in words], FIRST_WORD] = MARK_SIZE
    numbers = [i for i in range(len(tokenizer)) if tokenizer.decode([i]).strip().isdigit()]
    embeddings[numbers, NUMBER] = MARK_SIZE


def _pairs(pairs: tuple[int, ...], head_dim: int) -> "Tensor":
    """[head_dim] one at the first half of these rotary pairs: a key and a query of it match best at distance 0."""
    import torch

    vector = torch.zeros(head_dim)
    vector[list(pairs)] = 1
    return vector


def _looking_back(frequencies: "Tensor", head_dim: int, offset: int) -> tuple["Tensor", "Tensor"]:
    """[head_dim] query and key whose rotary product is largest where the key stands `offset` tokens back."""
    import torch

    half = head_dim // 2
    key = torch.zeros(head_dim)
    key[:_FAST] = 1
    angle = -frequencies[:half] * offset
    query = torch.cat([key[:half] * torch.cos(angle), key[:half] * torch.sin(angle)])
    return query, key
