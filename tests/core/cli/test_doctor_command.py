"""`r3pp doctor`: its lines, and its exit code for a script."""

import dataclasses

from r3pp_core.launch import doctor


def test_findings_are_lines_and_blockers_exit_1(r3pp, tmp_path, monkeypatch):
    machine = doctor.look(tmp_path)
    healthy = dataclasses.replace(machine, faiss=["faiss-cpu"], disk_free=10**12, shm_bytes=10**10)
    monkeypatch.setattr(doctor, "look", lambda folder: healthy)
    said = r3pp(f"doctor --workspace {tmp_path}")
    assert said.code == 0
    assert f"ok      1000.0 GB are free for {tmp_path}" in said.out.splitlines()
    monkeypatch.setattr(doctor, "look", lambda folder: dataclasses.replace(healthy, faiss=[]))
    said = r3pp(f"doctor --workspace {tmp_path}")
    assert said.code == 1
    assert "blocker no faiss" in said.out
    assert "1 of" in said.err
