"""The words for what is left out are one closed list, in the code and in the document."""

import ast
import inspect
from pathlib import Path

import r3pp_core
from r3pp_core import pictures
from r3pp_core.ingest.reasons import Reason

ROOT = Path(r3pp_core.__file__).parents[1]


def test_every_reason_that_opening_a_picture_gives_is_a_reason():
    """r3pp_core.pictures knows no stage, so it spells them out itself."""
    calls = [node for node in ast.walk(ast.parse(inspect.getsource(pictures))) if isinstance(node, ast.Call)]
    raised = [call.args[0] for call in calls if getattr(call.func, "id", None) == "PictureError"]
    words = {word.value for word in raised if isinstance(word, ast.Constant)}
    assert len(words) == 3
    assert len(raised) >= 5
    assert all(isinstance(word, ast.Constant) for word in raised)
    assert words <= set(Reason)


def test_every_reason_is_explained_in_the_document():
    text = (ROOT / "docs" / "ingest.md").read_text(encoding="utf-8")
    assert [reason for reason in Reason if f"`{reason}`" not in text] == []
