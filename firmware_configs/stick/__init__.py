"""Update sticks, made on a workstation: signed bundles that a kit takes without a network, and the reports that kits leave.

A stick holds a repository of The Update Framework (specification 1.0.33, https://theupdateframework.github.io/specification/)
with consistent snapshots, section 7::

    affectkit-update/metadata/N.root.json      which keys count; every version, so that a kit can follow from the one it has
                              timestamp.json   the newest state; with ``signed_at``, under which a kit's clock never goes again
                              N.snapshot.json  version of the list of targets
                              N.targets.json   what is on the stick, with lengths and SHA-256
    affectkit-update/targets/SHA256.NAME.affectkit
    affectkit-reports/HOSTNAME/...             left by kits

The files here are a noun each: keys, root, repository, bundles, media (the stick itself), reports, page.
"""

from __future__ import annotations

FOLDER = "affectkit-update"
REPORTS = "affectkit-reports"
METADATA = "metadata"
TARGETS = "targets"
SUFFIX = ".affectkit"
SPEC_VERSION = "1.0.33"
"""Of The Update Framework, as the metadata says it."""
DAILY = ("targets", "snapshot", "timestamp")
"""Roles whose keys sign every stick; that of the root signs only changes of keys."""
ROLES = ("root", *DAILY)
