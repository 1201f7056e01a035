"""Which row comes when: data sets mixed by temperature, any position computable without what came before.

So a checkpoint needs one number, and a run that looks ahead does not disturb it.
"""

import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from r3pp_core.errors import R3Error
from r3pp_core.jsonl import read_jsonl

BLOCK = 4096
REQUIRED = ("id", "dataset", "image_path", "image_sha256", "question", "answer", "pseudo_text", "ocr_conf")


class Draw(NamedTuple):
    """Row number in the file, and how often the data set was passed through before: the simulator's visit."""

    row: int
    visit: int


class RowFile:
    """Rows of a unified JSONL, read one by one: only byte offsets and data set codes are held."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: list[str] = []
        codes: list[int] = []
        for number, row in enumerate(read_jsonl(path), start=1):
            missing = [name for name in REQUIRED if name not in row]
            if missing or not isinstance(row["answer"], str) or not row["answer"].strip():
                raise R3Error(
                    f"{path} row {number} ({row.get('id')}) lacks {', '.join(missing) or 'an answer'}; "
                    "make the table with `r3pp unify` and `r3pp merge`"
                )
            if row["dataset"] not in self.names:
                self.names.append(row["dataset"])
            codes.append(self.names.index(row["dataset"]))
        if not codes:
            raise R3Error(f"{path} has no rows; nothing to train on")
        self.codes = np.array(codes)
        self._offsets = _line_offsets(path)

    def __len__(self) -> int:
        return len(self.codes)

    def row(self, number: int) -> dict[str, Any]:
        with self.path.open("rb") as file:
            file.seek(self._offsets[number])
            row: dict[str, Any] = orjson.loads(file.readline())
        return row


def _line_offsets(path: Path) -> list[int]:
    offsets, position = [], 0
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                offsets.append(position)
            position += len(line)
    return offsets


class MixedOrder:
    """An endless order over rows. Each draw takes a data set with weight count^alpha, then that set's next row.

    Within a data set every row comes once, in a new seeded order, before any comes again.
    """

    def __init__(self, codes: np.ndarray, names: list[str], alpha: float, seed: int) -> None:
        self.seed = seed
        self.names = names
        self.members = [np.flatnonzero(codes == code) for code in range(len(names))]
        weights = np.array([len(members) for members in self.members], float) ** alpha
        self.weights = weights / weights.sum()
        self._drawn_before = [np.zeros(len(names), np.int64)]  # per block: draws of each data set before it
        self._permutations: dict[tuple[int, int], np.ndarray] = {}

    def at(self, position: int) -> Draw:
        block, place = divmod(position, BLOCK)
        choices = self._choices(block)
        code = int(choices[place])
        rank = int(self._drawn(block)[code] + (choices[:place] == code).sum())
        visit, place_in_set = divmod(rank, len(self.members[code]))
        return Draw(int(self._permutation(code, visit)[place_in_set]), visit)

    def _choices(self, block: int) -> np.ndarray:
        return np.random.default_rng([self.seed, block]).choice(len(self.names), BLOCK, p=self.weights)

    def _drawn(self, block: int) -> np.ndarray:
        while len(self._drawn_before) <= block:
            counts = np.bincount(self._choices(len(self._drawn_before) - 1), minlength=len(self.names))
            self._drawn_before.append(self._drawn_before[-1] + counts)
        return self._drawn_before[block]

    def _permutation(self, code: int, visit: int) -> np.ndarray:
        if (code, visit) not in self._permutations:
            self._permutations = {key: value for key, value in self._permutations.items() if key[0] != code}
            # Seeded by the data set's name: adding a data set does not reorder the others.
            seed = [self.seed, zlib.crc32(self.names[code].encode()), visit]
            self._permutations[code, visit] = np.random.default_rng(seed).permutation(self.members[code])
        return self._permutations[code, visit]
