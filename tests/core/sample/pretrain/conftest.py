"""A small backbone with random weights, to compute with and to copy."""

import pytest

from r3pp_core.model.backbone import load_backbone
from r3pp_core.sample.backbones import build_small_backbone


@pytest.fixture(scope="session")
def random_backbone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("random") / "backbone"
    build_small_backbone(folder, ["What is the price of a lamp?", "It costs 36 dollars."])
    return load_backbone(folder)
