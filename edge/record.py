"""``affectkit record``: a live run that keeps pictures and sound, for people who have agreed to that."""

from __future__ import annotations

import argparse
import pathlib
import platform
import sys
import typing

from edge.cli import add_run_options, execute
from edge.errors import InputError

if typing.TYPE_CHECKING:
    from edge.bundle import Bundle
    from edge.config import Settings
    from edge.sensors.recorder import Recorder


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Adds ``record``."""
    parser = subparsers.add_parser(
        "record",
        help="run live and KEEP pictures, sound and body signals of people who consented",
        description="Runs as `affectkit run` does and keeps everything that the sensors gave, with the order in which it was used: "
        "`affectkit run --fast --source replay:FILE` then decides the same to the byte. Only with the consent of everybody in reach.",
    )
    parser.add_argument("file", metavar="FILE", type=pathlib.Path, help="the session to write, such as lesson.session.zip")
    parser.add_argument("--consent", metavar="WHERE", required=True, help="where the consent of those recorded is filed")
    parser.add_argument("--title", metavar="TEXT", default="A recorded session", help="what it is of")
    add_run_options(parser)
    parser.set_defaults(run=_record)


def _record(args: argparse.Namespace) -> int:
    def recorder(settings: Settings, bundle: Bundle) -> Recorder:
        from edge import __version__
        from edge.sensors.recorder import Recorder

        if not settings.sources.use:
            raise InputError("record: no source; name what is to be recorded, such as --source picamera2:0 --source microphone:default")
        kit = {
            "affectkit": __version__,
            "bundle": f"{bundle.manifest.name} {bundle.manifest.version}",
            "sources": ", ".join(source.partition(":")[0] for source in settings.sources.use),
            "machine": f"{platform.machine()}, {platform.system()} {platform.release()}, Python {platform.python_version()}",
            "purpose": f"{settings.purpose.purpose}, {settings.purpose.setting}, {settings.purpose.jurisdiction}",
        }
        overwrite = settings.outputs.overwrite
        print(f"affectkit: RECORDING pictures, sound and body signals of everybody in reach to {args.file}", file=sys.stderr, flush=True)
        return Recorder(args.file, title=args.title, consent=args.consent, kit=kit, overwrite=overwrite)

    status = execute(args, recorder)
    print(f"affectkit: the recording is in {args.file}; it holds people's faces and voices: keep it as their consent says", file=sys.stderr)
    return status
