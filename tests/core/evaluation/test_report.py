"""The page: self-contained, escaped, and with the cases that the rows call for."""

import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from r3pp_core.evaluation import plots
from r3pp_core.evaluation.cases import CASES_PER_OUTCOME, choose_cases
from r3pp_core.evaluation.report import render_report
from r3pp_core.evaluation.scoring import score_samples

PRIMARY = {"chartqa": "relaxed_accuracy", "infovqa": "anls"}
LEVELS = (0, 0.4, 0.8)
HOSTILE = "<script>alert('question')</script> & \"quotes\""


def is_right(arm, level, index):
    """Damaged: of four rows in turn, R3 wins one, loses one, and both fail or succeed on the others."""
    return level == 0 or index % 4 in ((1, 3) if arm == "base" else (0, 3))


def made_samples(num_rows=32, arms=("base", "r3", "r3-no_gate")):
    return [
        {
            "id": f"{dataset}/val/{i}",
            "dataset": dataset,
            "split": "val",
            "image_path": f"{dataset}/images/validation_{i // 2}.png",
            "image_sha256": f"{dataset} {i // 2}",
            "question": f"{HOSTILE} {i}",
            "answers": ["forty-two"],
            "prediction": "forty-two" if is_right(arm, level, i) else "<img src=x onerror=alert(1)>",
            "arm": arm,
            "level": level,
            "meta": {"human_or_machine": i % 2} if dataset == "chartqa" else {},
            "operators": [{"name": "gaussian_blur", "strength": level}] if level else [],
            "evidence": [{"image_path": f"{dataset}/images/train_0.png", "score": 0.875, "modality": "image"}],
            "gate": {"text": 0.5, "image": 0.25, "vision": 0.25} if arm == "r3" else None,
            "confidence": {"c_vis": 0.75, "c_text": 0.5} if arm == "r3" else None,
        }
        for dataset in PRIMARY
        for arm in arms
        for level in (LEVELS if arm in ("base", "r3") else (0, 0.8))
        for i in range(num_rows)
    ]


@pytest.fixture
def image_root(tmp_path):
    """All pictures but one: chartqa's validation_1 is gone."""
    for dataset in PRIMARY:
        folder = tmp_path / "raw" / dataset / "images"
        folder.mkdir(parents=True)
        Image.new("RGB", (90, 60), "teal").save(folder / "train_0.png")
        for i in range(16):
            if (dataset, i) != ("chartqa", 1):
                Image.new("RGB", (640, 400), (16 * i, 90, 90)).save(folder / f"validation_{i}.png")
    return tmp_path / "raw"


class Page(HTMLParser):
    """The tags, addresses and visible text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data):
        self.text += data


def rendered(image_root, samples, **options):
    return render_report(score_samples(samples, PRIMARY), samples, image_root, **options)


def test_the_page_asks_the_network_for_nothing(image_root):
    text = rendered(image_root, made_samples())
    page = Page(text)
    assert page.addresses
    assert all(re.match(r"data:image/(png|jpeg);base64,", address) for address in page.addresses)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "@import" not in text
    assert "url(" not in text


def test_text_from_data_is_shown_and_never_obeyed(image_root):
    page = Page(rendered(image_root, made_samples(), heading="<b>plumbing</b> check"))
    assert HOSTILE in page.text
    assert "<img src=x onerror=alert(1)>" in page.text
    assert "<b>plumbing</b> check" in page.text
    assert page.tags.count("script") == 0


def test_the_page_has_its_sections_tables_and_signature(image_root):
    samples = made_samples()
    results = score_samples(samples, PRIMARY, signature={"model_hash": {"r3": "c0ffee"}, "max_pixels": 65536})
    page = Page(render_report(results, samples, image_root))
    for words in (
        "Robustness",
        "not corrected for their number",
        "Scores",
        "Ablations",
        "By kind of damage",
        "Cases",
        "c0ffee",
        "65536",
        "no gate",
    ):
        assert words in page.text
    assert "+0.0 [" in page.text  # base and R3 are right equally often
    assert page.text.count("augmented") > 0


def test_twelve_cases_show_four_of_each_outcome_over_all_data_sets():
    samples = made_samples()
    cases = choose_cases(score_samples(samples, PRIMARY), samples)
    outcomes = [case.outcome for case in cases.shown]
    assert outcomes == ["won"] * 4 + ["lost"] * 4 + ["both wrong"] * 4
    for case in cases.shown:
        won, lost = case.r3_score > case.base_score, case.r3_score < case.base_score
        assert (won, lost) == (case.outcome == "won", case.outcome == "lost")
        assert (case.base["level"], case.r3["level"]) == (0.8, 0.8)
    assert {case.base["dataset"] for case in cases.shown[:CASES_PER_OUTCOME]} == set(PRIMARY)
    assert cases.num_outcomes["chartqa"] == {"won": 8, "lost": 8, "both wrong": 8, "both right": 8}


def test_the_choice_of_cases_does_not_depend_on_the_order_of_the_samples():
    samples = made_samples()
    results = score_samples(samples, PRIMARY)
    forward = [case.r3["id"] for case in choose_cases(results, samples).shown]
    assert forward == [case.r3["id"] for case in choose_cases(results, reversed(samples)).shown]


def test_a_picture_that_is_gone_is_said_in_its_case(tmp_path, image_root):
    samples = [s for s in made_samples() if s["image_path"] == "chartqa/images/validation_1.png"]
    page = Page(rendered(image_root, samples))
    assert "no picture: picture missing" in page.text
    assert str(tmp_path) not in page.text


def test_a_picture_path_that_leads_out_of_the_root_is_not_read(tmp_path, image_root):
    Image.new("RGB", (50, 50), "red").save(tmp_path / "secret.png")
    samples = [s | {"image_path": "../secret.png", "evidence": []} for s in made_samples(4)]
    text = rendered(image_root, samples)
    assert "no picture" in text
    assert "data:image/jpeg" not in text


def test_the_damaged_picture_comes_from_the_callable_with_the_sample_of_the_highest_level(image_root):
    seen = []

    def damaged_image(sample):
        seen.append((sample["arm"], sample["level"]))
        return Image.new("RGBA", (800, 20), "black")

    page = Page(rendered(image_root, made_samples(), damaged_image=damaged_image))
    assert set(seen) == {("r3", 0.8)}
    assert len(seen) == 12
    assert page.text.count("as the models saw it, level 0.8") == 12


def test_a_damaged_picture_that_cannot_be_drawn_is_said_in_its_case(image_root):
    def damaged_image(sample):
        raise FileNotFoundError(2, "No such file or directory", "/somewhere/else.png")

    page = Page(rendered(image_root, made_samples(), damaged_image=damaged_image))
    assert "no picture: No such file or directory" in page.text
    assert "/somewhere" not in page.text


def test_a_run_of_one_arm_has_scores_and_no_cases(image_root):
    page = Page(rendered(image_root, made_samples(arms=("base",))))
    assert "nothing to compare" in page.text
    assert "R3 right, base wrong" not in page.text


def test_a_run_without_reference_answers_still_gives_a_page(image_root):
    page = Page(rendered(image_root, [s | {"answers": []} for s in made_samples(4)]))
    assert "no scores" in page.text


def test_the_same_results_give_the_same_bytes(image_root):
    assert rendered(image_root, made_samples()) == rendered(image_root, made_samples())


@pytest.mark.parametrize("draw", [plots.robustness_curves, plots.operator_bars])
def test_a_plot_is_a_small_png(draw):
    png = draw(score_samples(made_samples(), PRIMARY), "chartqa")
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(png) < 100_000


def test_ablation_bars_are_a_small_png():
    png = plots.ablation_bars(score_samples(made_samples(), PRIMARY), "chartqa", "0.8")
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(png) < 100_000


@pytest.fixture
def figures(monkeypatch):
    """The figures that were drawn, in the place of their bytes."""
    drawn = []
    monkeypatch.setattr(plots, "_png", lambda figure: drawn.append(figure) or b"")
    return drawn


@pytest.fixture
def wide():
    """Results with a picture for each question: the halves of made_samples' pictures agree, so that nothing varies."""
    return score_samples([sample | {"image_sha256": sample["id"]} for sample in made_samples()], PRIMARY)


def test_the_bands_of_the_curves_are_the_intervals(figures, wide):
    plots.robustness_curves(wide, "chartqa")
    bands = figures[0].axes[0].collections
    for band, arm in zip(bands, ("base", "r3"), strict=True):
        corners = {tuple(corner) for corner in band.get_paths()[0].vertices.round(6).tolist()}
        for level, entry in wide["results"]["chartqa"][arm].items():
            interval = entry["metrics"]["relaxed_accuracy"]
            for side in ("low", "high"):
                assert (float(level), round(100 * interval[side], 6)) in corners


@pytest.mark.parametrize("kind", ["ablations", "operators"])
def test_the_whiskers_of_the_bars_are_the_intervals(figures, wide, kind):
    if kind == "ablations":
        plots.ablation_bars(wide, "chartqa", "0.8")
        shown = [by_level["0.8"]["metrics"]["relaxed_accuracy"] for by_level in wide["results"]["chartqa"].values()]
    else:
        plots.operator_bars(wide, "chartqa")
        shown = [wide["operators"]["chartqa"][arm]["gaussian_blur"] for arm in ("base", "r3")]
    whiskers = [segment for lines in figures[0].axes[0].collections for segment in lines.get_segments()]
    drawn = sorted((segment[0][0], segment[1][0]) for segment in whiskers)
    assert drawn == [
        pytest.approx((100 * low, 100 * high)) for low, high in sorted((x["low"], x["high"]) for x in shown)
    ]
    assert all(low < high for low, high in drawn)


def test_plots_leave_pyplot_alone():
    import sys

    sys.modules.pop("matplotlib.pyplot", None)
    plots.robustness_curves(score_samples(made_samples(4), PRIMARY), "chartqa")
    assert "matplotlib.pyplot" not in sys.modules


def test_the_first_screen_says_what_damage_costs_and_what_is_won_back(image_root):
    samples = made_samples(arms=("base", "r3", "control"))
    for sample in samples:
        if sample["arm"] == "control" and sample["level"]:
            sample["prediction"] = "nothing"
    samples += [dict(sample, level=0.4) for sample in samples if sample["arm"] == "control" and sample["level"] == 0.8]
    page = render_report(score_samples(samples, PRIMARY), samples, image_root)
    story = page[page.index("What damage costs, and what evidence wins back") : page.index("R3 against the base")]
    assert "the control (the same training without evidence) loses\n<b>100.0 %</b>" in story
    assert "R3 wins back <b>50.0 %</b>" in story
    assert ">mean</td>" in story
    assert story.index("wins back") < story.index("score of chartqa over the damage level")


def test_numbers_that_were_not_finite_are_a_dash_and_said(image_root):
    samples = made_samples()
    for sample in samples:
        if sample["arm"] == "r3":
            sample["gate"] = {"text": None, "image": 0.25, "vision": 0.25}
            sample["confidence"] = {"c_vis": None, "c_text": 0.5}
            sample["evidence"] = [{**hit, "score": None} for hit in sample["evidence"]]
    page = Page(rendered(image_root, samples))
    for words in ("text –, image 0.25", "c_vis –, c_text 0.50", "by image, –", "32 rows of chartqa have a gate"):
        assert words in page.text
    assert "Confidence that R3 states" not in page.text
    assert "that is not finite" not in Page(rendered(image_root, made_samples())).text


def test_what_became_of_every_row_of_the_table_is_told_and_a_data_set_without_any_left(image_root):
    samples = [sample for sample in made_samples() if sample["dataset"] == "chartqa"]
    told = {
        "chartqa": {"in_table": 61, "without_answer": 9, "asked": 52, "left_out": {"picture_missing": 20}},
        "infovqa": {"in_table": 17, "without_answer": 17, "asked": 0, "left_out": {}},
    }
    text = render_report(score_samples(samples, PRIMARY, row_counts=told), samples, image_root)
    line = '<td>61</td><td>9</td><td>52</td><td class="text">20 picture missing</td><td>32</td><td>32</td>'
    assert line in text
    assert "infovqa has no row left to score" in Page(text).text
    assert "chartqa has no row left" not in Page(text).text


def test_intervals_that_stand_on_few_pictures_are_named(image_root):
    page = Page(rendered(image_root, made_samples()))
    assert (
        "Fewer than 20 pictures stand behind the intervals of chartqa (16), chartqa, human questions (16)" in page.text
    )
    assert "with one picture" not in page.text
    many = [{**sample, "image_sha256": sample["id"]} for sample in made_samples(80)]
    assert "Fewer than 20" not in Page(rendered(image_root, many)).text
    one = [{**sample, "image_sha256": sample["dataset"]} for sample in made_samples(4)]
    assert "with one picture it spans all that is possible" in Page(rendered(image_root, one)).text
