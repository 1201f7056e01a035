"""What every asset shows: the numbers of its manifest, under the same names everywhere."""

import base64
import os
import shutil
import time
import types
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from r3pp_core.flags import changed_fields

if TYPE_CHECKING:
    import msgspec

    from r3pp_core.artefact import Manifest

MAX_CELL_CHARS = 120
NOTHING = "nothing"
MAX_INLINE_PNG_BYTES = 90_000
NOT_WORKED_THROUGH = {"number", "weight_files", "files"}  # counts that say which, or of what, and not how much was done


Context = dg.AssetExecutionContext | dg.OpExecutionContext


def materialization(
    context: Context, manifest: "Manifest", where: Path, started: float, metadata: Mapping[str, Any] | None = None
) -> dg.MaterializeResult:
    """A result whose data version is the artefact's content hash, so that equal bytes count as unchanged.

    `started` is a time.monotonic(), from which the asset's seconds are counted. Throughput is told where something was
    made: an artefact that stood already took no time. What changed is told of assets: an op has no last one.
    """
    wall_s = time.monotonic() - started
    changed = changed_since_last(context, manifest) if isinstance(context, dg.AssetExecutionContext) else None
    shown: dict[str, Any] = {
        "summary": dg.MetadataValue.md(summary(manifest)),
        **({} if changed is None else {"changed_since_last": changed}),
        **(metadata or {}),
        "wall_s": round(wall_s, 2),
        **(throughput(manifest, wall_s) if changed not in (None, NOTHING) else {}),
        "path": dg.MetadataValue.path(str(where)),
        "bytes": manifest.num_bytes,
        "content_hash": manifest.content_hash,
        "made_with": dg.MetadataValue.json(_made_with(manifest)),
        **manifest.counts,
        **{f"left_out_{reason}": count for reason, count in manifest.left_out.items()},
    }
    if "rows" in manifest.counts:
        shown["dagster/row_count"] = manifest.counts["rows"]
    return dg.MaterializeResult(metadata=shown, data_version=dg.DataVersion(manifest.content_hash))


def _made_with(manifest: "Manifest") -> dict[str, Any]:
    return {"code_version": manifest.code_version, "config": manifest.config, "inputs": manifest.inputs}


def changed_since_last(context: dg.AssetExecutionContext, manifest: "Manifest") -> str:
    """Why this one is another than the asset's last: the inputs, config and code that differ, in a phrase."""
    last = _last_metadata(context)
    if last is None:
        return "the first one"
    before, now = last.get("made_with"), _made_with(manifest)
    made_with = before.value if isinstance(before, dg.JsonMetadataValue) else None
    if not isinstance(made_with, Mapping):
        return "not known: the last one does not say what it was made with"
    told = [
        f"{word} {', '.join(names)}"
        for kind, word in (("inputs", "input"), ("config", "config"))
        if (names := changed_fields(made_with.get(kind, {}), now[kind]))
    ]
    if (version := made_with.get("code_version", now["code_version"])) != now["code_version"]:
        told.append(f"code, version {version} to {now['code_version']}")
    was = last.get("content_hash")
    if not told and was is not None and was.value != manifest.content_hash:
        return "other content from the same inputs and config"
    return "; ".join(told) or NOTHING


def _last_metadata(context: dg.AssetExecutionContext) -> Mapping[str, Any] | None:
    """What the last materialization of this asset (and partition) showed, None where there is none."""
    partition = [context.partition_key] if context.has_partition_key else None
    of_this = dg.AssetRecordsFilter(asset_key=context.asset_key, asset_partitions=partition)
    records = context.instance.fetch_materializations(of_this, limit=1).records
    found = records[0].asset_materialization if records else None
    return None if found is None else found.metadata


def throughput(manifest: "Manifest", wall_s: float) -> dict[str, float]:
    """The first of the manifest's counts a second, such as rows_per_s; of what took none one by one, its bytes."""
    name, count = next(iter(manifest.counts.items()), ("", 0))
    if not count or name in NOT_WORKED_THROUGH or manifest.stage == "model/r3":
        name, count = "bytes", manifest.num_bytes
    return {f"{name}_per_s": round(count / wall_s, 2)} if wall_s > 0 else {}


def disk_use(folder: Path, others: Collection[Path] = ()) -> dict[str, int]:
    """What the files under `folder` take, all that was kept of it included but for those under `others`, and what is
    free beside them."""
    taken: dict[tuple[int, int], int] = {}  # by file: one that has several names takes its room once
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if Path(parent, name) not in others]
        for name in files:
            with suppress(FileNotFoundError):  # somebody's unfinished file
                found = Path(parent, name).lstat()
                taken[found.st_dev, found.st_ino] = found.st_size
    return {"disk_bytes": sum(taken.values()), "disk_free_bytes": shutil.disk_usage(folder).free}


def summary(manifest: "Manifest") -> str:
    """What is there and what was left out, in a sentence of markdown."""
    counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in manifest.counts.items())
    left_out = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in manifest.left_out.items())
    told = [f"**{manifest.stage}**: {counts or 'no counts'}", f"left out: {left_out or 'nothing'}"]
    return "; ".join([*told, f"{manifest.num_bytes / 1e6:,.1f} MB"])


def preview(table: Path, columns: Iterable[str], num_rows: int = 8) -> dg.TableMetadataValue:
    """The first rows of a JSONL or Parquet table, cells cut to a readable length."""
    names = list(columns)
    records = [dg.TableRecord({name: _cell(row.get(name)) for name in names}) for row in _head(table, num_rows)]
    schema = dg.TableSchema(columns=[dg.TableColumn(name) for name in names])
    return dg.MetadataValue.table(records=records, schema=schema)


def _head(table: Path, num_rows: int) -> list[dict[str, Any]]:
    if table.suffix == ".parquet":
        import pyarrow.parquet as pq

        with pq.ParquetFile(table) as file:
            batch = next(file.iter_batches(batch_size=num_rows), None)
        return [] if batch is None else batch.to_pylist()
    from r3pp_core.jsonl import read_jsonl

    return list(islice(read_jsonl(table), num_rows))


def _cell(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= MAX_CELL_CHARS else text[: MAX_CELL_CHARS - 1] + "…"


def column_schema(row: "type[msgspec.Struct]", more: Sequence[dg.TableColumn] = ()) -> dg.TableSchema:
    """The fields of a row, with JSON's types and what they mean; then `more` that its type passes over."""
    import msgspec

    from r3pp_core.ingest.schema import FIELDS

    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                field.name,
                {str: "string", float: "number", list: "array", dict: "object"}[kinds[0]],
                description=FIELDS[field.name],
                constraints=dg.TableColumnConstraints(nullable=type(None) in kinds),
            )
            for field in msgspec.structs.fields(row)
            for kinds in [_plain_types(field.type)]
        ]
        + list(more)
    )


def _plain_types(annotation: Any) -> list[type]:
    """`Annotated[float, ...] | None` as [float, NoneType], `list[str]` as [list]."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _plain_types(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [kind for part in typing.get_args(annotation) for kind in _plain_types(part)]
    return [typing.get_origin(annotation) or annotation]


def inline_png(png: bytes, caption: str) -> dg.MarkdownMetadataValue:
    """A small picture inside the event log, or its size where it would be too large to keep there."""
    if len(png) > MAX_INLINE_PNG_BYTES:
        return dg.MetadataValue.md(f"{caption}: {len(png)} bytes, too large to show inline; see `path`")
    data = base64.b64encode(png).decode()
    return dg.MetadataValue.md(f"![{caption}](data:image/png;base64,{data})")


def rejected_result(manifest: "Manifest", limit: float, where: str, ignored: Sequence[str] = ()) -> dg.AssetCheckResult:
    """Passed when at most `limit` of what went in was left out, but for `ignored` reasons; `where` are the rows."""
    from r3pp_core.ingest.checks import rejected_share

    share = rejected_share(manifest, ignored)
    return dg.AssetCheckResult(
        passed=share <= limit,
        metadata={"rejected_share": share, "limit": limit, "reasons": manifest.left_out},
        description=f"{share:.2%} were left out (limit {limit:.0%}); see {where}",
    )


def problems_result(
    problems: list[str], what: str, severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
) -> dg.AssetCheckResult:
    """Passed when nothing was found; otherwise the first problems as metadata and description."""
    return dg.AssetCheckResult(
        passed=not problems,
        severity=severity,
        description=f"{what}: {problems[0]}" if problems else f"{what}: none",
        metadata={"num_problems": len(problems), "problems": dg.MetadataValue.json(problems[:20])},
    )
