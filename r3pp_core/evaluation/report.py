"""The report: one HTML page that carries its style, plots and pictures, and asks the network for nothing."""

import base64
import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from r3pp_core.errors import R3Error
from r3pp_core.evaluation import plots
from r3pp_core.evaluation.cases import OUTCOMES, SHOWN_OUTCOMES, Case, choose_cases
from r3pp_core.evaluation.comparison import BASE, R3
from r3pp_core.evaluation.recovery import CONTROL, recovery_rows
from r3pp_core.evaluation.text_table import signed_interval
from r3pp_core.pictures import DECODE_ERRORS, PictureError, open_picture, picture_inside

if TYPE_CHECKING:
    from jinja2 import Environment
    from PIL import Image

PICTURE_SIDE_PX: Final = 340
EVIDENCE_SIDE_PX: Final = 150
_JPEG_QUALITY: Final = 82
FEW_PICTURES: Final = 20
"""Below this a percentile interval from resampling pictures covers too little, and the page says so."""

AGAINST_TITLES: Final = {
    CONTROL: "the control (the same training without evidence)",
    "base_ocr": "the base with OCR text",
    BASE: "the base",
}

DamagedImage = Callable[[Mapping[str, Any]], "Image.Image"]


def render_report(
    results: Mapping[str, Any],
    samples: Iterable[Mapping[str, Any]],
    image_root: Path,
    heading: str | None = None,
    damaged_image: DamagedImage | None = None,
) -> str:
    """The page of `score_samples`' results as one HTML text; every value is escaped by the template engine.

    `samples` are those that were scored; twelve of them become cases. `damaged_image(sample)` draws the picture as the
    model saw it. A picture that cannot be opened is said in its case. `heading` becomes a banner on top.
    """
    environment = template_environment()
    environment.filters["percent"] = _percent
    environment.filters["number"] = _number
    environment.filters["signed_interval"] = lambda entry: signed_interval(entry).replace("-", "\u2212")
    environment.filters["arm_title"] = plots.arm_title
    environment.filters["metric_title"] = plots.metric_title
    cases = choose_cases(results, samples)
    datasets = [_dataset_view(results, name) for name in results["results"]]
    return environment.get_template("report.html.jinja").render(
        heading=heading,
        results=results,
        recovery=results["recovery"],
        recovery_rows=recovery_rows(results["recovery"]) if results["recovery"] else [],
        against=AGAINST_TITLES[results["recovery"]["against"]] if results["recovery"] else None,
        datasets=datasets,
        ablation_levels=sorted({level for d in datasets for level in d["ablation_levels"]}, key=float),
        summary=_summary(results),
        few_pictures=_few_pictures(results),
        few_pictures_limit=FEW_PICTURES,
        reliability=_png_address(plots.reliability(results)) if results["confidence"] else None,
        signature=_flat_signature(results["signature"]),
        outcomes=OUTCOMES,
        shown_outcomes=SHOWN_OUTCOMES,
        num_outcomes=cases.num_outcomes,
        case_levels=cases.levels,
        cases=[_case_view(case, image_root, damaged_image) for case in cases.shown],
    )


def template_environment() -> "Environment":
    """The pages' template engine: every value escaped, an unknown name an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("r3pp_core.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _dataset_view(results: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What the template shows of a data set: its table rows and its plots as data addresses."""
    arms = results["results"][name]
    levels = sorted({level for by_level in arms.values() for level in by_level}, key=float)
    main = [arm for arm in plots.ARM_TITLES if arm in arms]
    ablations = sorted(set(arms) - set(plots.ARM_TITLES))
    ablation_levels = [level for level in levels if any(level in arms[arm] for arm in ablations)]
    drawn = {kind: _png_address(png) for kind, png in plots.dataset_plots(results, name).items()}
    return {
        "name": name,
        "metric": results["primary"][name],
        "counts": results["n-samples"][name],
        "levels": levels,
        "main": main,
        "ablations": ablations,
        "ablation_levels": ablation_levels,
        "curves": drawn["curves"],
        "ablation_plot": drawn.get("ablations"),
        "ablation_plot_level": plots.ablation_level(results, name),
        "operator_plot": drawn.get("operators"),
    }


def _summary(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One line a data set: the paired difference R3 - base, clean and at the highest level they share."""
    lines = []
    for name, compared in results["differences"].items():
        by_level = compared.get(f"{R3} - {BASE}", {})
        if by_level:
            ends = list(dict.fromkeys((min(by_level, key=float), max(by_level, key=float))))
            areas = results["robustness"][name].get(R3, {}).get("area_differences", {})
            lines.append(
                {
                    "name": name,
                    "metric": results["primary"][name],
                    "ends": [(level, by_level[level]) for level in ends],
                    "area": areas.get(f"{R3} - {BASE}"),
                }
            )
    return lines


def _few_pictures(results: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Which scores stand on fewer than FEW_PICTURES, with the least number of pictures behind one of them."""
    least: dict[str, int] = {}
    for dataset, arms in results["results"].items():
        for cell in (cell for by_level in arms.values() for cell in by_level.values()):
            subsets = {f"{dataset}, {name} questions": part for name, part in cell["subsets"].items()}
            for where, part in {dataset: cell, **subsets}.items():
                least[where] = min(part["num_pictures"], least.get(where, part["num_pictures"]))
        for by_operator in results["operators"][dataset].values():
            for operator, entry in by_operator.items():
                where = f"{dataset}, damage by {operator.replace('_', ' ')}"
                least[where] = min(entry["num_clusters"], least.get(where, entry["num_clusters"]))
    return [(where, number) for where, number in least.items() if number < FEW_PICTURES]


def _flat_signature(signature: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    flat: list[tuple[str, str]] = []
    for key, value in signature.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        flat += _flat_signature(value, f"{name} · ") if isinstance(value, Mapping) else [(name, str(value))]
    return flat


def _case_view(case: Case, image_root: Path, damaged_image: DamagedImage | None) -> dict[str, Any]:
    def stored(path: str, side_px: int) -> dict[str, str | None]:
        return thumbnail(lambda: open_picture(picture_inside(image_root, path)), side_px)

    return {
        "case": case,
        "asked": case.r3["asked"] if case.r3.get("asked", case.r3["question"]) != case.r3["question"] else None,
        "picture": stored(case.r3["image_path"], PICTURE_SIDE_PX),
        "damaged": thumbnail(lambda: damaged_image(case.r3), PICTURE_SIDE_PX) if damaged_image else None,
        "operators": ", ".join(f"{o['name']} {o['strength']:.2f}" for o in case.r3.get("operators") or ()),
        "evidence": [
            {**hit, "picture": stored(hit["image_path"], EVIDENCE_SIDE_PX)}
            for hit in case.r3.get("evidence") or ()
            if hit.get("image_path")
        ],
    }


def thumbnail(draw: Callable[[], "Image.Image"], side_px: int) -> dict[str, str | None]:
    """The picture as a JPEG data address that fits into a square of `side_px`, or why there is none."""
    try:
        picture = draw().convert("RGB")
    except (R3Error, *DECODE_ERRORS) as error:
        return {"address": None, "missing": _reason(error)}
    picture.thumbnail((side_px, side_px))
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=_JPEG_QUALITY)
    return {"address": f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}", "missing": None}


def _reason(error: Exception) -> str:
    """Why there is no picture, without the machine's own paths."""
    if isinstance(error, PictureError):
        return error.reason.replace("_", " ")
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _png_address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
