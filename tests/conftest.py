"""What all tests share: where the public sets lie, and where the embedded bundle and session are."""

from __future__ import annotations

import os
import pathlib

import hypothesis
import pytest

from edge import embedded

# A busy machine must not fail a property; what is slow shows in the durations.
hypothesis.settings.register_profile("affectkit", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("affectkit")

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data() -> pathlib.Path:
    """The folder of the public sets: $AFFECTKIT_DATA, or shared/data beside the clone; the test is skipped without it."""
    folder = pathlib.Path(os.environ.get("AFFECTKIT_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the public sets are not at {folder}; set AFFECTKIT_DATA")
    return folder


@pytest.fixture(scope="session")
def embedded_bundle() -> pathlib.Path:
    return embedded.BUNDLE


@pytest.fixture(scope="session")
def embedded_session() -> pathlib.Path:
    return embedded.SESSION
