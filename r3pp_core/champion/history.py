"""Who was champion and why: a numbered folder for every change, and a link `current` to the one that stands.

A folder of the history is never changed; the link is replaced at once. So a crash leaves the old champion or the new
one, and what serves the model reads `<champion_dir>/current/model`.

model/                       what training exported
evaluation/                  the answers and scores that it passed the gate with
made_from/                   the manifests of all that both were made from, back to the pictures' revisions
train_rows.tsv               the rows that it learned from (id and hash), where they were known
champion.json, README.md     the card: why this one
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from r3pp_core.artefact import sync
from r3pp_core.errors import R3Error

CURRENT, HISTORY = "current", "history"
CARD, TRAIN_ROWS = "champion.json", "train_rows.tsv"
Change = Literal["promoted", "rolled back"]


@dataclass(frozen=True)
class Entry:
    """One change of the champion. `card` is its champion.json."""

    number: int
    folder: Path
    card: dict[str, Any]

    @property
    def model_dir(self) -> Path:
        return self.folder / "model"

    @property
    def evaluation_dir(self) -> Path:
        return self.folder / "evaluation"

    @property
    def train_rows(self) -> Path:
        return self.folder / TRAIN_ROWS

    @property
    def model_hash(self) -> str:
        """Of the weights, as an evaluation names the model that it asked."""
        return str(self.card["model_hash"])


def entry_dir(champion_dir: Path, number: int) -> Path:
    return champion_dir / HISTORY / f"{number:04}"


def entries(champion_dir: Path) -> list[Entry]:
    """Every change up to the one that stands, oldest first; empty where there is no champion yet.

    Raises R3Error for a history with a gap or a card that cannot be read, or whose link is lost.
    """
    link = champion_dir / CURRENT
    if not link.is_symlink():
        # One entry without a link is what a crash of the very first promotion leaves.
        if link.exists() or entry_dir(champion_dir, 2).exists():
            first = f"mv {link} {link}.copy && " if link.exists() else ""
            raise R3Error(
                f"{link} is no link into {champion_dir / HISTORY}, so that nobody knows which champion stands; set it "
                f"again, for example `{first}ln -s {HISTORY}/0002 {link}`"
            )
        return []
    return [_read(champion_dir, number) for number in range(1, int(link.readlink().name) + 1)]


def current(champion_dir: Path) -> Entry | None:
    return next(reversed(entries(champion_dir)), None)


def point_to(champion_dir: Path, number: int) -> None:
    """Make a finished entry the one that stands."""
    link = champion_dir / f".{CURRENT}"
    with suppress(FileNotFoundError):
        link.unlink()
    link.symlink_to(entry_dir(champion_dir, number).relative_to(champion_dir))
    link.replace(champion_dir / CURRENT)
    sync(champion_dir)


def withdrawn(history: Sequence[Entry]) -> dict[str, Entry]:
    """Models that were rolled back from and not promoted again since: model hash -> the entry that did it."""
    found: dict[str, Entry] = {}
    for before, entry in pairwise(history):
        if entry.card["change"] == "rolled back":
            found[before.model_hash] = entry
        found.pop(entry.model_hash, None)
    return found


def _read(champion_dir: Path, number: int) -> Entry:
    folder = entry_dir(champion_dir, number)
    try:
        return Entry(number, folder, json.loads((folder / CARD).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise R3Error(f"{folder / CARD} cannot be read ({error}); the champion's history needs every one") from error
