"""Every error that affectkit raises on purpose.

::

    EdgeError(Exception)                    exit status 1
    ├── InputError(ValueError)              exit status 2: what the user gave is bad
    │   ├── BundleError                     a bundle is damaged, truncated, newer or tampered with
    │   ├── ConfigError                     kit.toml says something that cannot be
    │   ├── SessionError                    a recorded session is damaged or lacks a track
    │   └── PurposeError(PermissionError)   live capture without a lawful, declared purpose
    ├── SensorError(OSError)                a source stopped or cannot be opened
    ├── InferenceError(RuntimeError)        no interpreter works here, or a stage failed
    └── ConversionError(RuntimeError)       a conversion failed or missed its gates

A message is one line: what, where, what was got, what to do.
"""

from __future__ import annotations


class EdgeError(Exception):
    """Root of all errors raised on purpose; ``exit_status`` is what a command ends with."""

    exit_status = 1


class InputError(EdgeError, ValueError):
    """What the user gave is bad: a file, an option, a setting."""

    exit_status = 2


class BundleError(InputError):
    """A bundle is damaged, truncated, from a newer version, or not what its hashes say."""


class ConfigError(InputError):
    """``kit.toml`` says something that cannot be."""


class SessionError(InputError):
    """A recorded session is damaged or lacks a track."""


class PurposeError(InputError, PermissionError):
    """Live capture was asked for without a declared purpose, or with one that the law forbids."""


class SensorError(EdgeError, OSError):
    """A source stopped or cannot be opened."""


class InferenceError(EdgeError, RuntimeError):
    """No interpreter works here, or a stage failed to run."""


class ConversionError(EdgeError, RuntimeError):
    """A conversion failed, or its result missed a gate."""
