"""The sheet that the teacher keeps: who the kits are and their passwords, as a page to print that needs no network."""

from __future__ import annotations

import collections.abc
import html
import typing

from edge.errors import InputError
from firmware_configs.boot_files import USER
from firmware_configs.classroom import Kit

STEPS = (
    "Kit switched off: put the card with its name on it into the kit, and plug in camera, microphone and sensors.",
    "Switch on. No network is needed. The first time, the kit installs itself, which takes some minutes, longer on "
    "a small board. If the power fails meanwhile, switch on again: it goes on where it was.",
    "Wait until the green light beats like a heart: the kit decides. Whatever else it shows is in the table.",
    "Updates come on a USB stick: with the kit running, plug it in and leave it in while the light blinks. Take it out when the light "
    "stays on.",
)
LIGHTS = {
    "deciding": ("beats like a heart, two beats and a pause", "The kit works."),
    "starting": ("one second on, one second off", "It starts; wait."),
    "refused": (
        "nearly always on, briefly off every three seconds",
        "It will not work before somebody has filled in or corrected its settings (kit.toml), as a rule the purpose of what it does: "
        "call whoever made the cards.",
    ),
    "failed": ("blinks fast, three times a second", "Something is missing or broken; it tries again by itself. Check cables and camera."),
    "updating": ("half a second on, half a second off", "It takes an update: leave the stick in."),
    "updated": ("on, without a break", "The update is done: take the stick out."),
    "update-refused": (
        "flickers, eight times a second",
        "It did not take the stick, and works on as before. result.txt on the stick says why.",
    ),
    "installing": ("briefly on, once in two seconds", "The first start: it installs itself. Leave it alone for some minutes."),
    "stopped": ("off", "It has been stopped or has no power."),
}
"""Word in ``/run/affectkit/state``, or "installing" (``install_card.blinking``) -> what
the board's light shows (``usr/lib/affectkit/led``), and what that means."""

_STYLE = """
body { font: 14px/1.5 system-ui, sans-serif; max-width: 46em; margin: 2em auto; padding: 0 1em; color: #111; background: #fff }
section { border: 1px solid #999; border-radius: 6px; padding: 1em; margin: 1em 0; display: flex; gap: 2em; break-inside: avoid }
section div { flex: 1 } section svg { width: 34mm; height: 34mm; flex: none }
h2 { margin: 0 0 .3em } dl { display: grid; grid-template-columns: 9em 1fr; margin: 0 } dt { color: #555 } dd { margin: 0 }
table { border-collapse: collapse } th, td { text-align: left; vertical-align: top; padding: .2em 1.5em .2em 0 }
td:first-child { white-space: nowrap } .how { break-after: page }
code { font: 16px ui-monospace, monospace; letter-spacing: .05em }
@media print { body { margin: 0 } }
"""


def as_page(kits: collections.abc.Mapping[Kit, str], title: str = "Kits of this classroom") -> str:
    """An HTML page with a section for each kit (kit -> password), each with a QR code of host name, user and password.

    Raises:
        InputError: segno, which draws the codes, is not installed.
    """
    sections = "\n".join(_section(kit, password) for kit, password in kits.items())
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{html.escape(title)}</h1>\n"
        "<p>Keep this sheet locked away: it has the passwords of the kits, which are nowhere else. A card holds only a hash of its "
        "own.</p>\n"
        f"{_how()}\n{sections}\n</body>\n</html>\n"
    )


def _how() -> str:
    """What to do with a card, and what the light says."""
    steps = "".join(f"<li>{html.escape(step)}</li>" for step in STEPS)
    rows = "".join(f"<tr><td>{html.escape(shows)}</td><td>{html.escape(means)}</td></tr>" for shows, means in LIGHTS.values())
    return (
        f'<div class="how">\n<h3>What to do</h3>\n<ol>{steps}</ol>\n<h3>What the green light says</h3>\n'
        f"<table><tr><th>light</th><th>means</th></tr>{rows}</table>\n</div>"
    )


def _section(kit: Kit, password: str) -> str:
    wifi = f"{kit.wifi.name} ({kit.wifi.country}{'' if kit.wifi.password else ', open'})" if kit.wifi else "none: the radio is off"
    rows = {
        "user": USER,
        "password": password,
        "Wi-Fi": wifi,
        "Bluetooth": "on" if kit.bluetooth else "off",
        "SSH": "with the given key" if kit.ssh_key else "off",
        "note": kit.note,
    }
    written = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{_code(text) if name in ('user', 'password') else html.escape(text)}</dd>"
        for name, text in rows.items()
        if text
    )
    code = _qr(f"{kit.hostname}\nuser: {USER}\npassword: {password}")
    return f"<section>\n<div><h2>{html.escape(kit.hostname)}</h2><dl>{written}</dl></div>\n{code}\n</section>"


def _code(text: str) -> str:
    return f"<code>{html.escape(text)}</code>"


def _qr(text: str) -> str:
    """A QR code (ISO/IEC 18004, level M) as inline SVG."""
    try:
        import segno
    except ImportError as error:
        raise InputError("kit card: needs segno, which is not installed; pip install 'affectkit[kit]'") from error
    code: typing.Any = segno.make(text, error="m", micro=False)
    return code.svg_inline(border=2, omitsize=True, title="host name, user and password")
