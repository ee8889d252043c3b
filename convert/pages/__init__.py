"""Pages that open anywhere, from a USB stick too: building blocks for any of them, and the parts of a conversion report.

``markup`` (tables, sections, the frame of a page), ``plots`` (inline SVG) and ``formats`` (numbers in words) know nothing of
conversion. ``cost``, ``quality`` and ``layers`` are the parts that ``convert.page`` puts together.
"""
