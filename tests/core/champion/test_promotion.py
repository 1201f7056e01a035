"""A model becomes the champion through the gate, the old one stays when it is closed, and there is a way back."""

import json
import shutil
import subprocess
import sys

import pytest

from r3pp_core.artefact import Outcome, Request, Target, build, content_hash_of, hash_file, hash_json
from r3pp_core.champion import promotion
from r3pp_core.champion.config import GateConfig
from r3pp_core.champion.history import current, entries
from r3pp_core.champion.promotion import GateClosedError, kept_or_new, promote, roll_back, verdict_on
from r3pp_core.cli import main
from r3pp_core.errors import R3Error, UsageError
from r3pp_core.evaluation.pairing import Evaluation
from r3pp_core.model.backbone import weights_hash


@pytest.fixture
def champion_dir(tmp_path):
    return tmp_path / "champion"


def weights_of(champion_dir):
    return (champion_dir / "current" / "model" / "model.safetensors").read_text()


def test_an_open_gate_copies_the_whole_model_with_its_scores_and_card(candidate, champion_dir):
    first = candidate("first")
    entry = promote(first, champion_dir)
    assert weights_of(champion_dir) == "first"
    assert (champion_dir / "current" / "model" / "backbone" / "model.safetensors").read_text() == "first"
    assert weights_hash(champion_dir / "current" / "model") == entry.model_hash == weights_hash(first.model_dir)
    assert entry.card["why"]["scores"]["chartqa"]["0.8"]["mean"] == 0.5
    card = (champion_dir / "current" / "README.md").read_text()
    assert "# Champion 1" in card
    assert "- clean not below base: passed (chartqa: clean +10.0 [" in card
    assert "This is the first champion" in card


def test_the_card_says_why_this_one_against_the_one_before(candidate, champion_dir, table):
    rows = [("chartqa/train/0", "a"), ("chartqa/train/1", "b"), ("infovqa/train/0", "c")]
    for weights, clean, now, lr in (
        ("first", 0.6, rows, 1e-4),
        ("second", 0.7, [*rows[1:2], ("infovqa/train/0", "other"), ("infovqa/train/1", "d")], 2e-4),
    ):
        train = table(*now)
        made_from = {"train_jsonl": content_hash_of(train), "text_index": f"index of {weights}"}
        promote(candidate(weights, clean, 0.5, train, made_from, {"lr": lr}), champion_dir)
    why = current(champion_dir).card["why"]
    assert why["rows"] == {
        "chartqa": {"added": 0, "removed": 1, "changed": 0, "same": 1},
        "infovqa": {"added": 1, "removed": 0, "changed": 1, "same": 0},
    }
    assert why["config"] == {"lr": {"before": 1e-4, "now": 2e-4}}, "where it lay is no difference"
    assert set(why["made_from"]) == {"train_jsonl", "text_index"}
    assert why["differences"]["chartqa"]["0"]["mean"] == pytest.approx(0.1)
    card = (champion_dir / "current" / "README.md").read_text()
    for told in (
        "Against champion 1",
        "- chartqa: level 0 +10.0 [",
        "- training rows of infovqa: 1 added, 0 removed, 1 changed, 0 same",
        "- config `lr`: `0.0001` → `0.0002`",
        "- made from `text_index`",
        "r3pp rollback",
    ):
        assert told in card


def test_rows_of_another_table_than_the_model_learned_from_are_not_claimed(candidate, champion_dir, table):
    for weights, clean in (("first", 0.6), ("second", 0.7)):
        promote(candidate(weights, clean, train_jsonl=table((weights, "x"))), champion_dir)
    assert current(champion_dir).card["why"]["rows"] is None
    assert "training rows: not known of one of the two" in (champion_dir / "current" / "README.md").read_text()


@pytest.mark.parametrize(
    "new, words",
    [
        ({"clean": 0.3}, "clean .* lower bound has to be above -2.0"),
        ({"damaged": 0.1}, "area .* lower bound has to be above"),
        ({"num_rows": 99}, "chartqa r3 at level 0: scored on 99 rows, at least 100 are needed"),
    ],
)
def test_a_closed_gate_says_why_and_keeps_the_old_champion(candidate, champion_dir, new, words):
    promote(candidate("first"), champion_dir)
    with pytest.raises(GateClosedError, match=f"the gate is closed, the champion stays: .*{words}"):
        promote(candidate("second", **new), champion_dir)
    assert weights_of(champion_dir) == "first"
    assert len(entries(champion_dir)) == 1


def test_scores_of_another_model_do_not_open_the_gate(candidate, champion_dir):
    first, second = candidate("first"), candidate("second")
    mixed = promotion.Candidate(second.model_dir, first.evaluation_dir, first.base_evaluation_dir)
    with pytest.raises(GateClosedError, match=r"holds the scores of another model than .*second; evaluate it first"):
        promote(mixed, champion_dir)
    assert current(champion_dir) is None


def test_a_base_that_the_candidate_was_not_trained_on_does_not_open_the_gate(candidate, champion_dir, evaluation):
    """Nor does one of its own weights: the description still names what it began as."""
    first = candidate("first")
    for model_hash in ("another base", weights_hash(first.model_dir)):
        base = evaluation("other base", model_hash, lambda number, level: False, arm="base")
        other = promotion.Candidate(first.model_dir, first.evaluation_dir, base)
        verdict = verdict_on(other, champion_dir)
        closed = {criterion.name for criterion in verdict.criteria if not criterion.passed}
        assert closed == {"clean_not_below_base", "robustness_above_base"}
        assert "holds the scores of another base than the backbone base that" in verdict.reasons[0]
    assert verdict_on(candidate("first"), champion_dir).is_open


def test_the_champion_is_not_crowned_twice(candidate, champion_dir):
    said: list[str] = []
    promote(candidate("first"), champion_dir)
    assert promote(candidate("first"), champion_dir, progress=said.append).number == 1
    assert said == [f"champion: {candidate('first').model_dir} is champion 1 already, nothing to do"]


def test_a_model_or_evaluation_that_is_not_there_is_asked_for(tmp_path, candidate, champion_dir):
    gone = tmp_path / "gone"
    with pytest.raises(R3Error, match="run `r3pp export` first"):
        promote(promotion.Candidate(gone, gone, gone), champion_dir)
    with pytest.raises(R3Error, match="run `r3pp evaluate` first"):
        promote(promotion.Candidate(candidate("first").model_dir, gone, gone), champion_dir)


def test_a_way_back_is_a_new_entry_with_the_old_model_and_takes_no_room(candidate, champion_dir):
    for weights, clean in (("first", 0.6), ("second", 0.7), ("third", 0.8)):
        promote(candidate(weights, clean), champion_dir)
    entry = roll_back(champion_dir, reason="it swears")
    assert (entry.number, weights_of(champion_dir)) == (4, "second")
    assert (entry.folder / "model" / "model.safetensors").stat().st_nlink == 2
    assert "Rolled back on" in (entry.folder / "README.md").read_text()
    assert ": it swears." in (entry.folder / "README.md").read_text()
    assert "- chartqa: level 0 -10.0 [" in (entry.folder / "README.md").read_text(), "against the one that was left"
    assert (roll_back(champion_dir, to=1).number, weights_of(champion_dir)) == (5, "first")
    with pytest.raises(UsageError, match="choose one of 1 to 5"):
        roll_back(champion_dir, to=6)
    with pytest.raises(UsageError, match="champion 1 is the model that stands already"):
        roll_back(champion_dir, to=1)


def test_what_a_champion_was_made_from_stays_known_and_goes_with_the_way_back(
    candidate, champion_dir, tmp_path, capsys
):
    def table(text):
        def write(staging):
            (staging / "val.jsonl").write_text(text)
            return Outcome(counts={"rows": 1}, details={"commits": {"val": f"commit of {text}"}})

        build(Target(tmp_path / "data"), Request("merged/val", "1", {"text": text}, {}), write)
        return hash_file(tmp_path / "data" / "val.jsonl")

    asked = table("first table")
    for weights, clean in (("first", 0.6), ("second", 0.7)):
        promote(candidate(weights, clean, world=asked), champion_dir)
    assert main(["verify", str(champion_dir), "--whole"]) == 0, capsys.readouterr().out
    table("other table")
    shutil.rmtree(tmp_path / "first")
    entry = roll_back(champion_dir)
    assert [path.name.partition("-")[0] for path in (entry.folder / "made_from").iterdir()] == ["merged_val"]
    assert entry.card["made_from"] == entries(champion_dir)[0].card["made_from"]
    capsys.readouterr()
    assert main(["lineage", str(champion_dir)]) == 0
    told = capsys.readouterr().out
    assert "commit of first table" in told
    (line,) = [line for line in told.splitlines() if "merged/val" in line]
    assert line.endswith("(replaced or removed since)")
    assert "history/0001" in told, "the model stands there whole"
    assert main(["verify", str(champion_dir)]) == 0
    assert "0 damaged; 1 inputs are no longer in the workspace" in capsys.readouterr().out


def test_an_entry_without_records_can_be_gone_back_to(candidate, champion_dir):
    """Of a version that kept none."""
    for weights, clean in (("first", 0.6), ("second", 0.7)):
        promote(candidate(weights, clean), champion_dir)
    old = entries(champion_dir)[0].folder
    shutil.rmtree(old / "made_from")
    card = json.loads((old / "champion.json").read_text())
    del card["made_from"]
    (old / "champion.json").write_text(json.dumps(card))
    manifest = json.loads((old / "manifest.json").read_text())
    manifest["files"]["champion.json"]["sha256"] = hash_file(old / "champion.json")
    manifest["content_hash"] = hash_json({name: entry["sha256"] for name, entry in manifest["files"].items()})
    (old / "manifest.json").write_text(json.dumps(manifest))
    assert roll_back(champion_dir).number == 3
    assert weights_of(champion_dir) == "first"


def test_a_model_that_was_rolled_back_from_does_not_come_back_by_itself(candidate, champion_dir):
    promote(candidate("first", 0.6), champion_dir)
    bad = candidate("second", 0.7)
    promote(bad, champion_dir)
    roll_back(champion_dir, reason="it swears")
    assert verdict_on(bad, champion_dir).reasons[0].startswith("it was rolled back from on ")
    with pytest.raises(GateClosedError, match=r"rolled back from on .*: it swears; promote it with `again`"):
        promote(bad, champion_dir)
    assert promote(bad, champion_dir, again=True).number == 4
    roll_back(champion_dir)
    with pytest.raises(R3Error, match="none that was not rolled back from; name one"):
        roll_back(champion_dir)
    roll_back(champion_dir, to=2)
    assert weights_of(champion_dir) == "second"
    with pytest.raises(GateClosedError, match="rolled back"):
        promote(candidate("first", 0.8), champion_dir)


def test_a_wish_that_comes_twice_is_granted_once(candidate, champion_dir):
    for weights, clean in (("first", 0.6), ("second", 0.7), ("third", 0.8)):
        promote(candidate(weights, clean), champion_dir)
    assert roll_back(champion_dir, asked_by="run 7").number == 4
    assert (roll_back(champion_dir, asked_by="run 7").number, weights_of(champion_dir)) == (4, "second")
    assert (roll_back(champion_dir, asked_by="run 8").number, weights_of(champion_dir)) == (5, "first")


def test_a_damaged_entry_does_not_come_back(candidate, champion_dir):
    for weights, clean in (("first", 0.6), ("second", 0.7)):
        promote(candidate(weights, clean), champion_dir)
    (champion_dir / "history" / "0001" / "model" / "model.safetensors").write_text("wrong")
    with pytest.raises(R3Error, match=r"champion 1 is damaged, .*model.safetensors has other bytes"):
        roll_back(champion_dir)
    assert (weights_of(champion_dir), len(entries(champion_dir))) == ("second", 2)


def test_what_changes_while_it_is_copied_does_not_become_champion(candidate, champion_dir, monkeypatch):
    judged, plain = candidate("first"), promotion._copy

    def overtaken(source, target, copy):
        plain(source, target, copy)
        if target.name == "model":
            (target / "model.safetensors").write_text("later")

    monkeypatch.setattr(promotion, "_copy", overtaken)
    with pytest.raises(R3Error, match="is not what the gate judged"):
        promote(judged, champion_dir)
    assert current(champion_dir) is None


def test_there_is_nothing_to_go_back_to_from_the_first_or_from_none(candidate, champion_dir):
    with pytest.raises(R3Error, match="has no champion; promote a model first"):
        roll_back(champion_dir)
    promote(candidate("first"), champion_dir)
    with pytest.raises(R3Error, match=r"champion 1 .* is the first; there is none to go back to"):
        roll_back(champion_dir)


def test_a_crash_before_the_link_moves_leaves_the_old_champion_and_the_next_promotion_works(
    candidate, champion_dir, monkeypatch
):
    promote(candidate("first", 0.6), champion_dir)
    with monkeypatch.context() as broken:
        broken.setattr(promotion, "point_to", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            promote(candidate("second", 0.7), champion_dir)
    assert (champion_dir / "history" / "0002").is_dir()
    assert (weights_of(champion_dir), len(entries(champion_dir))) == ("first", 1)
    assert promote(candidate("third", 0.8), champion_dir).number == 2
    assert (weights_of(champion_dir), len(entries(champion_dir))) == ("third", 2)


def test_two_at_once_do_not_mix(candidate, champion_dir):
    holder = (
        "import sys; from pathlib import Path; from r3pp_core.champion.promotion import _alone\n"
        "with _alone(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(champion_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(R3Error, match=rf"another process \(pid {other.pid} "):
            promote(candidate("first"), champion_dir)
        other.communicate("")
    assert promote(candidate("first"), champion_dir).number == 1


def test_the_champion_is_judged_by_its_own_answers_or_by_new_ones_to_the_candidate_s_questions(
    tmp_path, candidate, champion_dir, evaluation
):
    first = promote(candidate("first", 0.6), champion_dir)
    mine = Evaluation.read(candidate("second", 0.7).evaluation_dir)
    assert kept_or_new(first, mine, tmp_path / "new", GateConfig()) == first.evaluation_dir
    moved_on = candidate("third", 0.7, world="b")
    theirs = Evaluation.read(moved_on.evaluation_dir)
    assert kept_or_new(first, theirs, tmp_path / "new", GateConfig()) is None
    with pytest.raises(GateClosedError, match="no question of chartqa in common; evaluate the champion again"):
        promote(moved_on, champion_dir)
    again = evaluation("the champion once more", first.model_hash, lambda number, level: True, code="9")
    assert kept_or_new(first, Evaluation.read(again), tmp_path / "new", GateConfig()) == again, "it is the champion"
    stranger = evaluation("stranger", "somebody", lambda number, level: True, world="b")
    assert kept_or_new(first, theirs, stranger, GateConfig()) is None, "not of the champion"
    asked = evaluation("first again", first.model_hash, lambda number, level: number % 4 == 0, world="b")
    assert kept_or_new(first, theirs, asked, GateConfig()) == asked
    judged = promotion.Candidate(moved_on.model_dir, moved_on.evaluation_dir, moved_on.base_evaluation_dir, None, asked)
    assert promote(judged, champion_dir).number == 2
    against = current(champion_dir).card["why"]["differences"]["chartqa"]["0"]
    assert (against["mean"], against["n"]) == (pytest.approx(0.7 - 0.25), 120), "to the answers that the gate judged by"
    assert "points, on 120 questions that both were asked" in (champion_dir / "current" / "README.md").read_text()


def test_a_gap_in_the_history_is_named(candidate, champion_dir):
    promote(candidate("first", 0.6), champion_dir)
    promote(candidate("second", 0.7), champion_dir)
    shutil.rmtree(champion_dir / "history" / "0001")
    with pytest.raises(R3Error, match=r"0001/champion.json cannot be read"):
        entries(champion_dir)


def test_a_lost_link_is_no_empty_history(candidate, champion_dir):
    promote(candidate("first", 0.6), champion_dir)
    promote(candidate("second", 0.7), champion_dir)
    (champion_dir / "current").unlink()
    with pytest.raises(R3Error, match=r"nobody knows which champion stands; set it again"):
        promote(candidate("third", 0.8), champion_dir)
    (champion_dir / "current").symlink_to("history/0002")
    assert promote(candidate("third", 0.8), champion_dir).number == 3


def test_by_hand_promote_shows_every_reason_and_champion_the_history(tmp_path, candidate, champion_dir, capsys):
    def results_of(made):
        folder = tmp_path / f"results of {made.model_dir.name}"
        folder.mkdir()
        shutil.copytree(made.evaluation_dir, folder / "r3")
        shutil.copytree(made.base_evaluation_dir, folder / "base")
        return ["--model_dir", str(made.model_dir), "--results-dir", str(folder), *champion]

    champion = ["--champion_dir", str(champion_dir)]
    assert main(["champion", *champion]) == 1
    assert "has no champion; promote a model first" in capsys.readouterr().err
    assert main(["promote", *results_of(candidate("first", 0.6))]) == 0
    assert main(["promote", *results_of(candidate("worse", 0.3, 0.1))]) == 1
    told = capsys.readouterr().out
    assert "the gate is closed, the champion stays:" in told
    assert told.count("whose lower bound has to be above") == 7
    assert main(["promote", *results_of(candidate("second", 0.7))]) == 0
    assert main(["rollback", *champion, "--reason", "it swears"]) == 0
    assert main(["champion", *champion]) == 0
    told = capsys.readouterr().out
    assert told.count("promoted") >= 2
    assert ": it swears." in told
    assert f"champion: {champion_dir / 'history' / '0003' / 'model'}" in told
    assert json.loads((champion_dir / "current" / "champion.json").read_text())["rolled_back_to"] == 1
