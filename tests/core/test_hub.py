"""Whatever stands between here and the Hub, everyone who fetches from it answers with one sentence."""

import httpx2
import pytest

from r3pp_core.errors import R3Error
from r3pp_core.ingest.config import DownloadConfig
from r3pp_core.ingest.download import download
from r3pp_core.ingest.models import get_model
from r3pp_core.model.backbone import load_backbone
from r3pp_core.profiles import PROFILES


@pytest.fixture
def proxy_refuses(monkeypatch):
    def refuse(*args, **kwargs):
        raise httpx2.ProxyError("407 Proxy Authentication Required")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)


@pytest.mark.usefixtures("proxy_refuses")
@pytest.mark.parametrize(
    "fetch",
    [
        lambda folder: download("chartqa", folder, DownloadConfig()),
        lambda folder: get_model("clip", folder, PROFILES["full"]),
        lambda folder: load_backbone("Qwen/Qwen3-VL-8B-Instruct"),
    ],
    ids=["data set", "model", "backbone"],
)
def test_a_proxy_that_refuses_is_one_sentence(fetch, tmp_path):
    with pytest.raises(R3Error, match=r"chartqa|clip|Qwen"):
        fetch(tmp_path / "out")
