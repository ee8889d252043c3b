"""Chips simulated from their data sheets, at the wire: the drivers cannot tell them from silicon.

Nothing here is shared with the drivers: each side's tables are written from the data sheet, so a mistake in one shows against the other.
"""
