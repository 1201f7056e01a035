"""`make demo`: the whole graph on the sample, through Dagster, and the scores at the end."""

import argparse
import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from r3pp_assets.storage import refuse_network_storage
from r3pp_core.errors import R3Error, UsageError
from r3pp_core.profiles import DRAWN

PROJECT_DIR = Path(__file__).resolve().parents[1]
SETTINGS = "workspace.json"
LOOK_TIMEOUT_S = "900"
GATE_STEPS = {"gate", "champion"}


def set_environment(root: Path, profile: str, source: Path | None) -> None:
    """Point Dagster and the definitions at this workspace; its run history lives inside it.

    Raises R3Error where SQLite files must not lie there.
    """
    storage = root / ".dagster"
    refuse_network_storage(PROJECT_DIR / "dagster_home", storage)
    storage.mkdir(parents=True, exist_ok=True)
    os.environ.update(
        DAGSTER_HOME=str(PROJECT_DIR / "dagster_home"),
        R3PP_PROFILE=profile,
        R3PP_ROOT=str(root),
        R3PP_STORAGE=str(storage),
        # A look at a source reads what changed there, which takes minutes where that is gigabytes.
        DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS=LOOK_TIMEOUT_S,
        DAGSTER_SCHEDULE_GRPC_TIMEOUT_SECONDS=LOOK_TIMEOUT_S,
    )
    if source is None:
        os.environ.pop("R3PP_SOURCE", None)
    else:
        os.environ["R3PP_SOURCE"] = str(source)
    (root / SETTINGS).write_text(json.dumps({"profile": profile, "source": str(source) if source else None}) + "\n")


def settings_of(root: Path) -> tuple[str, Path | None]:
    """The profile and source that a workspace was made with, so that its UI makes the same again."""
    path = root / SETTINGS
    if not path.is_file():
        return os.environ.get("R3PP_PROFILE", "sample"), None
    settings = json.loads(path.read_text(encoding="utf-8"))
    return settings["profile"], Path(settings["source"]) if settings["source"] else None


def refuse_other_settings(root: Path, profile: str, source: Path | None) -> None:
    """Raise UsageError when the workspace was made with another profile or source, whose data this would replace."""
    if not (root / SETTINGS).is_file():
        return
    made_by, made_from = settings_of(root)
    if (made_by, made_from) != (profile, source):
        made_with = f"profile {made_by}, source {made_from or 'its own'}"
        raise UsageError(f"{root} was made with {made_with}; give those again, or another --root")


def workspace_root(profile: str, source: Path | None) -> Path:
    """A source has a workspace of its own, so that the sample's stays what it is."""
    if source is None:
        return PROJECT_DIR / "workspace" / profile
    digest = hashlib.sha256(str(source).encode()).hexdigest()[:8]
    of_profile = "" if profile == "sample" else f"-{profile}"
    return PROJECT_DIR / "workspace" / f"source-{source.name}-{digest}{of_profile}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="r3pp demo")
    parser.add_argument("--source", type=Path)
    parser.add_argument("--profile", choices=DRAWN, default="sample")
    parser.add_argument("--root", type=Path)
    args = parser.parse_args()
    source = args.source.resolve() if args.source else None
    root = (args.root or workspace_root(args.profile, source)).resolve()
    started = time.monotonic()
    try:
        refuse_other_settings(root, args.profile, source)
        set_environment(root, args.profile, source)
        failed = materialize_stale(root)
        closed = gate_reasons() if failed and failed <= GATE_STEPS else []
        if failed and not closed:
            sys.stderr.write(f"error: the run failed; `{ui_command(root)}` shows where and why\n")
            return 1
        show_scores(root)
        for reason in closed:
            sys.stdout.write(f"the gate is closed, no new champion: {reason}\n")
    except R3Error as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except OSError as error:
        sys.stderr.write(f"error: {error.strerror or error}: {error.filename or root}\n")
        return 1
    sys.stdout.write(f"open the UI: {ui_command(root)}\ndone in {time.monotonic() - started:.0f} s\n")
    return 0


def materialize_stale(root: Path) -> set[str]:
    """Run whatever is stale in one Dagster run, nothing when nothing is; returns the steps that failed."""
    import dagster as dg

    from r3pp_assets.definitions import defs
    from r3pp_assets.resources.environment import workspace_from_environment
    from r3pp_assets.staleness import changed_sources, stale_assets, with_descendants

    definitions = defs()
    job = definitions.resolve_job_def("proof")
    keys = set(job.asset_layer.executable_asset_keys)
    with dg.DagsterInstance.get() as instance:
        graph = definitions.resolve_asset_graph()
        stale = stale_assets(graph, instance, keys)
        stale |= with_descendants(graph, changed_sources(workspace_from_environment())) & keys
        if not stale:
            sys.stdout.write(f"all {len(keys)} assets in {root} are up to date, nothing to launch\n")
            return set()
        sys.stdout.write(f"materializing {len(stale)} of {len(keys)} assets in {root}\n")
        sys.stdout.flush()
        with dg.execute_job(
            dg.reconstructable(full_job),
            instance=instance,
            asset_selection=sorted(stale),
            run_config={"loggers": {"brief": {}}},
        ) as result:
            failed = {event.step_key or "" for event in result.all_events if event.is_step_failure}
            return failed if failed or result.success else {"the run"}


def gate_reasons() -> list[str]:
    """Why the gate does not let the production model pass; a result of the demo and no failure of it."""
    from r3pp_assets.defs.evaluate.assets import candidate_of
    from r3pp_assets.resources.environment import workspace_from_environment
    from r3pp_core.champion.promotion import verdict_on

    workspace = workspace_from_environment()
    return verdict_on(candidate_of(workspace.paths, "r3"), workspace.paths.champion_dir, workspace.gate_config).reasons


def full_job() -> Any:
    from r3pp_assets.definitions import defs

    return defs().resolve_job_def("proof")


def show_scores(root: Path) -> None:
    from r3pp_assets.resources.environment import workspace_from_environment
    from r3pp_core.evaluation.recovery import recovery_text
    from r3pp_core.evaluation.reporting import read_results
    from r3pp_core.evaluation.scoring import score_table
    from r3pp_core.workspace import Workspace

    folder = Workspace(root).results_dir("report")
    results = read_results(folder)
    sys.stdout.write("\n" + score_table(results, workspace_from_environment().heading) + recovery_text(results))
    sys.stdout.write(f"\nreport: {folder / 'report.html'}\n")


def ui_command(root: Path) -> str:
    default = PROJECT_DIR / "workspace" / "sample"
    return "make ui" if root == default else f"make ui ROOT={root}"


if __name__ == "__main__":
    sys.exit(main())
