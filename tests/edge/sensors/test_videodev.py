"""The system calls of Video4Linux2 against the kernel's header, and what a format's fields mean."""

import ctypes
import pathlib
import shutil
import subprocess
import types

import pytest

from edge.sensors import videodev2
from edge.sensors.pixels import Layout
from edge.sensors.videodev import Mode, VideoDevice, layout_of

CALLS = [
    *("QUERYCAP", "ENUM_FMT", "S_FMT", "REQBUFS", "QUERYBUF", "QBUF", "DQBUF", "STREAMON", "STREAMOFF", "S_PARM"),
    *("S_CTRL", "QUERYCTRL", "ENUM_FRAMESIZES", "ENUM_FRAMEINTERVALS"),
]
FIELDS = {
    "CapabilityStruct": ("v4l2_capability", ["card", "bus_info", "capabilities", "device_caps"]),
    "FormatDescription": ("v4l2_fmtdesc", ["index", "type", "flags", "pixelformat"]),
    "PixFormat": ("v4l2_pix_format", ["bytesperline", "sizeimage", "colorspace", "priv", "ycbcr_enc", "quantization"]),
    "FormatStruct": ("v4l2_format", ["type", "fmt"]),
    "FrameSize": ("v4l2_frmsizeenum", ["pixel_format", "type"]),
    "FrameInterval": ("v4l2_frmivalenum", ["pixel_format", "width", "height", "type"]),
    "RequestBuffers": ("v4l2_requestbuffers", ["count", "type", "memory"]),
    "BufferStruct": ("v4l2_buffer", ["index", "bytesused", "flags", "timecode", "sequence", "memory", "length"]),
    "QueryControl": ("v4l2_queryctrl", ["id", "minimum", "maximum", "flags"]),
}
NUMBERS = {
    "CAPTURE": "V4L2_BUF_TYPE_VIDEO_CAPTURE",
    "MMAP": "V4L2_MEMORY_MMAP",
    "FIELD_NONE": "V4L2_FIELD_NONE",
    "DISCRETE": "V4L2_FRMIVAL_TYPE_DISCRETE",
    "PRIV_MAGIC": "V4L2_PIX_FMT_PRIV_MAGIC",
    "CAP_VIDEO_CAPTURE": "V4L2_CAP_VIDEO_CAPTURE",
    "CAP_STREAMING": "V4L2_CAP_STREAMING",
    "CAP_IO_MC": "V4L2_CAP_IO_MC",
    "CAP_DEVICE_CAPS": "V4L2_CAP_DEVICE_CAPS",
    "CAP_TIMEPERFRAME": "V4L2_CAP_TIMEPERFRAME",
    "BUF_ERROR": "V4L2_BUF_FLAG_ERROR",
    "BUF_TIMESTAMP_MASK": "V4L2_BUF_FLAG_TIMESTAMP_MASK",
    "BUF_TIMESTAMP_MONOTONIC": "V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC",
    "CTRL_DISABLED": "V4L2_CTRL_FLAG_DISABLED",
    "COLORSPACE_REC709": "V4L2_COLORSPACE_REC709",
    "COLORSPACE_JPEG": "V4L2_COLORSPACE_JPEG",
    "COLORSPACE_DCI_P3": "V4L2_COLORSPACE_DCI_P3",
    "QUANTIZATION_LIMITED": "V4L2_QUANTIZATION_LIM_RANGE",
    "EXPOSURE_AUTO": "V4L2_CID_EXPOSURE_AUTO",
    "EXPOSURE_ABSOLUTE": "V4L2_CID_EXPOSURE_ABSOLUTE",
    "EXPOSURE_AUTO_PRIORITY": "V4L2_CID_EXPOSURE_AUTO_PRIORITY",
    "GAIN": "V4L2_CID_GAIN",
    "AUTOGAIN": "V4L2_CID_AUTOGAIN",
    "ANALOGUE_GAIN": "V4L2_CID_ANALOGUE_GAIN",
    "MANUAL": "V4L2_EXPOSURE_MANUAL",
    "AUTO": "V4L2_EXPOSURE_AUTO",
    "APERTURE_PRIORITY": "V4L2_EXPOSURE_APERTURE_PRIORITY",
}


@pytest.fixture(scope="module")
def header(tmp_path_factory) -> dict[str, int]:
    """What a C compiler makes of the kernel's header."""
    if shutil.which("cc") is None or not pathlib.Path("/usr/include/linux/videodev2.h").exists():
        pytest.skip("needs a C compiler and the kernel's headers (Debian: gcc, linux-libc-dev)")
    lines = [f'printf("%s %u\\n", "{name}", (unsigned)VIDIOC_{name});' for name in CALLS]
    for name, (struct, fields) in FIELDS.items():
        lines.append(f'printf("%s %u\\n", "{name}", (unsigned)sizeof(struct {struct}));')
        lines += [f'printf("%s %u\\n", "{name}.{field}", (unsigned)offsetof(struct {struct}, {field}));' for field in fields]
    lines += [f'printf("%s %u\\n", "{name}", (unsigned){symbol});' for name, symbol in NUMBERS.items()]
    lines += ['printf("interval %u\\n", (unsigned)offsetof(struct v4l2_streamparm, parm.capture.timeperframe));']
    lines += ['printf("offset %u\\n", (unsigned)offsetof(struct v4l2_buffer, m));']
    lines += ['printf("time %u\\n", (unsigned)offsetof(struct v4l2_buffer, timestamp));']
    folder = tmp_path_factory.mktemp("header")
    source = "#include <stddef.h>\n#include <stdio.h>\n#include <linux/videodev2.h>\nint main(void) {" + "\n".join(lines) + "}\n"
    (folder / "header.c").write_text(source)
    subprocess.run(["cc", "-o", folder / "header", folder / "header.c"], check=True)
    said = subprocess.run([folder / "header"], check=True, capture_output=True, text=True).stdout
    return {name: int(value) for name, value in (line.split() for line in said.splitlines())}


def test_calls_structures_and_numbers_are_those_of_the_kernels_header(header):
    for name in CALLS:
        assert getattr(videodev2, name) == header[name], name
    for name, (_, fields) in FIELDS.items():
        struct = getattr(videodev2, name)
        assert ctypes.sizeof(struct) == header[name], name
        for field in fields:
            assert getattr(struct, field).offset == header[f"{name}.{field}"], f"{name}.{field}"
    for name in NUMBERS:
        assert getattr(videodev2, name) == header[name], name
    assert videodev2.StreamParm.numerator.offset == header["interval"]
    assert videodev2.BufferStruct.offset.offset == header["offset"]
    assert videodev2.BufferStruct.seconds.offset == header["time"]


def pix(colorspace: int = 8, ycbcr_enc: int = 0, quantization: int = 0) -> types.SimpleNamespace:
    return types.SimpleNamespace(
        width=64, height=48, bytesperline=128, colorspace=colorspace, ycbcr_enc=ycbcr_enc, quantization=quantization
    )


@pytest.mark.parametrize(
    ("name", "said", "layout"),
    [
        ("YUYV", pix(), Layout("YUYV", 64, 48, 128, limited=True)),  # sRGB, the default of webcams
        ("YUYV", pix(quantization=1), Layout("YUYV", 64, 48, 128)),
        ("YUYV", pix(colorspace=7), Layout("YUYV", 64, 48, 128)),  # JPEG is full
        ("YUYV", pix(colorspace=7, quantization=2), Layout("YUYV", 64, 48, 128, limited=True)),
        ("NV12", pix(colorspace=3), Layout("NV12", 64, 48, 128, limited=True, bt709=True)),
        ("NV12", pix(colorspace=3, ycbcr_enc=1), Layout("NV12", 64, 48, 128, limited=True)),
        ("NV12", pix(ycbcr_enc=2, quantization=1), Layout("NV12", 64, 48, 128, bt709=True)),
        ("GREY", pix(colorspace=3), Layout("GREY", 64, 48, 128)),
        ("GREY", pix(quantization=2), Layout("GREY", 64, 48, 128, limited=True)),
        ("MJPG", pix(colorspace=3, quantization=2), Layout("MJPG", 64, 48)),
    ],
)
def test_a_formats_fields_say_its_range_and_colours(name, said, layout):
    assert layout_of(name, said) == layout


def test_a_file_that_is_no_camera_is_refused_by_the_kernel(tmp_path):
    path = tmp_path / "video0"
    path.touch()
    device = VideoDevice(str(path))
    try:
        with pytest.raises(OSError, match="Inappropriate ioctl"):
            device.capability()
        assert device.modes(320, 240) == []
        with pytest.raises(OSError, match="Inappropriate ioctl"):
            device.set_mode(Mode("YUYV", 320, 240, 30.0))
    finally:
        device.close()
        device.close()
        device.wake()


@pytest.mark.parametrize(
    ("wanted", "least", "most", "step", "expected"),
    [
        (320, 16, 4096, 1, 320),
        (320, 32, 640, 16, 320),
        (330, 32, 640, 16, 336),
        (1000, 32, 640, 16, 640),
        (1000, 32, 650, 16, 640),
        (64, 128, 640, 2, 128),
        (98, 96, 640, 3, 102),
        (100, 64, 640, 0, 100),
    ],
)
def test_of_a_range_of_sizes_the_next_that_covers_is_taken_else_the_greatest(wanted, least, most, step, expected):
    from edge.sensors.videodev import _on_grid

    assert _on_grid(wanted, least, most, step) == expected
