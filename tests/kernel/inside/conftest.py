"""What the checks inside the machine share. Their files are called ``check_*.py``, so that nobody else's pytest collects them."""

from __future__ import annotations

import collections.abc
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.extend([str(HERE), str(HERE.parent)])  # behind everything: those who do not run the rig import nothing from here


def bus_called(name: str) -> int:
    """Number of the I2C bus whose adapter's name has ``name`` in it; the rig has them all, so without one the check fails."""
    for path in sorted(pathlib.Path("/sys/class/i2c-dev").glob("i2c-*/name")):
        if name in path.read_text():
            return int(path.parent.name.removeprefix("i2c-"))
    pytest.fail(f"no I2C adapter is called {name}: its driver did not load, or it was not plugged in")


@pytest.fixture
def adapter() -> int:
    """The bus with the simulated chips, on USB."""
    return bus_called("tiny")


@pytest.fixture
def stub() -> int:
    """The bus of the kernel's i2c-stub: an array of registers at 0x48 and 0x57."""
    return bus_called("stub")


@pytest.fixture
def chipset() -> int:
    """The bus of the chipset, an ICH9 SMBus controller."""
    return bus_called("I801")


@pytest.fixture
def trouble(adapter: int) -> collections.abc.Callable[[int, float], None]:
    """Asks the adapter for trouble of a kind, for so many seconds, a tenth of a second from now."""
    import smbus2
    from adapter import CONTROL_ADDRESS

    def ask(kind: int, seconds: float) -> None:
        with smbus2.SMBus(adapter) as bus:
            bus.write_byte_data(CONTROL_ADDRESS, kind, round(seconds * 10))

    return ask
