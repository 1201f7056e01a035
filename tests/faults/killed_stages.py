"""The stages of ingest as real commands, killed at drawn moments. Free of pytest.

A stage passes through moments that signs in its folder tell apart: starting, working (the staging folder is there),
sealing (its last file is there), committing. An undisturbed run measures how long each lasts, and kills are drawn
within them, since a moment drawn from the whole duration would hardly ever fall into a commit.
"""

import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import psutil
from chart_rows import row, write_parquet
from PIL import Image

from r3pp_core.artefact import Target
from r3pp_core.sample.config import SampleConfig
from r3pp_core.sample.write import write_sample

SPLITS = ("train", "val", "test")
STAGES = ("download", "ocr", "unify", "merge")
RANKS = "ocr_by_ranks"  # starts torch in every rank: for make soak
MOMENTS = {"starting": 1, "working": 4, "sealing": 3, "committing": 4}  # how often each is drawn
MARK = "R3PP_FAULTS_MARK"  # in the environment of all processes of a run
LOOK_S = 0.0002
GONE_S = 30.0
WORTH_PROCESSES = 18 << 20  # bytes of tables for which unify and merge start worker processes
LONG_QUESTION = 3000


@dataclass(frozen=True)
class Window:
    """A moment of a stage: what it begins with (None: the start) and how long it lasts undisturbed."""

    moment: str
    sign: str | None
    length_s: float


@dataclass(frozen=True)
class Stage:
    """`targets` names the artefacts in the folder; `before` is what lies there when the stage starts."""

    name: str
    arguments: tuple[str, ...]
    targets: tuple[str | None, ...]
    before: Path | None

    def fresh(self, folder: Path) -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        if self.before:
            shutil.copytree(self.before, folder)
        return folder

    def command(self, folder: Path) -> list[str]:
        return [sys.executable, "-m", "r3pp_core.cli", *(part.format(out=folder) for part in self.arguments)]

    def signs(self) -> Iterator[tuple[str, str]]:
        """(moment, path in the folder) in the order in which they appear."""
        for name in self.targets:
            target = Target(Path(), name)
            yield "working", str(target.staging)
            yield "sealing", str(target.staging / (f"{name}.rejected.jsonl" if name else "rejected.jsonl"))
            yield "committing", str(target.commit)

    def moment(self, folder: Path) -> str:
        """What the stage was doing, by what it left."""
        for moment, sign in reversed(list(self.signs())):
            if (folder / sign).exists():
                return moment
        is_begun = any(Target(folder, name).manifest_path.exists() for name in self.targets)
        return "ending" if is_begun else "starting"


@dataclass(frozen=True)
class Run:
    """One start of a stage: all its processes carry `mark`, its temporary files go to `scratch`."""

    stage: Stage
    folder: Path
    scratch: Path
    mark: str

    @classmethod
    def of(cls, stage: Stage, folder: Path) -> "Run":
        scratch = folder.with_name(f"{folder.name}.tmp")
        scratch.mkdir(parents=True, exist_ok=True)
        return cls(stage, folder, scratch, uuid.uuid4().hex)

    def start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.stage.command(self.folder),
            env={**os.environ, "TMPDIR": str(self.scratch), MARK: self.mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def finish(self) -> str:
        """Run to the end; what was printed."""
        process = self.start()
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
        return said

    def measure(self) -> list[Window]:
        """Run to the end, undisturbed, and say how long each moment lasted."""
        signs = list(self.stage.signs())
        seen: dict[str, float] = {}
        gone: dict[str, float] = {}
        start = time.monotonic()
        process = self.start()
        while process.poll() is None:
            for _, sign in signs:
                exists = (self.folder / sign).exists()
                if exists and sign not in seen:
                    seen[sign] = time.monotonic()
                elif not exists and sign in seen and sign not in gone:
                    gone[sign] = time.monotonic()
            time.sleep(LOOK_S)
        assert process.wait() == 0, process.communicate()[0]
        found = [("starting", None, start), *((moment, sign, seen[sign]) for moment, sign in signs if sign in seen)]
        ends = [later[2] for _, later in pairwise(found)] + [time.monotonic()]
        return [
            Window(moment, sign, (gone.get(str(sign), end) if moment == "committing" else end) - begin)
            for (moment, sign, begin), end in zip(found, ends, strict=True)
        ]

    def kill(self, windows: list[Window], victim: str, draw: random.Random) -> str | None:
        """SIGKILL to the parent or to the whole tree; at which moment, or None where the run was over by then."""
        moment = draw.choices(list(MOMENTS), list(MOMENTS.values()))[0]
        window = draw.choice([window for window in windows if window.moment == moment] or windows)
        delay = draw.uniform(0, window.length_s)
        process = self.start()
        while window.sign and not (self.folder / window.sign).exists() and process.poll() is None:
            time.sleep(LOOK_S)
        time.sleep(delay)
        if process.poll() is None and victim == "tree":
            for one in self.living():
                with suppress(psutil.NoSuchProcess):
                    one.kill()
        if process.poll() is None:
            process.kill()
        said, _ = process.communicate()
        self.wait_until_gone()
        assert process.returncode in (0, -signal.SIGKILL), said
        return self.stage.moment(self.folder) if process.returncode else None

    def living(self) -> list[psutil.Process]:
        return [process for process in psutil.process_iter() if self._is_mine(process)]

    def _is_mine(self, process: psutil.Process) -> bool:
        try:
            return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == self.mark
        except (psutil.Error, OSError):
            return False

    def wait_until_gone(self) -> None:
        """No process may outlive its parent by more than it takes to end."""
        deadline = time.monotonic() + GONE_S
        while rest := self.living():
            assert time.monotonic() < deadline, f"still alive: {[process.cmdline() for process in rest]}"
            time.sleep(0.02)


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file but locks; of the OCR cache its lines in any order, since ranks share them out."""
    cached = sorted(line for path in folder.glob(".ocr_cache/*/rank*.jsonl") for line in path.open("rb"))
    found = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".lock-") and ".ocr_cache" not in path.parts
    }
    return {**found, ".ocr_cache": hashlib.sha256(b"".join(cached)).hexdigest() + f" {len(cached)} lines"}


class Workshop:
    """A source, and every stage run once undisturbed, each when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = write_source(folder)

    @cache  # noqa: B019 - one workshop a test session
    def stage(self, name: str) -> Stage:
        chart, two = ("--dataset", "chartqa"), ("--num_workers", "2")
        if name == "download":
            return Stage(
                name, (name, "chartqa", "--source", str(self.source), "--out_dir", "{out}", *two), (None,), None
            )
        if name in ("ocr", RANKS):
            ranks = ("--num_workers", "1", "--num_processes", "2") if name == RANKS else two
            return Stage(name, ("ocr", *chart, "--raw_dir", "{out}", *ranks), ("ocr",), self.whole("download"))
        if name == "unify":
            raw_dir = str(self.whole("ocr"))
            return Stage(
                name, (name, *chart, "--raw_dir", raw_dir, "--out_dir", "{out}", *two), ("chartqa_unified",), None
            )
        tables = [part for split in SPLITS for part in (f"--{split}", f"chartqa_unified_{split}.jsonl")]
        return Stage(name, (name, "--unified_dir", "{out}", *tables, *two), SPLITS, self._tables())

    def _tables(self) -> Path:
        """The unified tables as another tool would leave them, so that merge has to read them with its workers."""
        folder = self.folder / "tables"
        folder.mkdir()
        for path in self.whole("unify").glob("chartqa_unified_t*.jsonl"):
            shutil.copy(path, folder)
        shutil.copy(self.whole("unify") / "chartqa_unified_val.jsonl", folder)
        return folder

    def whole(self, name: str) -> Path:
        """The folder of an undisturbed run."""
        self.windows(name)
        return self.folder / name

    @cache  # noqa: B019
    def windows(self, name: str) -> list[Window]:
        stage = self.stage(name)
        return Run.of(stage, stage.fresh(self.folder / name)).measure()


def write_source(folder: Path) -> Path:
    """Charts of the sample, every other one as JPEG, asked about in so many long words that stages need workers."""
    import pyarrow.parquet as pq

    write_sample(folder / "sample", SampleConfig(num_screens=6, num_charts=6, num_infographics=6))
    paths = {split: folder / "sample" / "chartqa" / "data" / f"{split}-00000-of-00001.parquet" for split in SPLITS}
    drawn = {split: pq.read_table(path).to_pylist() for split, path in paths.items()}
    repeats = WORTH_PROCESSES // LONG_QUESTION // sum(map(len, drawn.values())) + 1
    for split, lines in drawn.items():
        rows = [row(b"torn", "Torn?"), row(part_of(lines[0]["image"]["bytes"], "JPEG"), None)]
        for number, line in enumerate(lines):
            data = line["image"]["bytes"]
            image = part_of(data, "JPEG" if hashlib.sha256(data).digest()[0] % 2 else "PNG")
            rows += [row(image, long_question(line["query"], number, again), line["label"]) for again in range(repeats)]
        options = {"compression": "zstd", "dictionary_pagesize_limit": 64 << 20, "row_group_size": 1000}
        write_parquet(folder / "source", split, rows, **options)
    return folder / "source"


def long_question(text: str, *numbers: int) -> str:
    draw = random.Random(json.dumps([text, *numbers]))
    return f"{text} {draw.randbytes(LONG_QUESTION // 2).hex()}"


@cache
def part_of(data: bytes, kind: str) -> bytes:
    """The upper left of a picture: a few lines, so that OCR takes a second and not ten."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("RGB").crop((0, 0, 320, 200)).save(buffer, kind)
    return buffer.getvalue()
