"""Merge: the data sets' unified tables -> train.jsonl, val.jsonl, test.jsonl, with evaluation kept out of training.

Two passes: the first reads what decides (merge_keys), the second copies the lines that stay, byte for byte.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson

from r3pp_core import code_versions
from r3pp_core.artefact import Manifest, Outcome, Request, Target, build, content_hash_of
from r3pp_core.datasets.registry import DATASETS
from r3pp_core.datasets.spec import SPLITS
from r3pp_core.errors import R3Error, UsageError
from r3pp_core.ingest.config import MergeConfig
from r3pp_core.ingest.hashed_file import HashedFile
from r3pp_core.ingest.merge_keys import Keys, joined, table_keys
from r3pp_core.ingest.perceptual import near_rows
from r3pp_core.ingest.reasons import Reason
from r3pp_core.jsonl import write_jsonl
from r3pp_core.progress import Progress, silent

GUARDS = {"train": ("val", "test"), "val": (), "test": ("val",)}
IN_EVALUATION = {"train": Reason.PICTURE_IN_EVALUATION, "test": Reason.PICTURE_IN_VAL}
NEAR_EVALUATION = {"train": Reason.NEAR_PICTURE_IN_EVALUATION, "test": Reason.NEAR_PICTURE_IN_VAL}
REASONS = ["", *Reason]  # a row's decision is a place in this list; 0 stays


def merged_target(unified_dir: Path, split: str) -> Target:
    return Target(unified_dir, split)


def merge_split(
    split: str,
    unified_dir: Path,
    config: MergeConfig = MergeConfig(),
    progress: Progress = silent,
    *,
    force: bool = False,
) -> Manifest:
    """Write `unified_dir/<split>.jsonl`: the tables one after the other, rows in their own order.

    Left out and counted by reason, the first that fits: answer_missing (hidden test answers), picture_in_evaluation (a
    train row whose picture is also in val or test), near_picture_in_evaluation (all train rows of a picture of which
    one asks the same question about a nearly equal picture of val or test), duplicate (same picture and question
    again); for test against val picture_in_val and near_picture_in_val. Raises UsageError for an unknown split, R3Error
    for a missing table or a row that breaks the schema.
    """
    if split not in SPLITS:
        raise UsageError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    if not config.tables(split):
        raise UsageError(f"no table to merge into {split}.jsonl; name at least one with --{split}")
    tables = [_table(unified_dir, name) for name in config.tables(split)]
    guards = list(_guard_tables(split, unified_dir, config, progress))
    request = Request(
        stage=f"merged/{split}",
        code_version=code_versions.MERGE,
        config={"tables": [path.name for path in tables], "guards": [path.name for path in guards]},
        inputs={path.name: content_hash_of(path) for path in [*tables, *guards]},
    )

    def make(staging: Path) -> Outcome:
        names = list(DATASETS)
        all_keys, num_rows, guard_keys = _keys(tables, guards, names, config.num_workers)
        decisions, num_alike = _decide(split, all_keys, guard_keys)
        kept = decisions == 0
        bounds = np.cumsum(num_rows)[:-1]
        keys, parts = np.split(all_keys, bounds), np.split(decisions, bounds)
        with HashedFile(staging / f"{split}.jsonl") as out:
            for path, part, part_decisions in zip(tables, keys, parts, strict=True):
                _copy_lines(path, part[part_decisions == 0], out)
        rejected = _rejected_rows(tables, keys, parts)
        num_rejected = write_jsonl(staging / f"{split}.rejected.jsonl", rejected)
        assert kept.sum() + num_rejected == len(all_keys), "a row was lost"
        per_dataset = np.bincount(all_keys["dataset"][kept], minlength=len(names))
        counts = {
            "rows_in": len(all_keys),
            "rows": int(kept.sum()),
            **{f"rows_{name}": int(count) for name, count in zip(names, per_dataset, strict=True) if count},
            "pictures": len(np.unique(all_keys["picture"][kept])),
            "rows_without_phash": int((~all_keys["phash"][kept].any(axis=1)).sum()),
            "pictures_alike_in_evaluation": num_alike,
        }
        left_out = {REASONS[code]: int(count) for code, count in enumerate(np.bincount(decisions)) if code}
        return Outcome(counts=counts, left_out=left_out, hashes={f"{split}.jsonl": out.sha256})

    return build(merged_target(unified_dir, split), request, make, force=force, progress=progress)


def find_table(unified_dir: Path, name: str) -> Path | None:
    """The table, also under the Hub's word for its split (`..._validation.jsonl`); None when it is not there."""
    names = [name, name.replace("_val.jsonl", "_validation.jsonl")]
    return next((unified_dir / found for found in names if (unified_dir / found).is_file()), None)


def _table(unified_dir: Path, name: str) -> Path:
    if Path(name).name != name:
        raise UsageError(f"table {name!r} is not the name of a file in {unified_dir}")
    path = find_table(unified_dir, name)
    if path is None:
        dataset = name.partition("_unified_")[0]
        raise R3Error(
            f"{unified_dir / name} does not exist; run `r3pp unify --dataset {dataset} --out_dir {unified_dir}` first"
        )
    return path


def _guard_tables(split: str, unified_dir: Path, config: MergeConfig, progress: Progress) -> Iterator[Path]:
    for name in (name for other in GUARDS[split] for name in config.tables(other)):
        if path := find_table(unified_dir, name):
            yield path
        else:
            progress(f"merged/{split}: {name} is not there, so {split} cannot be kept apart from it")


def _keys(
    tables: list[Path], guards: list[Path], names: list[str], num_workers: int | None
) -> tuple[Keys, list[int], Keys]:
    """Over all tables, with the number of rows of each; and over all guards."""
    found = table_keys([*tables, *guards], names, num_workers)
    own, guarded = found[: len(tables)], found[len(tables) :]
    return joined(own), [len(keys) for keys in own], joined(guarded)


def _decide(split: str, keys: Keys, guards: Keys) -> tuple[npt.NDArray[np.uint8], int]:
    """A place in REASONS for each row, and how many kept pictures merely look like a guarded one."""
    decisions = np.zeros(len(keys), np.uint8)

    def leave_out(rows: npt.NDArray[np.bool_], reason: Reason) -> None:
        decisions[(decisions == 0) & rows] = REASONS.index(reason)

    leave_out(~keys["has_answer"], Reason.ANSWER_MISSING)
    num_alike = 0
    if GUARDS[split]:
        leave_out(np.isin(keys["picture"], guards["picture"]), IN_EVALUATION[split])
        near = near_rows(keys["question"], keys["phash"], guards["question"], guards["phash"])
        leave_out(np.isin(keys["picture"], keys["picture"][near]), NEAR_EVALUATION[split])
        num_alike = _count_alike(keys[decisions == 0], guards)
    decisions[_repeats(keys, decisions == 0)] = REASONS.index(Reason.DUPLICATE)
    return decisions, num_alike


def _repeats(keys: Keys, kept: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Which kept rows have the picture and question of an earlier kept row."""
    rows = np.flatnonzero(kept)
    order = rows[np.lexsort((rows, keys["question"][rows], keys["picture"][rows]))]
    same = (keys["question"][order[1:]] == keys["question"][order[:-1]]) & (
        keys["picture"][order[1:]] == keys["picture"][order[:-1]]
    )
    return order[1:][same]


def _count_alike(keys: Keys, guards: Keys) -> int:
    """Kept pictures with the perceptual hash of a guarded one: worth a look, no reason to leave them out."""
    suspects = keys[keys["phash"].any(axis=1) & np.isin(keys["phash"][:, 0], guards["phash"][:, 0])]
    as_bytes = [np.ascontiguousarray(part["phash"]).view("V32").ravel() for part in (suspects, guards)]
    return len(np.unique(suspects["picture"][np.isin(as_bytes[0], as_bytes[1])])) if len(suspects) else 0


def _copy_lines(path: Path, keys: Keys, out: HashedFile) -> None:
    """Copy lines in runs of neighbours. The last line of a table that some other tool wrote may have no end."""
    if not len(keys):
        return
    starts, ends = keys["offset"].astype(np.int64), (keys["offset"] + keys["length"]).astype(np.int64)
    breaks = np.flatnonzero(starts[1:] != ends[:-1]) + 1
    runs = list(zip(starts[[0, *breaks]].tolist(), ends[[*(breaks - 1), -1]].tolist(), strict=True))
    last_start, last_end = runs[-1]
    size = path.stat().st_size
    out.copy(path, [*runs[:-1], (last_start, min(last_end, size))])
    if last_end > size:
        out.write(b"\n")


def _rejected_rows(
    tables: list[Path], keys: list[Keys], decisions: list[npt.NDArray[np.uint8]]
) -> Iterator[dict[str, str]]:
    for path, part, part_decisions in zip(tables, keys, decisions, strict=True):
        with path.open("rb") as file:
            for number in np.flatnonzero(part_decisions):
                file.seek(int(part["offset"][number]))
                row = orjson.loads(file.readline())
                yield {"id": row["id"], "reason": REASONS[part_decisions[number]], "detail": row["image_path"]}
