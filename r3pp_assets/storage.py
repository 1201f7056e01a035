"""Refuses Dagster's SQLite files on a network file system, where locks do not hold and histories get corrupted.

`python -m r3pp_assets.storage` looks at DAGSTER_HOME and R3PP_STORAGE and ends with 1 where they may not be used.
"""

import os
import sys
from pathlib import Path

import psutil
import yaml

from r3pp_core.errors import R3Error

SERVERS = ("nfs", "nfs3", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "virtiofs", "sshfs", "curlftpfs", "davfs")
CLUSTERS = ("lustre", "ceph", "cephfs", "glusterfs", "gpfs", "beegfs", "orangefs", "pvfs2", "wekafs", "mfs", "juicefs")
OBJECT_STORES = ("s3fs", "goofys", "geesefs", "rclone", "gcsfuse", "blobfuse", "blobfuse2", "seaweedfs")
NETWORK_TYPES = frozenset((*SERVERS, *CLUSTERS, *OBJECT_STORES))


def refuse_network_storage(home: Path, storage: Path) -> None:
    """Raise R3Error where `storage` would hold SQLite files on a network file system; PostgreSQL may live anywhere."""
    try:
        settings = yaml.safe_load((home / "dagster.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise R3Error(f"{home / 'dagster.yaml'} cannot be read ({error}); DAGSTER_HOME has to hold it") from error
    if "postgres" in ((settings or {}).get("storage") or {}):
        return
    mount, kind = file_system(storage)
    if kind.removeprefix("fuse.") in NETWORK_TYPES:
        raise R3Error(
            f"{storage} lies on {mount}, a network file system ({kind}), where SQLite's locks do not hold: set "
            "R3PP_STORAGE to a folder on a local disk, or use PostgreSQL (docs/operate.md)"
        )


def file_system(path: Path) -> tuple[str, str]:
    """Mount point and type of the file system that `path` lies on, or would."""
    path = path.resolve()
    mounts = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    around = [mount for mount in mounts if path.is_relative_to(mount)]
    mount = max(around, key=lambda found: len(found.parts), default=Path("/"))
    return str(mount), mounts.get(mount, "unknown")


def main() -> int:
    try:
        refuse_network_storage(Path(os.environ["DAGSTER_HOME"]), Path(os.environ["R3PP_STORAGE"]))
    except KeyError as error:
        sys.stderr.write(f"error: {error.args[0]} is not set\n")
        return 1
    except R3Error as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
