from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from toy_bundle import write_toy_bundle

from cxr_pacs.inference import Bundle, Engine, load_bundle, load_engine
from cxr_pacs.inference.bundle import pack_weights


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return write_toy_bundle(tmp_path / "toy")


@pytest.fixture(scope="session")
def toy_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(write_toy_bundle(tmp_path_factory.mktemp("toy"), size=224))


@pytest.fixture(scope="session")
def engine(toy_bundle: Bundle) -> Engine:
    return load_engine(toy_bundle, "cpu")


@pytest.fixture(scope="session")
def reading_lungs_only(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """An engine whose network sees only what is dark, and about it."""
    folder = write_toy_bundle(tmp_path_factory.mktemp("lungs"), size=224, lungs="lung-fields-area")
    return load_engine(load_bundle(folder), "cpu")


@pytest.fixture
def repack(toy: Path):
    """Replaces the toy bundle's weights and states their digest."""

    def replace(weights) -> Path:
        old = hashlib.sha256((toy / "weights.npz").read_bytes()).hexdigest()
        packed = weights if isinstance(weights, bytes) else pack_weights(weights)
        (toy / "weights.npz").write_bytes(packed)
        manifest = toy / "bundle.toml"
        manifest.write_text(manifest.read_text().replace(old, hashlib.sha256(packed).hexdigest()))
        return toy

    return replace
