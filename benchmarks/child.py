"""``python -m benchmarks.child JOB.json``: one scenario's work in a process of its own, told by ``harness.in_child``."""

import time

BEGAN_NS = time.monotonic_ns()
"""The first line of Python that ran."""

import importlib  # noqa: E402  (after the clock was read)
import json  # noqa: E402
import pathlib  # noqa: E402
import sys  # noqa: E402


def main(path: str) -> int:
    """Do what the file at ``path`` says and write the answer where it says; 0, or 1 with one line on standard error."""
    from benchmarks.harness import Order
    from edge.errors import EdgeError

    job = json.loads(pathlib.Path(path).read_text())
    module, _, function = job["target"].partition(":")
    order = Order(**{**job["order"], "factors": tuple(job["order"]["factors"])})
    try:
        answer = getattr(importlib.import_module(module), function)(order, **job["more"])
    except EdgeError as error:
        print(error, file=sys.stderr)
        return 1
    pathlib.Path(job["answer"]).write_text(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
