"""Promotion through the gate, and the way back: both write the next entry of the history, then move the link to it."""

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r3pp_core import code_versions
from r3pp_core.artefact import Manifest, Outcome, Request, Target, build, locked, require_manifest
from r3pp_core.champion.card import card_markdown, why_this_one, write_train_rows
from r3pp_core.champion.config import GateConfig
from r3pp_core.champion.gate import NO_BASE, Criterion, Verdict, comparable, judge
from r3pp_core.champion.history import CARD, TRAIN_ROWS, Change, Entry, entries, entry_dir, point_to, withdrawn
from r3pp_core.errors import R3Error, UsageError
from r3pp_core.evaluation.pairing import Evaluation
from r3pp_core.model.backbone import weights_hash
from r3pp_core.model.storage import read_description
from r3pp_core.progress import Progress, silent
from r3pp_core.provenance import RECORDS, Artefact, damages, keep_records, place_in


class GateClosedError(R3Error):
    """The candidate may not become the champion; `verdict` has every reason."""

    def __init__(self, verdict: Verdict) -> None:
        others = f" (and {len(verdict.reasons) - 1} more)" if len(verdict.reasons) > 1 else ""
        super().__init__(f"the gate is closed, the champion stays: {verdict.reasons[0]}{others}")
        self.verdict = verdict


@dataclass(frozen=True)
class Candidate:
    """A model and what is known of it. `train_jsonl` is kept as a list of rows where it is what the model learned from.

    `champion_evaluation` is an evaluation of the present champion on the candidate's questions, for when those that
    it was promoted with were others.
    """

    model_dir: Path
    evaluation_dir: Path
    base_evaluation_dir: Path
    train_jsonl: Path | None = None
    champion_evaluation_dir: Path | None = None


def verdict_on(
    candidate: Candidate, champion_dir: Path, config: GateConfig = GateConfig(), *, again: bool = False
) -> Verdict:
    """What the gate says of a candidate; nothing is changed. Raises R3Error where it was never evaluated."""
    return _verdict(candidate, entries(champion_dir), config, again=again)


def promote(
    candidate: Candidate,
    champion_dir: Path,
    config: GateConfig = GateConfig(),
    progress: Progress = silent,
    *,
    again: bool = False,
) -> Entry:
    """Make the candidate the champion, unless it is already. `again` lets one pass that was rolled back from.

    Of what it was made from the manifests are kept, as far as they are in the workspace around `champion_dir`. Raises
    GateClosedError, leaving the present champion, where a criterion is not met; R3Error where the model or an
    evaluation is missing, or another process is changing the champion.
    """
    model = require_manifest(Target(candidate.model_dir), "r3pp export")
    model_hash = weights_hash(candidate.model_dir)
    workspace = champion_dir.resolve().parent
    with _alone(champion_dir):
        history = entries(champion_dir)
        if history and history[-1].model_hash == model_hash:
            progress(f"champion: {candidate.model_dir} is champion {history[-1].number} already, nothing to do")
            return history[-1]
        evaluation = require_manifest(Target(candidate.evaluation_dir), "r3pp evaluate")
        verdict = _verdict(candidate, history, config, again=again)
        if not verdict.is_open:
            raise GateClosedError(verdict)

        def fill(staging: Path) -> None:
            for name, judged, source in (
                ("model", model, candidate.model_dir),
                ("evaluation", evaluation, candidate.evaluation_dir),
            ):
                _copy(source, staging / name, shutil.copyfile)
                _refuse_other_bytes(staging / name, judged, source)
            write_train_rows(candidate.model_dir, candidate.train_jsonl, staging / TRAIN_ROWS)
            judged_ones = [
                Artefact(Target(candidate.model_dir), model),
                Artefact(Target(candidate.evaluation_dir), evaluation),
            ]
            keep_records(judged_ones, workspace, staging)

        described = {
            "model_hash": model_hash,
            "model": place_in(workspace, candidate.model_dir.resolve()).as_posix(),
            "gate": verdict.as_json(),
            "made_from": {
                **read_description(candidate.model_dir)["made_from"],
                "exported_model": model.content_hash,
                "evaluation": evaluation.content_hash,
            },
        }
        inputs = {"model": model.content_hash, "evaluation": evaluation.content_hash}
        judged_by = _champion_evaluation(candidate, history, config) if history else None
        entry = _add(champion_dir, history, "promoted", "", described, inputs, fill, judged_by)
        progress(f"champion: {candidate.model_dir} is champion {entry.number}")
        return entry


def roll_back(
    champion_dir: Path,
    to: int | None = None,
    reason: str = "",
    progress: Progress = silent,
    *,
    asked_by: str | None = None,
) -> Entry:
    """Make an earlier champion the champion again: the newest other model that was not itself rolled back from, or
    entry `to` of the history.

    The model that is left may not come back by itself. `asked_by` names the wish: asked twice, it is granted once.
    Raises UsageError where there is no such entry, R3Error where there is nothing to go back to or its files are not
    what they were.
    """
    if not champion_dir.is_dir():
        raise R3Error(f"{champion_dir} has no champion; promote a model first")
    with _alone(champion_dir):
        history = entries(champion_dir)
        if history and asked_by and history[-1].card.get("asked_by") == asked_by:
            progress(f"champion: {history[-1].number} is what this rollback made, nothing to do")
            return history[-1]
        target = _target(history, to, champion_dir)
        made = require_manifest(Target(target.folder), "r3pp promote")
        if wrong := damages(Artefact(Target(target.folder), made)):
            raise R3Error(f"champion {target.number} is damaged, so the present one stays: {wrong[0]}; choose another")
        described: dict[str, Any] = {
            **{name: target.card[name] for name in ("model_hash", "model", "gate", "made_from") if name in target.card},
            "rolled_back_to": target.number,
            "asked_by": asked_by,
        }

        def fill(staging: Path) -> None:
            for name in ("model", "evaluation", RECORDS):
                _copy(target.folder / name, staging / name, _link)
            if target.train_rows.is_file():
                _link(target.train_rows, staging / TRAIN_ROWS)

        inputs = {"entry": made.content_hash}
        entry = _add(champion_dir, history, "rolled back", reason, described, inputs, fill)
        progress(f"champion: back to the model of champion {target.number}, now champion {entry.number}")
        return entry


def kept_or_new(champion: Entry, candidate: Evaluation, new_dir: Path, config: GateConfig) -> Path | None:
    """The evaluation that the champion is judged by: its own, or one in `new_dir` where its own asked other questions;
    the candidate's where it is the champion itself.

    None where none of them will do, and the champion has to be evaluated again.
    """
    if _is_of(candidate.folder, champion.model_hash):
        return candidate.folder
    for folder in (champion.evaluation_dir, new_dir):
        if (folder / "manifest.json").is_file() and _is_of(folder, champion.model_hash):
            evaluation = Evaluation.read(folder)
            if comparable(candidate, evaluation, config) is None:
                return folder
    return None


def _verdict(candidate: Candidate, history: list[Entry], config: GateConfig, *, again: bool) -> Verdict:
    model_hash = weights_hash(candidate.model_dir)
    if not _is_of(candidate.evaluation_dir, model_hash):
        reason = (
            f"{candidate.evaluation_dir} holds the scores of another model than {candidate.model_dir}; evaluate it "
            "first"
        )
        return Verdict([Criterion("scores_of_this_model", [reason])])
    mine = Evaluation.read(candidate.evaluation_dir)
    no_base = _why_no_base(candidate)
    base = None if no_base else Evaluation.read(candidate.base_evaluation_dir)
    champion, is_champion = None, bool(history) and history[-1].model_hash == model_hash
    if history and not is_champion:
        champion = Evaluation.read(_champion_evaluation(candidate, history, config))
    criteria = judge(mine, base, champion, config, is_champion=is_champion, no_base=no_base or NO_BASE).criteria
    if (left := withdrawn(history).get(model_hash)) and not again:
        why = f": {left.card['reason']}" if left.card["reason"] else ""
        reason = f"it was rolled back from on {left.card['time']}{why}; promote it with `again` if you mean to"
        criteria.append(Criterion("not_rolled_back", [reason]))
    return Verdict(criteria)


def _champion_evaluation(candidate: Candidate, history: list[Entry], config: GateConfig) -> Path:
    """That of the present champion by which the candidate is judged; the champion's own where none serves."""
    own = history[-1].evaluation_dir
    mine = Evaluation.read(candidate.evaluation_dir)
    return kept_or_new(history[-1], mine, candidate.champion_evaluation_dir or own, config) or own


def _why_no_base(candidate: Candidate) -> str | None:
    """Why no evaluation of the backbone that the candidate was trained on is there to judge it by; None where one is.

    A model of all weights holds another backbone by now, and still names the one that it began as.
    """
    if not (candidate.base_evaluation_dir / "manifest.json").is_file():
        return NO_BASE
    backbone_hash = read_description(candidate.model_dir)["backbone_hash"]
    if not _is_of(candidate.base_evaluation_dir, backbone_hash):
        return (
            f"{candidate.base_evaluation_dir} holds the scores of another base than the backbone {backbone_hash[:16]} "
            f"that {candidate.model_dir} was trained on; evaluate that one"
        )
    return None


def _is_of(evaluation_dir: Path, model_hash: str) -> bool:
    manifest = require_manifest(Target(evaluation_dir), "r3pp evaluate")
    return manifest.inputs.get("model") == model_hash


def _target(history: list[Entry], to: int | None, champion_dir: Path) -> Entry:
    if not history:
        raise R3Error(f"{champion_dir} has no champion; promote a model first")
    now = history[-1]
    if to is None:
        left = withdrawn(history)
        earlier = [entry for entry in history if entry.model_hash != now.model_hash and entry.model_hash not in left]
        if not earlier:
            raise R3Error(
                f"before champion {now.number} in {champion_dir} there is none that was not rolled back from; name one"
                if left
                else f"champion {now.number} in {champion_dir} is the first; there is none to go back to"
            )
        return earlier[-1]
    if not 1 <= to <= now.number:
        raise UsageError(f"there is no champion {to} in {champion_dir}; choose one of 1 to {now.number}")
    if history[to - 1].model_hash == now.model_hash:
        raise UsageError(f"champion {to} is the model that stands already (champion {now.number})")
    return history[to - 1]


def _alone(champion_dir: Path) -> Any:
    champion_dir.mkdir(parents=True, exist_ok=True)
    return locked(Target(champion_dir))


def _add(
    champion_dir: Path,
    history: list[Entry],
    change: Change,
    reason: str,
    described: dict[str, Any],
    inputs: dict[str, str],
    fill: Callable[[Path], None],
    judged_by: Path | None = None,
) -> Entry:
    before = history[-1] if history else None
    number = len(history) + 1

    def make(staging: Path) -> Outcome:
        fill(staging)
        card = {
            "number": number,
            "change": change,
            "time": time.strftime("%Y-%m-%d %H:%M:%S %z"),
            "reason": reason,
            "before": before.number if before else None,
            **described,
            "why": why_this_one(staging, before, judged_by),
        }
        (staging / CARD).write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (staging / "README.md").write_text(card_markdown(card), encoding="utf-8")
        return Outcome(counts={"number": number}, details={"model_hash": described["model_hash"]})

    folder = entry_dir(champion_dir, number)
    # What a crash left under this number never was champion, and is made anew.
    build(Target(folder), Request("champion", code_versions.CHAMPION, {"change": change}, inputs), make, force=True)
    point_to(champion_dir, number)
    return Entry(number, folder, json.loads((folder / CARD).read_text(encoding="utf-8")))


def _copy(source: Path, target: Path, copy: Callable[[Path, Path], object]) -> None:
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(source).parts):
            place.parent.mkdir(parents=True, exist_ok=True)
            copy(path, place)


def _refuse_other_bytes(copy: Path, judged: Manifest, source: Path) -> None:
    """What was judged may have been replaced or damaged while it was copied."""
    wrong = damages(Artefact(Target(copy), judged))
    if wrong:
        raise R3Error(f"{source} is not what the gate judged ({wrong[0]}); promote it again")


def _link(source: Path, target: Path) -> None:
    """Entries are never changed, so that one model takes its room on the disk once."""
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)
