"""What commands print: progress with the time since the start, and a manifest's numbers."""

import sys
import time

from r3pp_core.artefact import Manifest

_START = time.monotonic()


def say(message: str) -> None:
    sys.stdout.write(f"[{time.monotonic() - _START:6.1f} s] {message}\n")
    sys.stdout.flush()


def say_manifest(manifest: Manifest) -> None:
    numbers = ", ".join(f"{name} {count}" for name, count in manifest.counts.items())
    say(f"{manifest.stage}: {numbers} ({manifest.num_bytes / 1e6:.1f} MB, content {manifest.content_hash[:12]})")
    if manifest.left_out:
        say(f"{manifest.stage}: left out: {', '.join(f'{why} {n}' for why, n in manifest.left_out.items())}")
