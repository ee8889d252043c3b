"""Conversions of every kind of network (``conversions``) and against other converters (``peers``); latency on boards is to come."""
