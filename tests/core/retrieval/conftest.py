"""A tiny random CLIP in the Hub's layout, a corpus of a dozen pictures, and indices over given vectors."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from r3pp_core.jsonl import write_jsonl
from r3pp_core.retrieval.build import build_index
from r3pp_core.retrieval.encoders import ClipImageEncoder, SentenceEncoder, load_image_encoder, load_text_encoder
from r3pp_core.retrieval.faiss_index import make_faiss_index
from r3pp_core.retrieval.metadata import IndexEntry, Metadata, write_metadata
from r3pp_core.retrieval.minilm import copy_packaged_minilm
from r3pp_core.retrieval.search import Index

NUM_PICTURES = 12
PIXELS = 32
NO_TEXT = (3, 7)


@dataclass(frozen=True)
class Corpus:
    jsonl: Path
    image_root: Path
    sha256s: list[str]
    no_text: tuple[int, ...] = NO_TEXT


@pytest.fixture(scope="session")
def random_unit() -> Callable[[int, int, int], np.ndarray]:
    """(num, dim, seed) -> float32 [num, dim] of unit length."""

    def draw(num: int, dim: int, seed: int) -> np.ndarray:
        vectors = np.random.default_rng(seed).normal(size=(num, dim)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    return draw


def write_tiny_clip(folder: Path, seed: int) -> Path:
    """Two layers, d = 16, with the preprocessor_config.json of openai/clip-vit-base-patch32 at 32 pixels."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    tower = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**tower, "vocab_size": 99},
        vision_config={**tower, "image_size": PIXELS, "patch_size": 8},
        projection_dim=16,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        CLIPModel(config).save_pretrained(folder)
    settings = {
        "crop_size": PIXELS,
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3,
        "size": PIXELS,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def write_corpus(folder: Path) -> Corpus:
    """NUM_PICTURES pictures; each even one stands in three rows, the rows of a picture are not adjacent."""
    from PIL import Image

    image_root = folder / "raw"
    (image_root / "chartqa" / "images").mkdir(parents=True)
    rng = np.random.default_rng(5)
    first, again, sha256s = [], [], []
    for number in range(NUM_PICTURES):
        image_path = f"chartqa/images/train_{number}.png"
        pixels = rng.integers(0, 256, (4, 3, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((40, 52), Image.Resampling.NEAREST).save(image_root / image_path)
        sha256s.append(hashlib.sha256((image_root / image_path).read_bytes()).hexdigest())
        row = {
            "id": f"chartqa/train/{number}",
            "dataset": "chartqa",
            "image_path": image_path,
            "image_sha256": sha256s[-1],
            "question": "how many?",
            "pseudo_text": " \n" if number in NO_TEXT else f"sales of shop {number} in {2000 + number}",
        }
        first.append(row)
        again += [{**row, "id": f"{row['id']}-{copy}"} for copy in "bc" if number % 2 == 0]
    write_jsonl(folder / "train.jsonl", first + again)
    return Corpus(folder / "train.jsonl", image_root, sha256s)


@pytest.fixture(scope="session")
def clip_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("clip"), seed=0)


@pytest.fixture(scope="session")
def clip(clip_dir: Path) -> ClipImageEncoder:
    return load_image_encoder(clip_dir)


@pytest.fixture(scope="session")
def minilm_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "minilm"
    copy_packaged_minilm(folder)
    return folder


@pytest.fixture(scope="session")
def minilm(minilm_dir: Path) -> SentenceEncoder:
    return load_text_encoder(minilm_dir)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def own_corpus(tmp_path: Path) -> Corpus:
    """A corpus that a test may damage."""
    return write_corpus(tmp_path)


@pytest.fixture(scope="session")
def image_index_dir(tmp_path_factory: pytest.TempPathFactory, corpus: Corpus, clip_dir: Path) -> Path:
    out_dir = tmp_path_factory.mktemp("indices")
    build_index("image", corpus.jsonl, corpus.image_root, out_dir, clip_dir)
    return out_dir / "image"


@pytest.fixture(scope="session")
def text_index_dir(tmp_path_factory: pytest.TempPathFactory, corpus: Corpus, minilm_dir: Path) -> Path:
    out_dir = tmp_path_factory.mktemp("indices")
    build_index("text", corpus.jsonl, corpus.image_root, out_dir, minilm_dir)
    return out_dir / "text"


@pytest.fixture
def index_of(tmp_path: Path) -> Callable[..., Index]:
    """An index over given vectors; entry i has the picture hash "sha-i"."""

    def make(vectors: np.ndarray, index_type: str = "Flat", search_parameters: str | None = None) -> Index:
        entries = [IndexEntry(f"images/{i}.png", f"sha-{i}", "chartqa", f"text {i}") for i in range(len(vectors))]
        write_metadata(tmp_path / "metadata.parquet", entries, np.ones(len(vectors), bool))
        faiss_index = make_faiss_index(vectors, np.arange(len(vectors)), index_type, search_parameters)
        details = {"kind": "image", "index_type": index_type}
        return Index(vectors, faiss_index, Metadata.read(tmp_path / "metadata.parquet"), details)

    return make
