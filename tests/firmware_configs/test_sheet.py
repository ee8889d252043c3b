"""The sheet: its codes can be read by a camera, and nothing in a list can become part of the page."""

from __future__ import annotations

import html
import pathlib
import re

import numpy as np
import pytest

pytest.importorskip("segno", reason="segno is not installed (the extra kit)")

from firmware_configs.classroom import Kit, Wifi
from firmware_configs.sheet import LIGHTS, STEPS, as_page

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def pixels(svg: str, scale: int = 6) -> np.ndarray:
    """A code drawn from its path, which has only moves and horizontal strokes: 0 black, 255 white."""
    width = int(re.search(r'viewBox="0 0 (\d+)', svg)[1])
    image = np.full((width, width), 255, np.uint8)
    x = y = 0.0
    for command, a, b in re.findall(r"([Mmh])\s*(-?[\d.]+)(?:[ ,](-?[\d.]+))?", re.search(r' d="([^"]+)"', svg)[1]):
        if command == "h":
            image[int(y), int(x) : int(x + float(a))] = 0
            x += float(a)
        else:
            x, y = (float(a), float(b)) if command == "M" else (x + float(a), y + float(b))
    return np.kron(image, np.ones((scale, scale), np.uint8))


def test_a_camera_reads_the_code():
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    page = as_page({Kit("kit-01"): "k7rm-p2hw-x9da-4tcz"})
    text, *_ = cv2.QRCodeDetector().detectAndDecode(pixels(re.search(r"<svg.*?</svg>", page, re.DOTALL)[0]))
    assert text == "kit-01\nuser: kit\npassword: k7rm-p2hw-x9da-4tcz"


def test_the_page_says_what_to_do_and_what_every_light_means():
    script = (ROOT / "firmware_configs/usr/lib/affectkit/led").read_text()
    shown = set(re.findall(r"^        ([a-z-]+)\) ", script, re.MULTILINE))
    assert set(LIGHTS) - {"stopped", "installing"} == shown
    page = as_page({Kit("kit-01"): "x"})
    for shows, means in LIGHTS.values():
        assert f"<td>{html.escape(shows)}</td><td>{html.escape(means)}</td>" in page
    assert page.count("<li>") == len(STEPS) <= 4


def test_what_a_list_says_is_text_on_the_page():
    kit = Kit("kit-01", Wifi("<b>&School", "longenough", "KE"), note="<script>alert(1)</script>")
    page = as_page({kit: "x"}, title="<i>")
    assert "<script>" not in page
    assert "<b>" not in page
    assert "&lt;b&gt;&amp;School (KE)" in page
    assert "longenough" not in page
