"""First weights that can already look back and match, so that copying is not left to a lucky accident of training.

With random weights, a model of this size did not learn to name the value beside a key within 30,000 sequences of eight
pairs; with these it does within 10,000 (docs/experiments.md). The heads of the first layer look 1, 2, 3 and 4 tokens
back and write down, each in a subspace of its own, what stands there. Those of the second carry to the answer what was
asked for, from before the turn's end. Those of the later layers attend to where what was written matches what was asked
for (the third) or their own token, and pass on what they find. Everything is trained from there. The idea of first
weights that imitate trained ones is that of Trockman and Kolter, "Mimetic Initialization of Self-Attention Layers"
(2023); the looking back is ours.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

EMBEDDING_STD = 0.12
COMMON = 0.36  # the first coordinate of every embedding: what heads that look at positions only read
QK_NORM = 1.8  # the first weight of the norms of queries and keys: attention can be sharp from the start
STRENGTH = 0.5
SMALL = 0.02
# From the start of an answer, `\n` after `assistant`: how far the second layer's heads look back, and which of the
# things that were written there they carry. Seven back, 3 and then 4, stands the name's first word in "... of X Y?".
CARRIED = ((3, 3), (3, 2), (4, 3), (5, 3))
NAME_TO_VALUE = 2  # a value stands three tokens behind its name's first word: "X Y | 7"
_FAST = 3  # the rotary frequencies by which neighbours are told apart


def set_first_weights(model: Any, seed: int) -> None:
    """Overwrite the attention and embeddings of a Qwen3-VL's language model. Needs as many kv heads as heads."""
    import torch

    draw = torch.Generator().manual_seed(seed)
    language, config = model.model.language_model, model.config.text_config
    width, head_dim, num_heads = config.hidden_size, config.head_dim, config.num_attention_heads
    assert config.num_key_value_heads == num_heads, "each head has a subspace of its own"

    def normal(*shape: int) -> "Tensor":
        return torch.randn(*shape, generator=draw)

    def rotation() -> "Tensor":
        """A random one, blind to the common coordinate."""
        matrix = torch.linalg.qr(normal(width, width))[0]
        matrix[:, 0] = 0
        return matrix

    read, written, passed, asked = rotation(), rotation(), rotation(), rotation()

    def part(head: int) -> slice:
        return slice(head * head_dim, (head + 1) * head_dim)

    carry = [(offset, written[part(which)]) for offset, which in CARRIED]
    with torch.no_grad():
        embeddings = language.embed_tokens.weight
        embeddings.copy_(EMBEDDING_STD * normal(*embeddings.shape))
        embeddings[:, 0] = COMMON
        for number, layer in enumerate(language.layers):
            attention = layer.self_attn
            attention.q_norm.weight.fill_(QK_NORM)
            attention.k_norm.weight.fill_(QK_NORM)
            for head in range(num_heads):
                own = part(head)
                query, key = attention.q_proj.weight, attention.k_proj.weight
                value, output = attention.v_proj.weight, attention.o_proj.weight
                if number < 2:
                    offset, carried = (head + 1, read[:head_dim]) if number == 0 else carry[head]
                    query[own], key[own] = SMALL / 2 * normal(head_dim, width), SMALL / 2 * normal(head_dim, width)
                    query[own, 0], key[own, 0] = _looking_back(language.rotary_emb.inv_freq, head_dim, offset)
                    value[own] = STRENGTH * carried
                    output[:, own] = STRENGTH * (asked if number else written)[own].T
                elif number == 2:
                    matched = read[:head_dim] if head == 1 else written[part(NAME_TO_VALUE)]
                    query[own] = 2 * STRENGTH * asked[own] + SMALL * normal(head_dim, width)
                    key[own] = STRENGTH * matched + SMALL * normal(head_dim, width)
                    value[own] = STRENGTH * passed[own]
                    output[:, own] = STRENGTH * passed[own].T
                else:
                    query[own] = STRENGTH * read[:head_dim] + SMALL * normal(head_dim, width)
                    key[own] = STRENGTH * written[own] + SMALL * normal(head_dim, width)
                    value[own] = STRENGTH * passed[own]
                    output[:, own] = STRENGTH * passed[own].T


def _looking_back(frequencies: "Tensor", head_dim: int, offset: int) -> tuple["Tensor", "Tensor"]:
    """[head_dim] query and key whose rotary product is largest where the key stands `offset` tokens back."""
    import torch

    half = head_dim // 2
    key = torch.zeros(head_dim)
    key[:_FAST] = 1
    angle = -frequencies[:half] * offset
    query = torch.cat([key[:half] * torch.cos(angle), key[:half] * torch.sin(angle)])
    return query, key
