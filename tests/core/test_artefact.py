"""What a stage writes is whole or absent, made once, and the same every time."""

import fcntl
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from artefact_files import NEW, OLD, maker, request

from r3pp_core.artefact import (
    Outcome,
    Request,
    Target,
    build,
    content_hash_of,
    fresh_manifest,
    hash_file,
    is_whole,
    manifest_beside,
    read_manifest,
    require_manifest,
)
from r3pp_core.errors import R3Error

# Builds NEW over OLD and dies by SIGKILL at the n-th call that touches the disk; n = 0 counts the calls.
KILLED_BUILD = """
import os, pathlib, shutil, signal, sys
sys.path.insert(0, sys.argv[3])
import artefact_files
from r3pp_core.artefact import Target, build

target, point, calls = Target(pathlib.Path(sys.argv[1])), int(sys.argv[2]), 0

def deadly(function):
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == point:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call

for owner, name in ((pathlib.Path, "rename"), (pathlib.Path, "replace"), (pathlib.Path, "unlink"),
                    (pathlib.Path, "write_text"), (shutil, "rmtree"), (os, "fsync")):
    setattr(owner, name, deadly(getattr(owner, name)))
build(target, artefact_files.request("new"), artefact_files.maker(artefact_files.NEW))
print(calls)
"""


def never(staging):
    raise AssertionError("the stage ran again")


def contents(folder):
    """What a reader finds: every file but the artefact's own."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and not path.relative_to(folder).parts[0].startswith(".") and path.name != "manifest.json"
    }


@pytest.fixture
def target(tmp_path):
    return Target(tmp_path / "artefact")


def test_a_build_leaves_its_files_and_a_manifest_that_describes_them(target):
    manifest = build(target, request(seed=3), maker(NEW, left_out={"torn": 2, "none": 0}))
    assert contents(target.folder) == NEW
    assert read_manifest(target) == manifest
    assert manifest.config == {"seed": 3}
    assert manifest.left_out == {"torn": 2}
    assert manifest.files["a.txt"] == {"bytes": 13, "sha256": hash_file(target.folder / "a.txt")}
    assert manifest.trees["images"]["count"] == 1
    assert manifest.num_bytes == sum(len(text) for text in NEW.values())


def test_a_matching_artefact_is_not_made_again_and_says_so(target):
    said: list[str] = []
    made = build(target, request(), maker(NEW))
    assert build(target, request(), never, progress=said.append) == made
    assert "nothing to do" in said[0]


@pytest.mark.parametrize(
    "other",
    [request("2"), request(seed=1), Request("test", "1", {}, {"table": "another"})],
    ids=["code", "config", "in"],
)
def test_other_code_config_or_input_makes_it_again(target, other):
    build(target, request(), maker(OLD))
    build(target, other, maker(NEW))
    assert contents(target.folder) == NEW


def test_force_makes_it_again(target):
    build(target, request(), maker(OLD))
    build(target, request(), maker(NEW), force=True)
    assert contents(target.folder) == NEW


@pytest.mark.parametrize("name", ["a.txt", "images/1.png"])
def test_an_artefact_that_lost_a_file_is_made_again(target, name):
    build(target, request(), maker(NEW))
    (target.folder / name).unlink()
    assert fresh_manifest(target, request()) is None
    build(target, request(), maker(NEW))
    assert contents(target.folder) == NEW


def test_files_that_only_the_old_artefact_had_are_removed(target):
    build(target, request("old"), maker(OLD))
    build(target, request("new"), maker({"a.txt": "alone"}))
    assert contents(target.folder) == {"a.txt": "alone"}
    assert not (target.folder / "images").exists()


def test_files_of_others_in_the_folder_stay(target):
    build(target, request("old"), maker(OLD))
    (target.folder / "mine.txt").write_text("mine")
    build(target, request("new"), maker(NEW))
    assert contents(target.folder) == {**NEW, "mine.txt": "mine"}


def test_named_artefacts_share_a_folder_without_touching_each_other(tmp_path):
    one, other = Target(tmp_path, "one"), Target(tmp_path, "other")
    build(one, request("old"), maker({"one.txt": "1", "gone.txt": "1"}))
    kept = build(other, request(), maker({"other.txt": "2"}))
    build(one, request("new"), maker({"one.txt": "1"}))
    assert read_manifest(other) == kept
    assert is_whole(other, kept)
    assert not (tmp_path / "gone.txt").exists()


def test_the_same_request_gives_the_same_bytes_and_content_hash(tmp_path):
    targets = [Target(tmp_path / name) for name in ("one", "other")]
    manifests = [build(target, request(), maker(NEW)) for target in targets]
    assert manifests[0] == manifests[1]
    texts = [target.manifest_path.read_bytes() for target in targets]
    assert texts[0] == texts[1]


def test_one_changed_byte_in_a_file_or_a_tree_changes_the_content_hash(tmp_path):
    changed = [NEW, {**NEW, "a.txt": "NEW a, longer"}, {**NEW, "images/1.png": "NEW 1"}]
    hashes = [build(Target(tmp_path / str(i)), request(), maker(files)).content_hash for i, files in enumerate(changed)]
    assert len(set(hashes)) == 3


def test_a_stage_that_fails_leaves_the_old_artefact_and_nothing_half_written(target):
    old = build(target, request("old"), maker(OLD))

    def fail(staging):
        (staging / "a.txt").write_text("half")
        raise R3Error("line 3 is not JSON")

    with pytest.raises(R3Error, match="line 3"):
        build(target, request("new"), fail)
    assert read_manifest(target) == old
    assert contents(target.folder) == OLD
    assert not target.staging.exists()


def run_killed(folder, point):
    command = [sys.executable, "-c", KILLED_BUILD, str(folder), str(point), str(Path(__file__).parent)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_kill_at_any_moment_leaves_the_old_artefact_or_the_new_one(tmp_path):
    whole = Target(tmp_path / "whole")
    build(whole, request("old"), maker(OLD))
    num_calls = int(run_killed(whole.folder, 0).stdout)
    assert num_calls > 12
    outcomes = []
    for point in range(1, num_calls + 1):
        target = Target(tmp_path / str(point))
        old = build(target, request("old"), maker(OLD))
        assert run_killed(target.folder, point).returncode == -signal.SIGKILL
        manifest = read_manifest(target)
        assert manifest is not None, f"killed at call {point}"
        outcomes.append(manifest == old)
        assert contents(target.folder) == (OLD if manifest == old else NEW), f"killed at call {point}"
        build(target, request("new"), maker(NEW))
        assert contents(target.folder) == NEW
        assert {path.name for path in target.folder.glob(".*")} == {".lock-artefact"}
    assert outcomes == sorted(outcomes, reverse=True), "once the new one stands it stays"
    assert set(outcomes) == {True, False}


def test_a_first_build_that_is_killed_before_its_commit_leaves_no_artefact(tmp_path):
    target = Target(tmp_path / "artefact")
    assert run_killed(target.folder, 3).returncode == -signal.SIGKILL
    assert target.staging.is_dir()
    assert read_manifest(target) is None
    assert contents(target.folder) == {}


def test_a_second_writer_is_refused_with_the_first_ones_pid(target):
    def make(staging):
        with pytest.raises(
            R3Error, match=r"another process \(pid \d+ since .*\) is writing .*; wait for it or stop it"
        ):
            build(target, request(), never)
        return Outcome(counts={})

    build(target, request(), make)


def test_a_lock_left_by_a_dead_process_does_not_count(target):
    target.folder.mkdir()
    with target.lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("pid 1 since 1970")
    assert build(target, request(), maker(NEW)).counts == {"files": 3}


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(R3Error, match=r"^test: cannot write .*/file/inner: Not a directory$"):
        build(Target(tmp_path / "file" / "inner"), request(), never)


def test_a_target_that_refuses_writing_is_one_sentence_and_keeps_the_old_artefact(target):
    build(target, request("old"), maker(OLD))
    script = (
        "import resource, signal, sys, pathlib; sys.path.insert(0, sys.argv[2]); import artefact_files as t\n"
        "from r3pp_core.artefact import Target, build; from r3pp_core.errors import R3Error\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: build(Target(pathlib.Path(sys.argv[1])), t.request('new'), t.maker({'big.txt': 'x' * 9999}))\n"
        "except R3Error as error: print(error)\n"
    )
    command = [sys.executable, "-c", script, str(target.folder), str(Path(__file__).parent)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == f"test: cannot write {target.folder}: File too large\n"
    assert contents(target.folder) == OLD


def test_a_foreign_manifest_is_named_with_the_remedy(target):
    target.folder.mkdir()
    for text in ('{"stage": "from another version"}', "not JSON", "[]"):
        target.manifest_path.write_text(text)
        with pytest.raises(R3Error, match=r"manifest.json is not a manifest of this version .*; remove it"):
            read_manifest(target)


def test_what_was_never_made_is_asked_for_by_its_command(target):
    with pytest.raises(R3Error, match=r"nothing finished at .*manifest.json; run `r3pp ocr` first"):
        require_manifest(target, "r3pp ocr")


def test_a_full_disk_is_named_with_its_free_space(target):
    """/dev/full is a disk without space."""

    def fill(staging):
        with Path("/dev/full").open("w") as file:
            file.write("x")
        raise AssertionError("it was written")

    with pytest.raises(
        R3Error,
        match=rf"^test: cannot write {target.folder}, where \d+ MB are free \(free some and run it again\): No sp",
    ):
        build(target, request(), fill)
    assert not target.staging.exists()


def test_a_file_elsewhere_that_cannot_be_read_is_named_instead_of_the_target(target, tmp_path):
    with pytest.raises(R3Error, match=rf"^test: cannot use {tmp_path}/gone.jsonl: No such file or directory$"):
        build(target, request(), lambda staging: (tmp_path / "gone.jsonl").read_text())


def test_a_hash_that_the_stage_knows_is_taken_and_the_rest_is_hashed(target):
    """Of a file hashed while it was written no byte is read again; a wrong hash would be found by whoever reads."""
    manifest = build(target, request(), maker(NEW, hashes={"a.txt": "known"}))
    assert manifest.files["a.txt"] == {"bytes": 13, "sha256": "known"}
    assert manifest.files["sub/new.txt"]["sha256"] == hash_file(target.folder / "sub/new.txt")
    assert manifest.content_hash != build(target, request(), maker(NEW), force=True).content_hash


def test_the_manifest_beside_a_file_is_the_one_that_names_it_while_it_is_untouched(tmp_path):
    made = [build(Target(tmp_path, name), request(), maker({f"{name}.txt": name})) for name in ("one", "other")]
    assert [manifest_beside(tmp_path / name) for name in ("one.txt", "other.txt", "mine.txt")] == [*made, None]
    (tmp_path / "one.txt").write_text("two")  # as long as before
    (tmp_path / "other.txt").unlink()
    assert [manifest_beside(tmp_path / name) for name in ("one.txt", "other.txt")] == [None, None]


def test_the_content_hash_of_a_file_follows_its_bytes_and_not_an_outdated_manifest(target):
    build(target, request(), maker({"a.txt": "one"}))
    path = target.folder / "a.txt"
    assert content_hash_of(path) == hash_file(path)
    path.write_text("two")  # as long as before
    assert content_hash_of(path) == hash_file(path)


@pytest.mark.parametrize("text", ["not JSON", "[]", '{"files": []}', json.dumps({"files": {"a.txt": 1}})])
def test_the_content_hash_of_a_file_does_not_trip_over_somebody_elses_manifest(tmp_path, text):
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "webmanifest.json").write_text(text)
    assert content_hash_of(tmp_path / "a.txt") == hash_file(tmp_path / "a.txt")


def test_the_content_hash_of_a_missing_file_names_it(tmp_path):
    with pytest.raises(R3Error, match=r"a.txt does not exist"):
        content_hash_of(tmp_path / "a.txt")
