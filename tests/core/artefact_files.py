"""What the artefact tests write; free of pytest, so that the processes that get killed start fast."""

from pathlib import Path

from r3pp_core.artefact import Outcome, Request

OLD = {"a.txt": "old a", "old.txt": "old only", "images/1.png": "old 1", "images/2.png": "old 2"}
NEW = {"a.txt": "new a, longer", "sub/new.txt": "new only", "images/1.png": "new 1"}


def request(version="1", **config):
    return Request(stage="test", code_version=version, config=config, inputs={"table": "abc"})


def maker(files, **outcome):
    """A stage that writes `files`; those below images/ are summarised as a tree."""

    def make(staging):
        for name, text in files.items():
            (staging / name).parent.mkdir(exist_ok=True)
            (staging / name).write_text(text)
        tree = {Path(name).name: text for name, text in files.items() if name.startswith("images/")}
        return Outcome(counts={"files": len(files)}, trees={"images": tree} if tree else {}, **outcome)

    return make
