"""What share of a demo's wall time Dagster costs: everything outside the bodies of assets and checks.

    python benchmarks/orchestration.py            a fresh demo on the embedded sample, in a folder that is removed
    python benchmarks/orchestration.py --root R   the newest whole run of a demo that was already made

The bodies of assets and checks do nothing but call r3pp_core and turn its manifests into metadata, so their time
counts as r3pp_core's; starting Python, loading definitions, planning, events and storage count as Dagster's. The limit
is zero: `bare` is what the same functions take with nothing around them.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from r3pp_assets.demo import set_environment, settings_of

TARGET_SHARE = 1 / 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path)
    args = parser.parse_args()
    if args.root:
        show(args.root.resolve(), None)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "workspace"
        started = time.monotonic()
        subprocess.run([sys.executable, "-m", "r3pp_assets.demo", "--root", str(root)], check=True)
        show(root, time.monotonic() - started)


def show(root: Path, wall_s: float | None) -> None:
    import dagster as dg

    profile, source = settings_of(root)
    set_environment(root, profile, source)
    with dg.DagsterInstance.get() as instance:
        records = instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS], job_name="full"))
        record = max(records, key=lambda record: record.end_time - record.start_time)
        stats = instance.get_run_step_stats(record.dagster_run.run_id)
    run_s = record.end_time - record.start_time
    bodies = {step.step_key: step.end_time - step.start_time for step in stats if step.end_time and step.start_time}
    bare_s = sum(bodies.values())
    total_s = wall_s or run_s
    for name, seconds in sorted(bodies.items(), key=lambda item: -item[1])[:12]:
        sys.stdout.write(f"{seconds:8.1f} s  {name.replace('__', '/')}\n")
    sys.stdout.write(f"steps: {len(bodies)}; bare {bare_s:.1f} s; run {run_s:.1f} s; whole command {total_s:.1f} s\n")
    share = 1 - bare_s / total_s
    verdict = "within" if share < TARGET_SHARE else "ABOVE"
    sys.stdout.write(f"outside r3pp_core: {share:.1%} of the wall time, {verdict} the target of {TARGET_SHARE:.0%}\n")


if __name__ == "__main__":
    main()
