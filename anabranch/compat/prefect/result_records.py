"""Records of results: a value, and what is known of it."""

from __future__ import annotations

import base64
import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from anabranch.compat.prefect.serializers import PickleSerializer, Serializer


@dataclass
class ResultRecordMetadata:
    """What is known of a value besides itself."""

    storage_key: str | None = None
    expiration: datetime | None = None
    serializer: Any = field(default_factory=PickleSerializer)
    prefect_version: str = "3.8.3"
    storage_block_id: uuid.UUID | None = None

    def dump_bytes(self) -> bytes:
        """Return it as JSON."""
        return json.dumps(self.model_dump()).encode()

    def model_dump(self, **_: Any) -> dict[str, Any]:
        """Return it as a dict of JSON."""
        return {
            "storage_key": self.storage_key,
            "expiration": None if self.expiration is None else self.expiration.isoformat(),
            "serializer": self.serializer.model_dump(),
            "prefect_version": self.prefect_version,
            "storage_block_id": None if self.storage_block_id is None else str(self.storage_block_id),
        }

    @classmethod
    def load_bytes(cls, data: bytes) -> Self:
        """Return it from JSON."""
        found = json.loads(data)
        until, block = found.get("expiration"), found.get("storage_block_id")
        return cls(
            found.get("storage_key"),
            None if until is None else datetime.fromisoformat(until),
            Serializer(**found["serializer"]),
            found.get("prefect_version", ""),
            None if block is None else uuid.UUID(block),
        )


@dataclass
class ResultRecord:
    """A value with its metadata."""

    result: Any = None
    metadata: ResultRecordMetadata = field(default_factory=ResultRecordMetadata)
    is_persisted: bool = field(default=False, compare=False)

    def mark_persisted(self) -> None:
        """Note that it is in its storage."""
        self.is_persisted = True

    @property
    def expiration(self) -> datetime | None:
        return self.metadata.expiration

    @property
    def serializer(self) -> Any:
        return self.metadata.serializer

    @property
    def over(self) -> bool:
        """Whether its time has passed."""
        until = self.metadata.expiration
        return until is not None and datetime.now(UTC) >= until

    def serialize_result(self) -> bytes:
        """Return the value as bytes; raises the serializer's error."""
        return self.metadata.serializer.dumps(self.result)  # type: ignore[no-any-return]

    def serialize_metadata(self) -> bytes:
        """Return the metadata as bytes."""
        return self.metadata.dump_bytes()

    def serialize(self) -> bytes:
        """Return both as bytes."""
        value = base64.b64encode(self.serialize_result()).decode()
        return json.dumps({"metadata": self.metadata.model_dump(), "result": value}).encode()

    @classmethod
    def deserialize(cls, data: bytes) -> Self:
        """Return a record from bytes of `serialize`."""
        found = json.loads(data)
        metadata = ResultRecordMetadata.load_bytes(json.dumps(found["metadata"]).encode())
        value = metadata.serializer.loads(base64.b64decode(found["result"]))
        return cls(value, metadata, True)

    @classmethod
    def deserialize_from_result_and_metadata(cls, result: bytes, metadata: bytes) -> Self:
        """Return a record from the bytes of its two parts."""
        known = ResultRecordMetadata.load_bytes(metadata)
        return cls(known.serializer.loads(result), known, True)
