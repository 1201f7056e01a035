"""OCR lines with their boxes, looked up by picture; parsed only when asked for."""

from pathlib import Path

import orjson

from r3pp_core.corruption.simulator import OcrLine


def ocr_table(image_root: Path, dataset: str) -> Path:
    return image_root / dataset / "ocr.jsonl"


class OcrStore:
    """Reads `<image_root>/<prefix>/ocr.jsonl` of each data set on first use and keeps only byte offsets."""

    def __init__(self, image_root: Path) -> None:
        self.image_root = image_root
        self._offsets: dict[str, dict[str, int]] = {}

    def lines(self, image_path: str) -> list[OcrLine]:
        """Lines of a picture (`<prefix>/images/<name>`), in reading order; empty when it was never read."""
        prefix, _, inner = image_path.partition("/")
        table = ocr_table(self.image_root, prefix)
        if prefix not in self._offsets:
            self._offsets[prefix] = _offsets(table) if table.is_file() else {}
        offset = self._offsets[prefix].get(inner)
        if offset is None:
            return []
        with table.open("rb") as file:
            file.seek(offset)
            record = orjson.loads(file.readline())
        return [OcrLine(text=line["text"], box=tuple(line["box"]), conf=line["conf"]) for line in record["lines"]]


def _offsets(table: Path) -> dict[str, int]:
    offsets = {}
    position = 0
    with table.open("rb") as file:
        for line in file:
            offsets[orjson.loads(line)["image_path"]] = position
            position += len(line)
    return offsets
