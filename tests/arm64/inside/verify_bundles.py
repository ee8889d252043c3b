"""The golden vectors of bundles, one JSON object a line as it is done: what ``affectkit verify --json`` says, without a start for each.

``float`` says of a stage that it answers in float, where a difference is absolute and not in steps.

Usage: ``verify_bundles.py BUNDLE...``; exit status 1 when one cannot be run at all, which its line says.
"""

from __future__ import annotations

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3]))

from edge.bundle import load_bundle
from edge.errors import EdgeError
from edge.inspect import verify


def main(paths: list[str]) -> int:
    failed = False
    for path in paths:
        try:
            bundle = load_bundle(pathlib.Path(path))
            said = verify(bundle)
            for name, stage in said["stages"].items():
                outputs = [array for key, array in bundle.golden(name).items() if key.startswith("output_")]
                stage["float"] = any(array.dtype.kind == "f" for array in outputs)
        except EdgeError as error:
            said, failed = {"failed": str(error)}, True
        print(json.dumps({"bundle": path, **said}), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
