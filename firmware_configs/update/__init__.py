"""Update sticks, on the kit: verify what a stick says, take a bundle from it, try it, and keep it or go back.

What lies where under ``/srv/affectkit``::

    bundles/<first 32 hexadecimal digits of Bundle.sha256>.affectkit
    bundles/current.affectkit     -> the bundle that runs
    bundles/good.affectkit        -> the last one that gave decisions for a minute
    bundles/trial.json            while current is on trial: {"bundle": NAME, "starts": N}
    update/metadata/              what The Update Framework has been shown so far, for root alone
    update/clock.json             the latest time that is certain to have passed
    update/last.json              what came of the last stick
    update/failed.json            bundles that were tried here and gave no decisions
    update/partial/               a bundle half copied

Every change is one rename that is synced, and every state between two of them is one that ``Store.recover`` knows: whenever the power
goes, the kit starts with the old or the new bundle.

A file a noun: trust (what a stick may say), media (its files), store (the bundles), probe (does it compute here), trial (does it decide
here), take (all of them in order), report (what goes back on the stick), status (what a person is told).
"""

from __future__ import annotations

import pathlib

STORE = pathlib.Path("/srv/affectkit")
ETC = pathlib.Path("/etc/affectkit")
RUN = pathlib.Path("/run/affectkit")
SERVICE = "affectkit.service"
SETTLE = "affectkit-settle.service"
