"""Measures edge through its public surface only; nothing is measured here yet but what `affectkit run --report` says."""
