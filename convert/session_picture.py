"""The camera of the embedded session: a portrait, cut out, moved before a drawn room, and spoiled on purpose."""

from __future__ import annotations

import collections.abc
import dataclasses
import math

import numpy as np

from convert.session_script import Effect, Pose, Script, Spell

_FACE_CENTRE_PX = (224.0, 113.0)
_FACE_PX = 95.0
"""Centre and size of the face in the photograph, as OpenCV's frontal-face cascade finds it."""
_FADE_S = 0.4
"""How long light, focus and hand take to change; the change lies inside the planned spell."""

# Outline of head, collar and suit in the photograph (512x512), traced by eye, clockwise from the top of the hair. fmt: skip
_OUTLINE_PX = (
    *((232, 16), (262, 19), (284, 33), (297, 60), (301, 88), (293, 113), (279, 127), (272, 136), (266, 135), (262, 150)),
    *((257, 172), (275, 183), (292, 200), (302, 220), (305, 238), (325, 246), (341, 262), (348, 285), (353, 310), (361, 345)),
    *((325, 366), (296, 400), (282, 440), (277, 480), (280, 512), (24, 512), (24, 440), (20, 400), (30, 345), (38, 312)),
    *((44, 290), (56, 252), (80, 230), (112, 212), (115, 190), (124, 184), (130, 166), (150, 152), (184, 149), (183, 133)),
    *((176, 130), (165, 118), (157, 98), (153, 72), (157, 54), (170, 42), (188, 34), (205, 22)),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Portrait:
    """float32 (512, 512): ``luma`` 0 to 255, ``cover`` 0 to 1."""

    luma: np.ndarray
    cover: np.ndarray


def portrait() -> Portrait:
    """The photograph that scikit-image carries (NASA, public domain), with everything around the person cut away."""
    import skimage.data
    from PIL import Image, ImageDraw, ImageFilter

    luma = Image.fromarray(skimage.data.astronaut()).convert("L")
    cover = Image.new("L", luma.size)
    ImageDraw.Draw(cover).polygon(_OUTLINE_PX, fill=255)
    soft = cover.filter(ImageFilter.GaussianBlur(1.2))
    return Portrait(np.asarray(luma, np.float32), np.asarray(soft, np.float32) / 255)


def room(width_px: int, height_px: int, rng: np.random.Generator) -> np.ndarray:
    """A wall with a window, a board and a shelf, smooth enough to cost few bytes a frame: float32 (height, width)."""
    from PIL import Image, ImageDraw, ImageFilter

    y, x = np.mgrid[0:height_px, 0:width_px].astype(np.float32)
    wall = 150 - 28 * x / width_px - 14 * y / height_px
    coarse = Image.fromarray(rng.normal(0, 5, (height_px // 20, width_px // 20)).astype(np.float32))
    wall += np.asarray(coarse.resize((width_px, height_px), Image.Resampling.BICUBIC))
    picture = Image.fromarray(np.clip(wall, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    w, h = width_px / 320, height_px / 240
    for left, top, right, bottom, grey in (
        (14, 18, 84, 120, 205),  # window
        (47, 18, 51, 120, 140),
        (226, 26, 308, 92, 74),  # board
        (222, 150, 316, 156, 88),  # shelf, and what stands on it
        (232, 118, 242, 150, 100),
        (246, 112, 254, 150, 170),
        (258, 122, 272, 150, 120),
        (0, 206, 320, 240, 104),  # edge of a desk
    ):
        draw.rectangle((left * w, top * h, right * w, bottom * h), fill=grey)
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(1.6)), np.float32)


def pose_at(poses: collections.abc.Sequence[Pose], t_s: float) -> Pose:
    """Half a cosine from each pose to the next, and the small sway of somebody who sits."""
    after = next((i for i, pose in enumerate(poses) if pose.at_s > t_s), len(poses) - 1)
    a, b = poses[max(0, after - 1)], poses[after]
    part = 0.0 if b.at_s == a.at_s else min(1.0, max(0.0, (t_s - a.at_s) / (b.at_s - a.at_s)))
    ease = 0.5 - 0.5 * math.cos(math.pi * part)

    def between(name: str) -> float:
        return getattr(a, name) + ease * (getattr(b, name) - getattr(a, name))

    return Pose(
        t_s,
        between("x_px") + 2.5 * math.sin(2 * math.pi * t_s / 5.3),
        between("y_px") + 1.2 * math.sin(2 * math.pi * t_s / 3.7),
        between("face_px") * (1 + 0.012 * math.sin(2 * math.pi * t_s / 4.1)),
        between("tilt_deg") + 1.5 * math.sin(2 * math.pi * t_s / 6.1),
    )


def strength(spells: collections.abc.Iterable[Spell], effect: Effect, t_s: float) -> float:
    """How much of ``effect`` there is: 0 to 1, fading in and out within its spells."""
    most = 0.0
    for spell in spells:
        if spell.effect == effect:
            most = max(most, min(1.0, (t_s - spell.from_s) / _FADE_S, (spell.to_s - t_s) / _FADE_S))
    return most


class Camera:
    """Renders the frame of any moment of a script."""

    def __init__(self, script: Script):
        self.script = script
        self._room = room(script.width_px, script.height_px, np.random.default_rng((script.seed, 1)))
        self._portrait = portrait()

    def frame(self, t_s: float) -> np.ndarray:
        """uint8 (height, width) at ``t_s``."""
        from PIL import Image, ImageFilter

        spells = self.script.spells
        pose = pose_at(self.script.poses, t_s)
        luma, cover = self._place(pose)
        picture = self._room * (1 - cover) + luma * cover
        if hand := strength(spells, "hand", t_s):
            skin, mask = self._hand(pose, hand)
            picture = picture * (1 - mask) + skin * mask
        picture = picture * (1 - 0.72 * strength(spells, "dim", t_s))
        frame = Image.fromarray(np.clip(np.rint(picture), 0, 255).astype(np.uint8))
        if blur := strength(spells, "blur", t_s):
            frame = frame.filter(ImageFilter.GaussianBlur(2.4 * blur))
        return np.asarray(frame)

    def _place(self, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
        """Luma and cover of the portrait in the frame, float32 (height, width) each."""
        from PIL import Image, ImageFilter

        scale = pose.face_px / _FACE_PX
        cos, sin = (f(math.radians(pose.tilt_deg)) / scale for f in (math.cos, math.sin))
        rows = (
            *(cos, sin, _FACE_CENTRE_PX[0] - cos * pose.x_px - sin * pose.y_px),
            *(-sin, cos, _FACE_CENTRE_PX[1] + sin * pose.x_px - cos * pose.y_px),
        )
        planes = []
        for plane in (self._portrait.luma, self._portrait.cover * 255):
            soft = Image.fromarray(plane.astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.4 / scale))  # against aliasing
            size = (self.script.width_px, self.script.height_px)
            planes.append(np.asarray(soft.transform(size, Image.Transform.AFFINE, rows, Image.Resampling.BILINEAR), np.float32))
        return planes[0], planes[1] / 255

    def _hand(self, pose: Pose, part: float) -> tuple[np.ndarray, np.ndarray]:
        """A hand that rises before the right half of the picture's face; ``part`` of the way. Luma and cover."""
        from PIL import Image, ImageDraw, ImageFilter

        width, height = self.script.width_px, self.script.height_px
        unit = pose.face_px / 70
        x, y = pose.x_px + 20 * unit, pose.y_px + 16 * unit + (1 - part) * (height - pose.y_px + 40)
        mask, skin = Image.new("L", (2 * width, 2 * height)), Image.new("L", (2 * width, 2 * height), 168)
        draw, shade = ImageDraw.Draw(mask), ImageDraw.Draw(skin)

        def point(dx: float, dy: float) -> tuple[float, float]:
            return 2 * (x + dx * unit), 2 * (y + dy * unit)

        fingers = (((-17, 2), (-22, -34)), ((-6, -2), (-8, -46)), ((5, -2), (6, -45)), ((16, 2), (19, -35)), ((-20, 16), (-34, -4)))
        for root, tip in fingers:
            line, thick = (point(*root), point(*tip)), round(2 * 10 * unit)
            draw.line(line, fill=255, width=thick)
            for dx, dy in (root, tip):
                draw.ellipse((*point(dx - 5, dy - 5), *point(dx + 5, dy + 5)), fill=255)
            shade.line((point(root[0] + 5, root[1]), point(tip[0] + 5, tip[1])), fill=120, width=round(3 * unit) + 1)
        draw.ellipse((*point(-24, -8), *point(24, 40)), fill=255)
        draw.polygon((point(-18, 28), point(18, 28), point(24, 160), point(-10, 160)), fill=255)
        shade.arc((*point(-16, 4), *point(20, 34)), 150, 290, fill=140, width=round(3 * unit) + 1)
        planes = [np.asarray(plane.filter(ImageFilter.GaussianBlur(1.5)).resize((width, height)), np.float32) for plane in (skin, mask)]
        return planes[0], planes[1] / 255
