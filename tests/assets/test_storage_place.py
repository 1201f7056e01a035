"""SQLite on a network file system is refused, with the way out."""

from types import SimpleNamespace

import psutil
import pytest

from r3pp_assets import storage
from r3pp_assets.demo import PROJECT_DIR
from r3pp_assets.storage import file_system, refuse_network_storage
from r3pp_core.errors import R3Error

SQLITE = "storage:\n  sqlite:\n    base_dir: x\n"


@pytest.fixture
def mounted(monkeypatch, tmp_path):
    """`mounted(kind)`: a folder that the system calls a mount of that kind."""

    def mount(kind):
        found = [SimpleNamespace(mountpoint="/", fstype="ext4"), SimpleNamespace(mountpoint=str(tmp_path), fstype=kind)]
        monkeypatch.setattr(psutil, "disk_partitions", lambda all: found)
        (tmp_path / "dagster.yaml").write_text(SQLITE)
        return tmp_path

    return mount


@pytest.mark.parametrize("service", ["code", "webserver", "daemon"])
def test_every_service_looks_first_and_reads_the_settings_that_say_where(service):
    unit = (PROJECT_DIR / "deploy" / "systemd" / f"r3pp-{service}.service").read_text().splitlines()
    assert "ExecStartPre=/srv/r3pp/.venv/bin/python -m r3pp_assets.storage" in unit
    assert "EnvironmentFile=/etc/r3pp.env" in unit
    settings = (PROJECT_DIR / "deploy" / "r3pp.env").read_text().splitlines()
    assert {"DAGSTER_HOME", "R3PP_STORAGE"} <= {line.split("=")[0] for line in settings}


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "lustre", "fuse.sshfs", "fuse.glusterfs"])
def test_network_file_systems_are_refused(mounted, kind):
    folder = mounted(kind)
    with pytest.raises(R3Error, match=rf"lies on {folder}, a network file system \({kind}\).*or use PostgreSQL"):
        refuse_network_storage(folder, folder / "a" / ".dagster")


@pytest.mark.parametrize("kind", ["ext4", "xfs", "overlay", "tmpfs", "fuse.gocryptfs"])
def test_local_ones_are_not(mounted, kind):
    folder = mounted(kind)
    refuse_network_storage(folder, folder / ".dagster")
    assert file_system(folder / "not" / "there") == (str(folder), kind)


def test_with_postgresql_the_folder_does_not_matter(mounted):
    folder = mounted("nfs4")
    (folder / "dagster.yaml").write_text("storage:\n  postgres:\n    postgres_url: x\n")
    refuse_network_storage(folder, folder)


def test_the_command_that_the_service_runs_first_says_it_in_one_sentence(mounted, monkeypatch, capsys):
    folder = mounted("nfs4")
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    monkeypatch.setenv("R3PP_STORAGE", str(folder))
    assert storage.main() == 1
    assert capsys.readouterr().err.startswith(f"error: {folder} lies on {folder}, a network file system")
    mounted("ext4")
    assert storage.main() == 0
    monkeypatch.delenv("R3PP_STORAGE")
    assert storage.main() == 1
    assert capsys.readouterr().err == "error: R3PP_STORAGE is not set\n"
