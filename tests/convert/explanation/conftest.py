"""What the tests of explanations share: the embedded bundle, and the first seconds of the embedded session as one of its own."""

from __future__ import annotations

import pytest

from edge.bundle import Bundle, load_bundle
from edge.sensors.replay import merged
from edge.session import Session, open_session
from edge.session_writer import SessionWriter
from edge.types import Chunk

SECONDS = 5.0


@pytest.fixture(scope="package")
def bundle(embedded_bundle) -> Bundle:
    return load_bundle(embedded_bundle)


@pytest.fixture(scope="package")
def chunks(embedded_session) -> list[Chunk]:
    """Face and voice, and body signals that are too short to be used, as they came."""
    found = []
    for chunk in merged(open_session(embedded_session)):
        if chunk.end_ns > SECONDS * 1e9:
            break
        found.append(chunk)
    return found


@pytest.fixture(scope="package")
def short(chunks, tmp_path_factory) -> Session:
    path = tmp_path_factory.mktemp("short") / "short.session.zip"
    with SessionWriter(path, title="Short <lesson>", consent="folder 3", duration_ms=SECONDS * 1000) as writer:
        for chunk in chunks:
            writer.add(chunk)
    return open_session(path)
