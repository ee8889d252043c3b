"""A pytest plugin (``-p emulated``): properties are tried on fewer examples, for an emulated processor is thirty times slower.

The profile ``affectkit`` of ``tests/conftest.py`` has 50; ``--hypothesis-profile=emulated`` chooses this one. Deadlines stay off.
"""

from __future__ import annotations

import hypothesis

hypothesis.settings.register_profile("emulated", deadline=None, derandomize=True, max_examples=8)
