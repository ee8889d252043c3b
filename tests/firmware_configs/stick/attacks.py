"""Bad sticks: each builder makes a real one from a good one, with real keys.

For the tests of both sides::

    workshop = Workshop.make(tmp_path / "workshop")          # tests/firmware_configs/stick/workshop.py
    kit takes workshop.good                                  # must succeed; root is workshop.root, time is workshop.now
    stick = ATTACKS[name](workshop)                          # a folder, as if mounted
    kit takes stick                                          # must be refused in one line; the bundle of workshop.good still runs
    kit takes workshop.newer                                 # must succeed: the attack has poisoned nothing

Every stick here has, or claims to have, numbers above those of ``workshop.good`` unless it says otherwise. Those in ``FRESH`` must be
refused also by a kit that has never taken a stick. Those in ``HARMLESS`` are clutter round a good stick: a kit that does not look at what
it was not told of may take them. A builder that this machine cannot serve (device files need root) skips the test.
"""

from __future__ import annotations

from tests.firmware_configs.stick import attacks_on_bundles, attacks_on_files, attacks_on_keys, attacks_on_versions
from tests.firmware_configs.stick.attacks_on_bundles import custom, flex_bundle, golden_bundle
from tests.firmware_configs.stick.register import ATTACKS, FRESH, HARMLESS

__all__ = ["ATTACKS", "FRESH", "HARMLESS", "custom", "flex_bundle", "golden_bundle"]
_REGISTERED = (attacks_on_bundles, attacks_on_files, attacks_on_keys, attacks_on_versions)
