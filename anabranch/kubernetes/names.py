"""Names that Kubernetes takes, made of names that people give: pure functions."""

from __future__ import annotations

import hashlib
import re

OBJECT = 253  # characters of an object's name
LABEL = 63  # of a label's value, and of a Service's name
JOB = 52  # a Job's name goes on into those of its pods, which are labels too
CLUSTER = 53  # of a DaskCluster or RayCluster: their operators add words
MARK = 9  # "-" and eight hexadecimal digits
_DNS = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def dns_name(text: str, limit: int = LABEL, *, letter_first: bool = False) -> str:
    """Return a name of at most `limit` characters that DNS takes, the same for the same text.

    A text that is such a name stays as it is. In another's name a hash of the text stands last, so that `Jane.Doe` and
    `jane-doe` have two.

    Args:
        letter_first: a digit at the begin is not taken, as for Services and RayClusters.
    """
    if is_dns_name(text, limit, letter_first=letter_first):
        return text
    mark = hashlib.sha256(text.encode()).hexdigest()[: MARK - 1]
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not plain or (letter_first and plain[0].isdigit()):
        plain = f"a-{plain}".rstrip("-")
    return f"{plain[: limit - MARK].rstrip('-')}-{mark}"


def is_dns_name(text: str, limit: int = LABEL, *, letter_first: bool = False) -> bool:
    """Return whether a text can be the name of a namespace, a Service, a Job."""
    return bool(_DNS.fullmatch(text)) and len(text) <= limit and not (letter_first and text[0].isdigit())


def label_value(text: str) -> str:
    """Return a text as a label's value: the text itself where it can be one, else what is left of it, with a hash."""
    if re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?", text) and len(text) <= LABEL:
        return text
    mark = hashlib.sha256(text.encode()).hexdigest()[: MARK - 1]
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[: LABEL - MARK].rstrip("-._")
    return f"{plain}-{mark}" if plain else mark
