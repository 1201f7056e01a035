"""What the Hub is asked, what its answers become, and that a repository which does not answer stops no other."""

from types import SimpleNamespace

import httpx2
import huggingface_hub
import pytest
from huggingface_hub.errors import RepositoryNotFoundError

from r3pp_core.errors import R3Error
from r3pp_core.ingest import revisions
from r3pp_core.ingest.revisions import Place, look_at_hub, newest_revision
from r3pp_core.profiles import PROFILES
from r3pp_core.workspace import Workspace


@pytest.fixture
def hub(monkeypatch):
    """A stub of HfApi: `answers` by repository (a commit, or what is raised) and the calls it got."""
    answers, calls = {}, []

    class Api:
        def repo_info(self, repo_id, *, repo_type, timeout):
            calls.append((repo_id, repo_type, timeout))
            answer = answers.get(repo_id, "f" * 40)
            if isinstance(answer, Exception):
                raise answer
            return SimpleNamespace(sha=answer)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    return SimpleNamespace(answers=answers, calls=calls)


def look(tmp_path):
    return look_at_hub(PROFILES["full"].hub_models, Workspace(tmp_path))


def test_the_newest_revision_is_the_commit_of_the_main_branch_asked_within_a_limit(hub):
    hub.answers["vidore/infovqa_train"] = "a" * 40
    assert newest_revision("vidore/infovqa_train", "dataset") == "a" * 40
    assert hub.calls == [("vidore/infovqa_train", "dataset", revisions.TIMEOUT_S)]


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (httpx2.ConnectError("no route to host"), "no route to host"),
        (httpx2.ReadTimeout(""), "ReadTimeout"),
        (ConnectionError("offline mode is enabled\nsecond line"), "offline mode is enabled"),
        (
            RepositoryNotFoundError(
                "401 Client Error\nRepository Not Found",
                response=httpx2.Response(401, request=httpx2.Request("GET", "x")),
            ),
            "401 Client Error",
        ),
    ],
    ids=["network", "timeout", "offline", "not found"],
)
def test_a_hub_that_does_not_answer_is_one_sentence_that_names_the_repository(hub, raised, words):
    hub.answers["openai/clip"] = raised
    with pytest.raises(R3Error) as caught:
        newest_revision("openai/clip", "model")
    assert str(caught.value) == f"the Hub cannot be asked for openai/clip: {words}"


def test_a_repository_without_a_commit_has_no_newest(hub):
    hub.answers["openai/clip"] = None
    with pytest.raises(R3Error, match="names no commit of openai/clip"):
        newest_revision("openai/clip", "model")


def test_every_repository_is_asked_once_and_pins_are_known(hub, tmp_path):
    found = {place.name: place for place in look(tmp_path).places}
    assert {"raw/screenqa train", "raw/infovqa test", "models/backbone"} <= set(found)
    assert [name for name, place in found.items() if not place.is_pinned] == ["raw/infovqa train"]
    asked = [repo for repo, _, _ in hub.calls]
    assert len(asked) == len(set(asked))
    assert {place.repo for place in found.values()} == set(asked)
    assert {repo: kind for repo, kind, _ in hub.calls}["openai/clip-vit-base-patch32"] == "model"


def test_a_repository_that_cannot_be_asked_keeps_no_other_from_it(hub, tmp_path):
    whole = look(tmp_path)
    repo = whole.places[0].repo  # the very first that is asked
    hub.answers[repo] = httpx2.ConnectError("no route to host")
    found = look(tmp_path)
    assert found.places == [place for place in whole.places if place.repo != repo]
    assert found.not_asked == [f"the Hub cannot be asked for {repo}: no route to host"]


def test_only_a_branch_that_was_fetched_can_have_moved():
    place = Place("raw", "infovqa", "train", "a/b", "c" * 40, "d" * 40, is_pinned=False)
    changes = [{}, {"is_pinned": True}, {"held": None}, {"newest": "c" * 40}]
    assert [Place(**{**vars(place), **change}).has_moved for change in changes] == [True, False, False, False]
