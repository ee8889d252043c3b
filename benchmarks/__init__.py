"""Conversions of every kind of network (``conversions``), other converters (``peers``), and what a bundle takes on a machine (``cli``)."""
