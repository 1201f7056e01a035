"""One small backbone on disk for all tests of the model, and a fresh model from it for each test that asks."""

from collections.abc import Callable
from pathlib import Path

import pytest
from prepared_rows import TEXTS, small_config

from r3pp_core.model.backbone import load_backbone
from r3pp_core.sample.backbones import build_small_backbone


@pytest.fixture(scope="session")
def backbone_dir(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "backbone"
    build_small_backbone(folder, TEXTS)
    return folder


@pytest.fixture(scope="session")
def shared_backbone(backbone_dir):
    """For tests that read its tokenizer and image processor; a model built on it would change it."""
    return load_backbone(backbone_dir)


@pytest.fixture(scope="session")
def new_model(backbone_dir) -> Callable:
    """`new_model(**config fields)` on a backbone of its own, same weights every time, in evaluation mode."""

    def make(dtype="float32", **fields):
        import torch

        from r3pp_core.model.r3 import R3Model

        torch.manual_seed(0)
        return R3Model(load_backbone(backbone_dir, dtype=dtype), small_config(**fields)).eval()

    return make


@pytest.fixture(scope="session")
def model(new_model):
    """With every module and LoRA, for tests that only read it."""
    return new_model()


@pytest.fixture(autouse=True, scope="session")
def _two_threads():
    """Small matrices: more threads only wait for each other."""
    import torch

    torch.set_num_threads(1)
