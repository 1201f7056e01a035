"""Made-up tables of any size for the ingest benchmark, as download and OCR would have left them."""

import random
from pathlib import Path

import orjson

from r3pp_core import code_versions
from r3pp_core.artefact import Outcome, Request, build, require_manifest
from r3pp_core.ingest.download import raw_table, raw_target
from r3pp_core.ingest.line_chunks import line_chunks
from r3pp_core.ingest.ocr import ocr_path, ocr_target
from r3pp_core.ingest.ocr_index import chunk_places, index_path, write_index

ROWS_A_PICTURE = 3
OCR_CHARS = 600
LINES_A_PICTURE = 20
VAL_SHARE = 20  # one picture in twenty is of val
WORDS = ["total", "revenue", "march", "harbour", "price", "average", "visitors", "store", "rating", "green", "open"]


def make_tables(raw_dir: Path, dataset: str, num_rows: int) -> None:
    """`raw_dir` as download and OCR leave it: train and val tables of `num_rows` rows in all, ocr.jsonl with boxes."""
    draw = random.Random(0)

    def raw(staging: Path) -> Outcome:
        with (
            raw_table(staging, dataset, "train").open("wb") as train,
            raw_table(staging, dataset, "val").open("wb") as val,
        ):
            for number in range(num_rows):
                picture = number // ROWS_A_PICTURE
                split, out = ("val", val) if picture % VAL_SHARE == 0 else ("train", train)
                out.write(
                    orjson.dumps(_raw_row(dataset, split, number, picture, draw), option=orjson.OPT_APPEND_NEWLINE)
                )
        return Outcome(counts={"rows": num_rows})

    build(raw_target(raw_dir), Request(f"raw/{dataset}", "benchmark", {"rows": num_rows}, {}), raw)
    content = require_manifest(raw_target(raw_dir), "make_tables").content_hash

    def ocr(staging: Path) -> Outcome:
        with ocr_path(staging).open("wb") as out:
            for picture in range((num_rows + ROWS_A_PICTURE - 1) // ROWS_A_PICTURE):
                out.write(orjson.dumps(_ocr_row(picture, draw), option=orjson.OPT_APPEND_NEWLINE))
        write_index(map(chunk_places, line_chunks(ocr_path(staging))), index_path(ocr_path(staging)))
        (staging / "ocr.rejected.jsonl").write_bytes(b"")
        return Outcome(counts={})

    build(ocr_target(raw_dir), Request(f"ocr/{dataset}", code_versions.OCR, {}, {"raw": content}), ocr)


def image_name(picture: int) -> str:
    split = "validation" if picture % VAL_SHARE == 0 else "train"
    return f"images/{split}_{picture}.png"


def _raw_row(dataset: str, split: str, number: int, picture: int, draw: random.Random) -> dict:
    return {
        "id": f"{dataset}/{split}/{number}",
        "dataset": dataset,
        "split": split,
        "question": f"What {draw.choice(WORDS)} has {draw.choice(WORDS)} {number % 1000} in {draw.choice(WORDS)}?",
        "answers": [str(number % 977), f"{number % 977} units"],
        "meta": {"human_or_machine": number % 2},
        "image": image_name(picture),
        "image_sha256": f"{picture:064x}",
    }


def _ocr_row(picture: int, draw: random.Random) -> dict:
    width = OCR_CHARS // LINES_A_PICTURE - 1
    texts = [" ".join(draw.choices(WORDS, k=6))[:width].strip() for _ in range(LINES_A_PICTURE)]
    lines = [
        {"text": text, "box": [12.5, 20.0 * n, 240.5, 20.0 * n + 16], "conf": 0.9512} for n, text in enumerate(texts)
    ]
    return {
        "image_path": image_name(picture),
        "image_sha256": f"{picture:064x}",
        "ocr_text": "\n".join(texts),
        "ocr_conf": 0.9512,
        "width": 480,
        "height": 800,
        "phash": f"{draw.getrandbits(256):064x}",
        "lines": lines,
    }
