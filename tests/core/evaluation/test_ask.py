"""One question about one picture, asked of a real small R3 model."""

from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from r3pp_core.errors import R3Error, UsageError
from r3pp_core.evaluation.ask import NO_WORDS, Answered, Evidence, as_page, as_text, ask
from r3pp_core.evaluation.subjects import Subject
from r3pp_core.model.config import R3_ARMS, PromptConfig, R3Config
from r3pp_core.sample.backbones import build_small_backbone


@pytest.fixture(scope="module")
def subject(tmp_path_factory) -> Subject:
    """With every module and no index, so nothing is ever found."""
    import torch

    from r3pp_core.model.backbone import load_backbone
    from r3pp_core.model.r3 import R3Model

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("models") / "backbone"
    build_small_backbone(folder, ["How many units were sold in 2012?"] * 3)
    config = R3Config(adapter="none", max_pixels=4096, bottleneck=16, prompt=PromptConfig(max_ocr_chars=40))
    return Subject("r3", R3_ARMS, {"model": "none"}, config, lambda: (R3Model(load_backbone(folder), config), None))


@pytest.fixture
def picture(tmp_path) -> Path:
    image = Image.new("RGB", (80, 60), "white")
    ImageDraw.Draw(image).rectangle((5, 5, 40, 40), fill="green")
    image.save(tmp_path / "chart.png")
    return tmp_path / "chart.png"


def asked(subject, picture, question="How many?", dataset="chartqa", read_text=False):
    return ask(subject, picture, question, dataset, read_text=read_text, max_new_tokens=2)


def test_without_evidence_all_trust_is_in_the_models_own_vision(subject, picture):
    answered = asked(subject, picture)
    assert isinstance(answered.answer, str)
    assert answered.evidence == []
    assert answered.gate == {"text": 0.0, "image": 0.0, "vision": 1.0}
    assert all(0 <= value <= 1 for value in answered.confidence.values())
    assert "no evidence" in as_text(answered)


def test_the_pictures_text_is_read_when_asked_for(subject, tmp_path):
    from PIL import ImageFont

    image = Image.new("RGB", (420, 120), "white")
    ImageDraw.Draw(image).text((20, 30), "Green harbour", font=ImageFont.load_default(size=28), fill="black")
    image.save(tmp_path / "page.png")
    assert asked(subject, tmp_path / "page.png").ocr_text == ""
    answered = asked(subject, tmp_path / "page.png", read_text=True)
    assert answered.ocr_text.lower() == "green harbour"
    assert 0.5 <= answered.ocr_conf <= 1


@pytest.mark.parametrize(
    ("question", "dataset", "words"),
    [(" ", "chartqa", "--question is empty"), ("How?", "mnist", "unknown data set 'mnist'")],
)
def test_a_wrong_question_is_a_usage_error(subject, picture, question, dataset, words):
    with pytest.raises(UsageError, match=words):
        asked(subject, picture, question, dataset)


def test_a_picture_that_cannot_be_opened_is_named(subject, tmp_path):
    (tmp_path / "torn.png").write_bytes(b"torn")
    with pytest.raises(R3Error, match=r"torn.png is in no known picture format"):
        asked(subject, tmp_path / "torn.png")
    with pytest.raises(R3Error, match=r"gone.png does not exist"):
        asked(subject, tmp_path / "gone.png")


def test_the_page_shows_the_evidence_escapes_what_comes_from_data_and_asks_the_network_for_nothing(picture):
    hits = [
        Evidence("text", 0.75, 0.6, "chart.png", "<script>alert(1)</script>"),
        Evidence("image", 0.5, 0.4, "../../etc/passwd", ""),
    ]
    gate = {"text": 0.5, "image": 0.25, "vision": 0.25}
    page = as_page(Answered(picture, "<b>How?", "12", "units", 0.9, gate, None, hits, False), picture.parent)
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert "<b>How?" not in page
    assert page.count("data:image/jpeg;base64,") == 2, "the picture and the first hit"
    assert "picture missing" in page, "the second hit says why it is not shown"
    assert 'src="http' not in page
    assert "score 0.750, weight 0.60" in page
    assert NO_WORDS.replace("'", "&#39;") in page


@pytest.mark.parametrize("has_words", [True, False])
def test_whether_the_evidence_was_given_as_words_is_said(picture, has_words):
    hit = Evidence("text", 0.75, 0.6, "chart.png", "12 units")
    answered = Answered(picture, "How many?", "12", "units", 0.9, None, None, [hit], has_words)
    assert (NO_WORDS in as_text(answered)) is not has_words


def test_lines_that_the_engine_doubts_are_left_out_as_they_are_from_the_rows_of_training(subject, picture, monkeypatch):
    from r3pp_core.ingest import ocr_engine

    lines = [{"text": text, "box": [0, 0, 9, 9], "conf": conf} for text, conf in (("sure", 0.9), ("doubtful", 0.4))]
    monkeypatch.setattr(ocr_engine, "read_picture", lambda path: {"width": 80, "height": 60, "lines": lines})
    answered = asked(subject, picture, read_text=True)
    assert (answered.ocr_text, answered.ocr_conf) == ("sure", 0.9)
