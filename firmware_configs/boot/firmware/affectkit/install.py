"""Installs the kit from the folder of this file; may be cut off at any instant and called again. Python 3.11 to 3.13, nothing else.

Called by install.sh. With ``--hook`` it only makes sure that it is called again, and that an interrupted cloud-init goes on.
"""

from __future__ import annotations

import argparse
import collections.abc
import errno
import fcntl
import json
import os
import pathlib
import sys
import time

import install_card
import install_payload
import install_steps
from install_files import InstallError, Root, made
from install_steps import Kit

INSTALLED = "/etc/affectkit/installed.json"
LOG = "first-boot.log"


class Log:
    """Lines to the caller, to ``first-boot.log`` beside this file and to the board's console; each at once, for power may go."""

    def __init__(self, folder: pathlib.Path, console: pathlib.Path | None):
        self._streams = [1]
        self._began_s = time.monotonic()
        for path in (folder / LOG, console):
            try:
                other = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOCTTY, 0o644) if path else None
            except OSError:
                # A full or read-only card, or no console: the others are told.
                continue
            # The caller may have sent its own output there.
            if other is not None and not any(os.path.samestat(os.fstat(other), os.fstat(one)) for one in self._streams):
                self._streams.append(other)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began_s

    def say(self, text: str) -> None:
        line = f"affectkit: [{self.seconds:5.1f} s] {text}\n".encode()
        for stream in self._streams:
            try:
                os.write(stream, line)
                os.fsync(stream)
            except OSError:
                # As above; a console knows no fsync.
                continue


def is_installed(kit: Kit) -> bool:
    """Whether exactly this payload was installed to its end."""
    try:
        return json.loads(kit.root.at(INSTALLED).read_bytes())["payload_sha256"] == kit.payload.sha256
    except (OSError, ValueError, KeyError, TypeError):
        return False


def hook(kit: Kit) -> None:
    """Before cloud-init does anything: what a power cut interrupts at this boot is done at the next."""
    if is_installed(kit):
        return
    install_steps.resume(kit)
    # cloud-init notes a module as done before it runs it (FileSemaphores.lock), so what was cut off would never be done. These come
    # last, behind its call of this installation: with them, an earlier boot got to its end, and its notes hold.
    notes = kit.root.at("/var/lib/cloud/instance/sem")
    last = ("ssh_authkey_fingerprints", "keys_to_console", "install_hotplug", "phone_home", "power_state_change")
    if not any((notes / f"config_{name}").exists() for name in last):
        for note in sorted(notes.glob("config_*")):
            note.unlink(missing_ok=True)


STEPS: tuple[tuple[str, collections.abc.Callable[[Kit], object]], ...] = (
    ("root partition", install_card.grow_root),
    ("files", install_steps.system_files),
    ("users", install_steps.users),
    ("packages", install_steps.packages),
    ("python", install_steps.python),
    ("bundle", install_steps.first_bundle),
    ("data partition", install_card.data_partition),
    ("services", install_steps.services),
)


def install(kit: Kit, log: Log) -> None:
    """All steps, then ``installed.json``, which says that all of them are done."""
    seconds: dict[str, float] = {}
    log.say(f"affectkit {kit.payload.says['affectkit']} for {kit.payload.says['os']}, {kit.payload.says['board']}: checking the payload")
    install_payload.refuse_other_machine(kit.payload, kit.root)
    if other := install_payload.other_board(kit.payload, kit.root):
        log.say(other)
    install_steps.resume(kit)
    began = log.seconds
    checked = install_payload.check_all(kit.payload)
    seconds["check"] = round(log.seconds - began, 1)
    log.say(f"payload is whole: {len(kit.payload.files)} files, {checked / 1e6:.1f} MB")
    for number, (name, step) in enumerate(STEPS, 1):
        log.say(f"{number} of {len(STEPS)}: {name} ...")
        began = log.seconds
        said = step(kit)
        # A step that is told as done is on the card.
        os.sync()
        seconds[name] = round(log.seconds - began, 1)
        log.say(f"{number} of {len(STEPS)}: {name}: {seconds[name]} s{f', {said}' if said else ''}")
    for line in install_steps.advice(kit):
        log.say(line)
    os.sync()
    record = {"payload_sha256": kit.payload.sha256, "steps": seconds}
    record |= {key: kit.payload.says[key] for key in ("affectkit", "board", "os", "built") if key in kit.payload.says}
    kit.root.write(INSTALLED, (json.dumps(record, indent=1) + "\n").encode())


def main() -> int:
    parser = argparse.ArgumentParser(description="Installs the kit from the folder of this file.")
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path("/"), help="where the device's files are; / if not given")
    parser.add_argument("--hook", action="store_true", help="only make sure that it is called again at the next boot")
    options = parser.parse_args()
    folder = pathlib.Path(__file__).resolve().parent
    root = Root(options.root)
    log = Log(folder, root.at("/dev/console") if root.is_device and not options.hook else None)
    try:
        kit = Kit(install_payload.opened(folder), root)
        if options.hook:
            hook(kit)
            return 0
        made(root.at("/run"))
        # One at a time: cloud-init and the service may call this in the same boot. The other then finds it done.
        with root.at("/run/affectkit-install.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            again = is_installed(kit)
            if again:
                log.say("is installed already")
            else:
                with install_card.blinking(root):
                    install(kit, log)
                log.say("all steps are done")
            if said := install_card.protect(kit):
                log.say(said)
            install_card.done(kit)
            os.sync()
            if not again:
                install_steps.start(kit)
        log.say(f"INSTALLED, {log.seconds:.0f} s after the start")
    except (InstallError, OSError) as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        log.say(f"NOT INSTALLED: {f'the card is full ({error.filename}); use a larger one' if full else error}")
        log.say("It is tried again at the next boot. Until then the system runs without the kit; log in and look at what is said above.")
        return 0 if options.hook else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
