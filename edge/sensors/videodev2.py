"""Structures, constants and call numbers of the kernel's ``uapi/linux/videodev2.h``, as far as a camera needs them."""

from __future__ import annotations

import ctypes

CAPTURE = 1  # V4L2_BUF_TYPE_VIDEO_CAPTURE
MMAP = 1  # V4L2_MEMORY_MMAP
FIELD_NONE = 1
DISCRETE = 1  # V4L2_FRMSIZE_TYPE_DISCRETE and V4L2_FRMIVAL_TYPE_DISCRETE
PRIV_MAGIC = 0xFEEDCAFE
CAP_VIDEO_CAPTURE = 0x00000001
CAP_STREAMING = 0x04000000
CAP_IO_MC = 0x20000000
"""The device is part of a pipeline that has to be set up first, as those of CSI cameras."""
CAP_DEVICE_CAPS = 0x80000000
CAP_TIMEPERFRAME = 0x1000
BUF_ERROR = 0x40
BUF_TIMESTAMP_MASK, BUF_TIMESTAMP_MONOTONIC = 0xE000, 0x2000
CTRL_DISABLED = 0x1
COLORSPACE_REC709, COLORSPACE_JPEG, COLORSPACE_DCI_P3 = 3, 7, 12
ENCODING_DEFAULT, ENCODINGS_709 = 0, (2, 4)  # V4L2_YCBCR_ENC_709 and XV709
QUANTIZATION_DEFAULT, QUANTIZATION_LIMITED = 0, 2

EXPOSURE_AUTO, EXPOSURE_ABSOLUTE, EXPOSURE_AUTO_PRIORITY = 0x9A0901, 0x9A0902, 0x9A0903
GAIN, AUTOGAIN, ANALOGUE_GAIN = 0x980913, 0x980912, 0x9E0903
MANUAL, AUTO, APERTURE_PRIORITY = 1, 0, 3
"""Of ``EXPOSURE_AUTO``."""

_U8, _U32, _S32 = ctypes.c_uint8, ctypes.c_uint32, ctypes.c_int32


class CapabilityStruct(ctypes.Structure):
    _fields_ = (
        ("driver", ctypes.c_char * 16),
        ("card", ctypes.c_char * 32),
        ("bus_info", ctypes.c_char * 32),
        ("version", _U32),
        ("capabilities", _U32),
        ("device_caps", _U32),
        ("reserved", _U32 * 3),
    )


class FormatDescription(ctypes.Structure):
    _fields_ = (
        ("index", _U32),
        ("type", _U32),
        ("flags", _U32),
        ("description", ctypes.c_char * 32),
        ("pixelformat", _U32),
        ("reserved", _U32 * 4),
    )


class PixFormat(ctypes.Structure):
    _fields_ = (
        ("width", _U32),
        ("height", _U32),
        ("pixelformat", _U32),
        ("field", _U32),
        ("bytesperline", _U32),
        ("sizeimage", _U32),
        ("colorspace", _U32),
        ("priv", _U32),
        ("flags", _U32),
        ("ycbcr_enc", _U32),
        ("quantization", _U32),
        ("xfer_func", _U32),
    )


class FormatUnion(ctypes.Union):
    _fields_ = (("pix", PixFormat), ("raw_data", _U8 * 200), ("aligned", ctypes.c_void_p))


class FormatStruct(ctypes.Structure):
    _fields_ = (("type", _U32), ("fmt", FormatUnion))


class FrameSize(ctypes.Structure):
    # numbers: width, height; or the least, most and step of widths, then of heights
    _fields_ = (("index", _U32), ("pixel_format", _U32), ("type", _U32), ("numbers", _U32 * 6), ("reserved", _U32 * 2))


class FrameInterval(ctypes.Structure):
    # numbers: numerator and denominator of the seconds of a frame; or of the least, the most and the step
    _fields_ = (
        ("index", _U32),
        ("pixel_format", _U32),
        ("width", _U32),
        ("height", _U32),
        ("type", _U32),
        ("numbers", _U32 * 6),
        ("reserved", _U32 * 2),
    )


class StreamParm(ctypes.Structure):
    _fields_ = (
        ("type", _U32),
        ("capability", _U32),
        ("capturemode", _U32),
        ("numerator", _U32),
        ("denominator", _U32),
        ("rest", _U8 * 184),
    )


class RequestBuffers(ctypes.Structure):
    _fields_ = (("count", _U32), ("type", _U32), ("memory", _U32), ("capabilities", _U32), ("reserved", _U32))


class BufferStruct(ctypes.Structure):
    _fields_ = (
        ("index", _U32),
        ("type", _U32),
        ("bytesused", _U32),
        ("flags", _U32),
        ("field", _U32),
        ("seconds", ctypes.c_long),
        ("microseconds", ctypes.c_long),
        ("timecode", _U32 * 4),
        ("sequence", _U32),
        ("memory", _U32),
        ("offset", ctypes.c_ulong),  # of a union with pointers: the offset is its first 32 bits
        ("length", _U32),
        ("reserved2", _U32),
        ("reserved", _U32),
    )


class Control(ctypes.Structure):
    _fields_ = (("id", _U32), ("value", _S32))


class QueryControl(ctypes.Structure):
    _fields_ = (
        ("id", _U32),
        ("type", _U32),
        ("name", ctypes.c_char * 32),
        ("minimum", _S32),
        ("maximum", _S32),
        ("step", _S32),
        ("default_value", _S32),
        ("flags", _U32),
        ("reserved", _U32 * 2),
    )


_READ, _WRITE = 2, 1


def _request(direction: int, number: int, argument: type[ctypes.Structure] | type[ctypes.c_int]) -> int:
    """Number of a system call: ``_IOC(direction, 'V', number, sizeof(argument))`` of ``asm-generic/ioctl.h``."""
    return direction << 30 | ctypes.sizeof(argument) << 16 | ord("V") << 8 | number


QUERYCAP = _request(_READ, 0, CapabilityStruct)
ENUM_FMT = _request(_READ | _WRITE, 2, FormatDescription)
S_FMT = _request(_READ | _WRITE, 5, FormatStruct)
REQBUFS = _request(_READ | _WRITE, 8, RequestBuffers)
QUERYBUF = _request(_READ | _WRITE, 9, BufferStruct)
QBUF = _request(_READ | _WRITE, 15, BufferStruct)
DQBUF = _request(_READ | _WRITE, 17, BufferStruct)
STREAMON = _request(_WRITE, 18, ctypes.c_int)
STREAMOFF = _request(_WRITE, 19, ctypes.c_int)
S_PARM = _request(_READ | _WRITE, 22, StreamParm)
S_CTRL = _request(_READ | _WRITE, 28, Control)
QUERYCTRL = _request(_READ | _WRITE, 36, QueryControl)
ENUM_FRAMESIZES = _request(_READ | _WRITE, 74, FrameSize)
ENUM_FRAMEINTERVALS = _request(_READ | _WRITE, 75, FrameInterval)
