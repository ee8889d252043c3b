"""What the tests of all readers share: one running converter."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="package")
def worker():
    from convert.worker import Worker

    with Worker() as running:
        yield running
