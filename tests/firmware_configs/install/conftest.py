"""One device that is installed, for all tests that only look at it or take its virtual environment over."""

from __future__ import annotations

import pytest

from tests.firmware_configs.install.rig import Device, make_device


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Device:
    device = make_device(tmp_path_factory.mktemp("installed"))
    device.install()
    return device
