"""Which column comes from which: what Dagster draws from raw rows to merged ones."""

from collections.abc import Iterable, Mapping

import dagster as dg

OCR_COLUMNS = {"ocr_text": "ocr_text", "ocr_conf": "ocr_conf", "pseudo_text": "ocr_text"}
RAW_COLUMNS = {
    "id": "id",
    "dataset": "dataset",
    "split": "split",
    "image_path": "image",
    "image_sha256": "image_sha256",
    "question": "question",
    "answer": "answers",
    "answers": "answers",
    "meta": "meta",
}


def ocr_lineage(dataset: str) -> dg.TableColumnLineage:
    raw = dg.AssetKey(["raw", dataset])
    return _lineage({"image_path": [(raw, "image")], "image_sha256": [(raw, "image_sha256")]})


def unified_lineage(dataset: str) -> dg.TableColumnLineage:
    raw, ocr = dg.AssetKey(["raw", dataset]), dg.AssetKey(["ocr", dataset])
    columns = {name: [(raw, source)] for name, source in RAW_COLUMNS.items()}
    columns |= {name: [(ocr, source)] for name, source in OCR_COLUMNS.items()}
    columns["meta"] = [(raw, "meta"), (ocr, "phash")]
    return _lineage(columns)


def merged_lineage(datasets: Iterable[str]) -> dg.TableColumnLineage:
    keys = [dg.AssetKey(["unified", dataset]) for dataset in datasets]
    return _lineage({name: [(key, name) for key in keys] for name in (*RAW_COLUMNS, *OCR_COLUMNS)})


def index_lineage() -> dg.TableColumnLineage:
    merged = dg.AssetKey(["merged", "train"])
    same = ("image_path", "image_sha256", "dataset", "pseudo_text")
    return _lineage({**{name: [(merged, name)] for name in same}, "row_ids": [(merged, "id")]})


def _lineage(columns: Mapping[str, list[tuple[dg.AssetKey, str]]]) -> dg.TableColumnLineage:
    return dg.TableColumnLineage(
        {
            name: [dg.TableColumnDep(asset_key=key, column_name=column) for key, column in sources]
            for name, sources in columns.items()
        }
    )
