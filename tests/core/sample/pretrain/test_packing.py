"""Many questions in one sequence get the logits that each would get alone."""

import copy
import io

import pytest
from PIL import Image

from r3pp_core.model.prompt import encode
from r3pp_core.sample.pretrain.examples import Asked, Example
from r3pp_core.sample.pretrain.packing import pack
from r3pp_core.sample.pretrain.questions_apart import use_questions_apart


def png(colour: str, size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


EXAMPLES = [
    Example(
        png("red", (96, 160)),
        ("Text read from the picture (may be wrong): Bako Lamp | $36 | Heva Fan | $7",),
        "Answer briefly.",
        (
            Asked("What is the price of Bako Lamp?", "$36", "value"),
            Asked("Which product costs $7?", "Heva Fan", "name"),
        ),
    ),
    Example(
        None,
        (),
        "Answer briefly.",
        (Asked("Why?", "because", "value"), Asked("When was it?", "12:30", "value"), Asked("Who?", "7", "name")),
    ),
]


@pytest.mark.parametrize("chosen", [[0], [1], [0, 1]])
def test_each_answer_has_the_logits_of_a_prompt_of_its_own(random_backbone, chosen):
    import torch

    tokenizer = random_backbone.tokenizer
    model = copy.deepcopy(random_backbone.model).eval()
    use_questions_apart(model)
    examples = [EXAMPLES[i] for i in chosen]
    packed = pack(examples, tokenizer, random_backbone.image_processor)
    with torch.inference_mode():
        logits = model(
            input_ids=packed.input_ids,
            position_ids=packed.position_ids,
            apart=packed.apart,
            mm_token_type_ids=packed.mm_token_type_ids,
            pixel_values=packed.pixel_values,
            image_grid_thw=packed.image_grid_thw,
        ).logits
    numbers = iter(range(100))
    for example in examples:
        for asked in example.asked:
            at = packed.asked_of == next(numbers)
            assert packed.targets[at].tolist() == encode(tokenizer, "", asked.answer, 0, 0).answer_ids
            torch.testing.assert_close(logits[at], alone(random_backbone, example, asked), rtol=1e-4, atol=1e-4)
    assert packed.kinds == [asked.kind for example in examples for asked in example.asked]


def alone(backbone, example: Example, asked: Asked):
    """The logits that predict the answer of one ordinary prompt, with the model's own positions and mask."""
    import torch

    pictures, grid = {}, None
    if example.png is not None:
        image = Image.open(io.BytesIO(example.png))
        pictures = dict(backbone.image_processor(images=[image], return_tensors="pt"))
        grid = pictures["image_grid_thw"][0]
    text = "".join(f"{block}\n" for block in example.context) + f"{example.instruction}\n{asked.text}"
    num_tokens = int(grid.prod()) // 4 if grid is not None else 0
    one = encode(backbone.tokenizer, text, asked.answer, 0, num_tokens)
    ids = torch.tensor([one.prompt_ids + one.answer_ids])
    types = (ids == backbone.tokenizer.convert_tokens_to_ids("<|image_pad|>")).int()
    with torch.inference_mode():
        logits = backbone.model(input_ids=ids, mm_token_type_ids=types, **pictures).logits
    return logits[0, len(one.prompt_ids) - 1 : -1]
