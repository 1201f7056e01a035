"""A real OCR engine reads what the sample's pictures say."""

import io

import pytest
from PIL import Image

from r3pp_core.sample.config import SampleConfig
from r3pp_core.sample.drawings import draw
from r3pp_core.sample.plan import build_plan


@pytest.mark.parametrize("kind", ["screen", "chart", "infographic"])
def test_ocr_reads_nearly_every_value_and_name(kind):
    import numpy as np
    from rapidocr import RapidOCR
    from rapidocr.utils.output import RapidOCROutput

    engine = RapidOCR(params={"Global.log_level": "error"})
    wanted, found = 0, 0
    for picture in [p for p in build_plan(SampleConfig()).pictures if p.kind == kind][:2]:
        with Image.open(io.BytesIO(draw(picture).png())) as image:
            result = engine(np.asarray(image.convert("RGB"))[:, :, ::-1])
        assert isinstance(result, RapidOCROutput)
        text = "".join(result.txts or ()).replace(" ", "").lower()
        for fact in picture.facts:
            for word in (fact.plain, *fact.entity.name.split()):
                wanted += 1
                found += word.lower() in text
    assert found >= 0.9 * wanted
