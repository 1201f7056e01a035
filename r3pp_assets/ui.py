"""`make ui`: Dagster's webserver and daemon on 127.0.0.1 over one workspace."""

import argparse
import os
import sys
from pathlib import Path

from r3pp_assets.demo import PROJECT_DIR, set_environment, settings_of
from r3pp_core.errors import R3Error
from r3pp_core.profiles import PROFILES


def main() -> int:
    parser = argparse.ArgumentParser(prog="r3pp ui")
    parser.add_argument("--port", type=int, default=3000)
    parser.add_argument("--root", type=Path)
    args = parser.parse_args()
    root = (args.root or PROJECT_DIR / "workspace" / os.environ.get("R3PP_PROFILE", "sample")).resolve()
    if args.root and not args.root.is_dir():
        sys.stderr.write(f"error: --root {args.root} is not a folder; `make demo` makes a workspace\n")
        return 2
    profile, source = settings_of(root)
    if profile not in PROFILES:
        sys.stderr.write(f"error: unknown profile {profile!r}: choose one of {', '.join(PROFILES)}\n")
        return 2
    try:
        set_environment(root, profile, source)
    except R3Error as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    command = ["dagster", "dev", "-w", "workspace.yaml", "--host", "127.0.0.1", "--port", str(args.port)]
    sys.stdout.write(f"profile {profile}, workspace {root}: http://127.0.0.1:{args.port} (Ctrl-C ends it)\n")
    sys.stdout.flush()
    os.chdir(PROJECT_DIR)
    return os.execv(sys.executable, [sys.executable, "-m", *command])


if __name__ == "__main__":
    sys.exit(main())
