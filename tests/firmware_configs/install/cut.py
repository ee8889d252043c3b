"""Runs install.py and kills it at the Nth time that it is about to change something: power goes without asking.

``python -B cut.py N INSTALL_PY ARGUMENTS``; the events are those of sys.audit (PEP 578, "Audit events table").
"""

from __future__ import annotations

import os
import runpy
import signal
import sys

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.symlink", "os.chmod", "os.rmdir", "os.chown", "subprocess.Popen", "shutil.rmtree")
left = int(sys.argv[1])


def cut(event: str, arguments: tuple[object, ...]) -> None:
    global left
    writes = event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    if writes or event in CHANGES:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


sys.argv = sys.argv[2:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
sys.addaudithook(cut)
runpy.run_path(sys.argv[0], run_name="__main__")
