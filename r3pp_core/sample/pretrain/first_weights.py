"""First weights that can already look back, fetch and match, so that reading is not left to an accident of training.

With random weights, a model of this size did not learn to name the value beside a key within 30,000 sequences of eight
pairs; with these, lists in prompts are answered after a minute (docs/experiments.md). By layer:

1. Heads look 1, 2, 3 and 4 tokens back and write down, each in a subspace of its own, what stands there.
2. Heads fetch what was asked for: the nearest first word of a name, and the nearest number (both have a mark in their
   embeddings; so have the words for places, which name the parts of a picture).
3. Heads attend to where what was written matches what was asked for, rather far away than near, and pass on what is
   there: behind a name its value, before a value its name, beside a place in a picture what stands there.
4. Heads attend to where what was written matches their own token: after a word what followed it before.

What a token is, what was written and what was asked for lie in subspaces that are orthogonal to each other: laid over
each other, the one made the other unreadable. Matching uses the slow half of the rotary pairs, which distance hardly
turns. Everything is trained from there, gently: a large learning rate tears it down in its first hundred steps. The
idea of first weights that imitate trained ones is that of Trockman and Kolter, "Mimetic Initialization of
Self-Attention Layers" (2023); these circuits are ours.
"""

from typing import TYPE_CHECKING, Any

from r3pp_core.sample.looks import ORDINALS
from r3pp_core.sample.world import first_words

if TYPE_CHECKING:
    from torch import Tensor

# The first coordinates of every embedding, which no subspace contains.
COMMON, FIRST_WORD, NUMBER = 0, 1, 2
COMMON_SIZE, MARK_SIZE = 0.36, 0.6
IDENTITY_STD, OTHER_STD = 0.22, 0.02  # of embeddings, inside the subspace of what a token is and outside
CODE = 16  # dimensions of a token's code where it is written down or asked for; of those of itself the first
NORMS = (1.8, 3.0, 2.5, 1.8, 1.8)  # the first weights of the norms of queries and keys: how sharp attention can be
WRITTEN, ASKED, PASSED, AGAIN = 0.25, 0.4, 0.5, 0.3  # how strongly heads of each layer add what they carry
SMALL = 0.01
MLP = 0.2  # of its random weights: more of them would drown what the heads write
FAR = 0.6  # how much a match far away is preferred to one nearby, which is in the question itself
_FAST = (0, 1, 2)  # the rotary pairs, of sixteen, by which neighbours are told apart
_MIDDLE = (5, 6, 7)  # those that fall over some tens of tokens
_SLOW = (13, 14, 15)  # those that hardly turn within a prompt
_IDLE = (9, 10, 11)  # asked for by no query: they take up the length of a key
_TURNING = 8  # pairs from here on serve for matching

# Heads of the third layer: (what was asked for: 0 name, 1 number; how far back of the key it may stand, 0: itself).
_MATCHES = ((0, (3,)), (1, (0,)), (0, (4,)), (0, (2, 0)))
_NAME_BEFORE_NUMBER = (3, 4)  # so far back of a number stands its name's first word: "X Y | 7" and "X Y | $ 7"


def set_first_weights(model: Any, tokenizer: Any, seed: int) -> None:
    """Overwrite the attention and embeddings of a Qwen3-VL's language model, and quieten its MLPs.

    Needs 128 dimensions at least, and four heads of 32 with as many for keys and values.
    """
    import torch

    draw = torch.Generator().manual_seed(seed)
    language, config = model.model.language_model, model.config.text_config
    width, head_dim, num_heads = config.hidden_size, config.head_dim, config.num_attention_heads
    assert config.num_key_value_heads == num_heads == len(_MATCHES), "each head has its own task"
    frequencies = language.rotary_emb.inv_freq

    def normal(*shape: int) -> "Tensor":
        return torch.randn(*shape, generator=draw)

    free = NUMBER + 1
    basis = torch.zeros(width - free, width)
    basis[:, free:] = torch.linalg.qr(normal(width - free, width - free))[0]
    num_codes = num_heads + 2
    identity = basis[: min(len(basis) - num_codes * CODE, head_dim)]
    codes = basis[len(basis) - num_codes * CODE :].split(CODE)
    itself, written, asked = identity[:CODE], codes[:num_heads], codes[num_heads:]
    half = head_dim // 2
    matching = [*range(_TURNING, half), *range(half + _TURNING, head_dim)]
    slow, middle, idle = (_pairs(pairs, head_dim) for pairs in (_SLOW, _MIDDLE, _IDLE))

    with torch.no_grad():
        for merger in model.model.visual.deepstack_merger_list:  # what it gives stands in the cells alone at first
            torch.nn.init.zeros_(merger.linear_fc2.weight)
            torch.nn.init.zeros_(merger.linear_fc2.bias)
        _set_embeddings(language.embed_tokens.weight, tokenizer, identity, normal)
        for number, (layer, norm) in enumerate(zip(language.layers, NORMS, strict=True)):
            layer.mlp.down_proj.weight.mul_(MLP)
            attention = layer.self_attn
            attention.q_norm.weight.fill_(norm)
            attention.k_norm.weight.fill_(norm)
            for head in range(num_heads):
                own = slice(head * head_dim, (head + 1) * head_dim)
                query, key, value = (SMALL * normal(head_dim, width) for _ in range(3))
                output = SMALL * normal(width, head_dim)
                if number == 0:
                    query[:, COMMON], key[:, COMMON] = _looking_back(frequencies, head_dim, head + 1)
                    _carry(value, output, itself, written[head], WRITTEN)
                elif number == 1 and head < 2:
                    query[:, COMMON] = slow + middle
                    key[:, COMMON] = middle + 1.5 * idle  # so that the norm leaves little of a key without the mark
                    key[:, FIRST_WORD + head] = 1.5 * slow
                    _carry(value, output, itself, asked[head], ASKED)
                elif number == 2:
                    which, places = _MATCHES[head]
                    query[matching] += asked[which]
                    for back in places:
                        key[matching] += written[back - 1] if back else itself
                    query[:, COMMON], key[:, COMMON] = -FAR * middle, FAR * middle
                    if which == 0:
                        _carry(value, output, identity, identity, PASSED)
                    else:
                        names = sum(written[far - 1] for far in _NAME_BEFORE_NUMBER)
                        _carry(value, output, names, itself, PASSED)
                elif number > 2:
                    query[matching] += itself
                    key[matching] += written[head]
                    _carry(value, output, identity, identity, AGAIN if head == 0 else AGAIN / 3)
                attention.q_proj.weight[own], attention.k_proj.weight[own] = query, key
                attention.v_proj.weight[own], attention.o_proj.weight[:, own] = value, output


def _carry(value: "Tensor", output: "Tensor", source: Any, target: "Tensor", strength: float) -> None:
    """Make a head pass what is in one subspace ([c, width] rows) on into another."""
    value[: len(source)] = source
    output[:, : len(target)] = strength * target.T


def _set_embeddings(embeddings: "Tensor", tokenizer: Any, identity: "Tensor", normal: Any) -> None:
    size = len(embeddings)
    embeddings.copy_(IDENTITY_STD * normal(size, len(identity)) @ identity + OTHER_STD * normal(*embeddings.shape))
    embeddings[:, : NUMBER + 1] = 0
    embeddings[:, COMMON] = COMMON_SIZE
    words = tokenizer([*first_words(), *ORDINALS], add_special_tokens=False)["input_ids"]
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
    key = _pairs(_FAST, head_dim)
    angle = -frequencies[:half] * offset
    query = torch.cat([key[:half] * torch.cos(angle), key[:half] * torch.sin(angle)])
    return query, key
