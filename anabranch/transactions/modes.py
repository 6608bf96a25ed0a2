"""The words of transactions."""

from __future__ import annotations

import enum


class CommitMode(enum.StrEnum):
    """When a block that has ended well is committed."""

    LAZY = "LAZY"  # with the block around it; the outermost at its own end
    EAGER = "EAGER"  # at its own end
    OFF = "OFF"  # never by itself: it is rolled back at the end, unless `commit()` was called


class IsolationLevel(enum.StrEnum):
    """What other blocks with the same key may do meanwhile."""

    READ_COMMITTED = "READ_COMMITTED"  # run as well; what is committed first counts
    SERIALIZABLE = "SERIALIZABLE"  # wait for its end, by the lock of the result store


class TransactionState(enum.StrEnum):
    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    STAGED = "STAGED"
    COMMITTED = "COMMITTED"
    ROLLED_BACK = "ROLLED_BACK"


OVER = (TransactionState.COMMITTED, TransactionState.ROLLED_BACK)
