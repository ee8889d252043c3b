"""The responsibility gate: whoever senses people live says where, what for, who answers for it, and that they consented.

Regulation (EU) 2024/1689 (AI Act), Article 5(1)(f), prohibits AI systems that infer emotions of a natural person in the areas of
workplace and education institutions, except for medical or safety reasons; in force since 2 February 2025. The gate refuses what
it can tell is unlawful; passing it is not legal advice.
"""

from __future__ import annotations

import dataclasses
import re

from edge.config import Purpose
from edge.errors import PurposeError

EU_MEMBERS = frozenset(
    {"AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU"}
    | {"IE", "IT", "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK"}
)
"""ISO 3166-1 codes of the 27 member states."""
PURPOSES = ("medical", "safety", "research", "learning support", "demonstration")
SETTINGS = ("education", "workplace", "clinic", "laboratory", "home")
EXEMPT_PURPOSES = ("medical", "safety")
"""The two reasons for which Article 5(1)(f) lets emotions be inferred at work and in education."""
PROHIBITED_SETTINGS = ("education", "workplace")


def country(jurisdiction: str) -> str:
    """The two-letter code in ``jurisdiction``: "us-ca" -> "US"; the EU's own "EL" is "GR".

    Raises:
        PurposeError: it is not a code; a name such as "Deutschland" could not be checked.
    """
    match = re.fullmatch(r"([A-Za-z]{2})(-[A-Za-z0-9]{1,3})?", jurisdiction.strip())
    if match is None:
        raise PurposeError(f"[purpose] jurisdiction: got {jurisdiction!r}, not an ISO 3166-1 code; write two letters such as 'US', or 'EU'")
    code = match[1].upper()
    return {"EL": "GR"}.get(code, code)


def check_purpose(purpose: Purpose, *, live: bool) -> None:
    """Pass if nobody is sensed live, or if the purpose is declared in full and not forbidden.

    Raises:
        PurposeError: in one line, why, and what to add to ``kit.toml``.
    """
    if not live:
        return
    missing = [field.name for field in dataclasses.fields(purpose) if not getattr(purpose, field.name).strip()]
    if missing:
        raise PurposeError(
            "live sources sense people: say where, what for, who is responsible and where their consent is filed; "
            f"missing in [purpose] of kit.toml: {', '.join(missing)}"
        )
    for name, value, known in (("purpose", purpose.purpose, PURPOSES), ("setting", purpose.setting, SETTINGS)):
        if value not in known:
            raise PurposeError(f"[purpose] {name}: got {value!r}; it is one of {', '.join(known)}")
    code = country(purpose.jurisdiction)
    in_union = code == "EU" or code in EU_MEMBERS
    if in_union and purpose.setting in PROHIBITED_SETTINGS and purpose.purpose not in EXEMPT_PURPOSES:
        raise PurposeError(
            f"Regulation (EU) 2024/1689, Article 5(1)(f), prohibits inferring emotions in {purpose.setting} in {code} "
            f"for {purpose.purpose!r}; it allows medical and safety reasons only; recorded sessions (replay:) can be used"
        )
