"""Dagster's history in PostgreSQL, by the block that dagster.yaml documents: a real server, a real materialization."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml
from conftest import free_port

from r3pp_assets.demo import PROJECT_DIR

pytestmark = pytest.mark.system


@pytest.fixture
def server():
    """The address of an empty database on a server of its own, which runs as the user postgres.

    Its files lie outside pytest's own folders, which only their owner may enter.
    """
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
    port = str(free_port())

    def as_postgres(program, *arguments):
        command = ["runuser", "-u", "postgres", "--", str(programs / program), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")

    with tempfile.TemporaryDirectory(prefix="r3pp-postgresql-") as folder:
        shutil.chown(folder, "postgres")
        data = f"{folder}/data"
        as_postgres("initdb", "-D", data, "-A", "trust", "-E", "UTF8")
        options = f"-p {port} -k {data} -c listen_addresses=127.0.0.1"
        as_postgres("pg_ctl", "-D", data, "-w", "-l", f"{data}/log", "-o", options, "start")
        try:
            as_postgres("createdb", "-h", "127.0.0.1", "-p", port, "dagster")
            yield f"postgresql+psycopg2://postgres@127.0.0.1:{port}/dagster"
        finally:
            as_postgres("pg_ctl", "-D", data, "-m", "immediate", "stop")


def with_postgres(text: str) -> str:
    """dagster.yaml with its first storage block commented out and the commented one in."""
    lines = text.splitlines()
    start = lines.index("storage:")
    end = next(number for number in range(start, len(lines)) if lines[number].startswith("# PostgreSQL instead"))
    for number in range(start, end):
        lines[number] = f"# {lines[number]}"
    start = lines.index("# storage:", end)
    for number in range(start, lines.index("", start)):
        lines[number] = lines[number].removeprefix("# ")
    return "\n".join(lines) + "\n"


def test_a_materialization_lands_in_postgresql_and_in_no_sqlite_file(server, tmp_path):
    home, storage, root = (tmp_path / name for name in ("home", "storage", "root"))
    for folder in (home, storage, root):
        folder.mkdir()
    settings = with_postgres((PROJECT_DIR / "dagster_home" / "dagster.yaml").read_text())
    assert yaml.safe_load(settings)["storage"] == {"postgres": {"postgres_url": {"env": "R3PP_POSTGRES_URL"}}}
    (home / "dagster.yaml").write_text(settings)
    env = {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "R3PP_STORAGE": str(storage),
        "R3PP_ROOT": str(root),
        "R3PP_PROFILE": "sample",
        "R3PP_POSTGRES_URL": server,
    }
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "r3pp_assets.definitions"]
    result = subprocess.run([*command, "--select", "key:models/minilm"], env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    assert (root / "models" / "minilm" / "manifest.json").is_file()
    asked = (
        "import dagster as dg\n"
        "with dg.DagsterInstance.get() as instance:\n"
        "    (record,) = instance.get_run_records()\n"
        "    event = instance.get_latest_materialization_event(dg.AssetKey(['models', 'minilm']))\n"
        "    print(type(instance.run_storage).__name__, record.dagster_run.status.value, event.run_id == "
        "record.dagster_run.run_id)"
    )
    told = subprocess.run([sys.executable, "-c", asked], env=env, capture_output=True, text=True, check=True).stdout
    assert told.split() == ["PostgresRunStorage", "SUCCESS", "True"]
    assert list(storage.rglob("*.db")) == []
