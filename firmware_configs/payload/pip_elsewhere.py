"""Runs pip as if this were another machine: ``python pip_elsewhere.py ENVIRONMENT ARGUMENT...``.

``pip --platform --python-version`` chooses wheels for another machine, yet reads the conditions in requirements ("; python_version <
'3.12'", "; sys_platform == 'darwin'") as they are on this one (pip issue 11664): it would leave out what the device needs, or look on
macOS for packages of macOS. Here they are read with the variables of ENVIRONMENT, a JSON object (PEP 508, "Environment Markers").
"""

from __future__ import annotations

import json
import sys


def main() -> int:
    environment = json.loads(sys.argv[1])
    from pip._vendor.packaging import markers

    markers.default_environment = lambda: dict(environment)
    condition = f'platform_machine == "{environment["platform_machine"]}" and python_full_version == "{environment["python_full_version"]}"'
    if not markers.Marker(condition).evaluate():
        # Looked at before it matters: a pip that reads conditions otherwise must not choose wrong wheels in silence.
        print("ERROR: this version of pip cannot be told what another machine is; install another one", file=sys.stderr)
        return 1
    from pip._internal.cli.main import main as pip

    return pip(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
