"""What every asset shows: the numbers of its manifest, under the same names everywhere."""

import base64
import time
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    import msgspec

    from r3pp_core.artefact import Manifest

MAX_CELL_CHARS = 120
MAX_INLINE_PNG_BYTES = 90_000


def materialization(
    manifest: "Manifest", where: Path, metadata: Mapping[str, Any] | None = None, started: float | None = None
) -> dg.MaterializeResult:
    """A result whose data version is the artefact's content hash, so that equal bytes count as unchanged.

    `started` is a time.monotonic(), from which the asset's seconds are counted.
    """
    shown: dict[str, Any] = {
        "summary": dg.MetadataValue.md(summary(manifest)),
        **(metadata or {}),
        **({} if started is None else {"wall_s": round(time.monotonic() - started, 2)}),
        "path": dg.MetadataValue.path(str(where)),
        "bytes": manifest.num_bytes,
        "content_hash": manifest.content_hash,
        "made_with": dg.MetadataValue.json({"config": manifest.config, "inputs": manifest.inputs}),
        **manifest.counts,
        **{f"left_out_{reason}": count for reason, count in manifest.left_out.items()},
    }
    if "rows" in manifest.counts:
        shown["dagster/row_count"] = manifest.counts["rows"]
    return dg.MaterializeResult(metadata=shown, data_version=dg.DataVersion(manifest.content_hash))


def summary(manifest: "Manifest") -> str:
    """What is there and what was left out, in a sentence of markdown."""
    counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in manifest.counts.items())
    left_out = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in manifest.left_out.items())
    told = [f"**{manifest.stage}**: {counts or 'no counts'}", f"left out: {left_out or 'nothing'}"]
    return "; ".join([*told, f"{manifest.num_bytes / 1e6:,.1f} MB"])


def preview(table: Path, columns: Iterable[str], num_rows: int = 8) -> dg.TableMetadataValue:
    """The first rows of a JSONL table, cells cut to a readable length."""
    from r3pp_core.jsonl import read_jsonl

    names = list(columns)
    records = [
        dg.TableRecord({name: _cell(row.get(name)) for name in names}) for row in islice(read_jsonl(table), num_rows)
    ]
    schema = dg.TableSchema(columns=[dg.TableColumn(name) for name in names])
    return dg.MetadataValue.table(records=records, schema=schema)


def _cell(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= MAX_CELL_CHARS else text[: MAX_CELL_CHARS - 1] + "…"


def column_schema(row: "type[msgspec.Struct]") -> dg.TableSchema:
    """The fields of a row, with JSON's types and what they mean."""
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
