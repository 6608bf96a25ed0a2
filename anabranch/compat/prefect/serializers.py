"""Prefect's serializers: values as bytes, by pickle or JSON, compressed or not."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from anabranch.compat.prefect import json_objects
from anabranch.compat.prefect.utilities.dispatch import lookup_type, register_base_type, register_type
from anabranch.compat.prefect.utilities.importtools import from_qualified_name

if TYPE_CHECKING:
    from types import ModuleType


def prefect_json_object_encoder(obj: Any) -> Any:
    """Return an object in the form of a dict of JSON; raises TypeError for what has none."""
    return json_objects.encoded(obj)


def prefect_json_object_decoder(result: dict[str, Any]) -> Any:
    """Return the object of a dict that the encoder made; another dict as it is."""
    return json_objects.decoded(result)


@register_base_type
class Serializer(BaseModel):
    """Base of the serializers; `Serializer(type="json")` makes the one of that name."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    type: str

    def __class_getitem__(cls, _: Any) -> Any:
        """Return the class itself: what it serializes makes no other one."""
        return cls

    def __init__(self, **data: Any) -> None:
        data.setdefault("type", type(self).__dispatch_key__() or "__base__")
        super().__init__(**data)

    def __new__(cls, **given: Any) -> Any:
        if not given.get("type"):
            return super().__new__(cls)
        try:
            return super().__new__(lookup_type(cls, given["type"]))
        except KeyError as error:
            line: Any = {"type": "value_error", "loc": ("type",), "input": given["type"], "ctx": {"error": error}}
            raise ValidationError.from_exception_data(cls.__name__, [line]) from None

    @classmethod
    def __pydantic_init_subclass__(cls, **given: Any) -> None:
        super().__pydantic_init_subclass__(**given)
        register_type(cls)

    @classmethod
    def __dispatch_key__(cls) -> str | None:
        found = cls.model_fields["type"].default if "type" in cls.model_fields else None
        return found if isinstance(found, str) else None

    def dumps(self, obj: Any) -> bytes:
        """Return a value as bytes."""
        raise NotImplementedError

    def loads(self, blob: bytes) -> Any:
        """Return the value of bytes."""
        raise NotImplementedError


def _checked(name: str, what: str, methods: tuple[str, ...]) -> str:
    """Return the name of a library; raises ValueError where it cannot be imported or lacks a method."""
    try:
        library = from_qualified_name(name)
    except (ImportError, AttributeError):
        raise ValueError(f"Failed to import requested {what} library: {name!r}.") from None
    for method in methods:
        if not callable(getattr(library, method, None)):
            raise ValueError(f"{what.capitalize()} library at {name!r} does not have a {method!r} method.")
    return name


class PickleSerializer(Serializer):
    """Values by pickle, in base64."""

    type: str = Field(default="pickle", frozen=True)
    picklelib: str = "cloudpickle"
    picklelib_version: str | None = None

    @field_validator("picklelib")
    @classmethod
    def check_picklelib(cls, value: str) -> str:
        return _checked(value, "pickle", ("dumps", "loads"))

    def dumps(self, obj: Any) -> bytes:
        return base64.encodebytes(from_qualified_name(self.picklelib).dumps(obj))

    def loads(self, blob: bytes) -> Any:
        return from_qualified_name(self.picklelib).loads(base64.decodebytes(blob))


def _without(given: dict[str, Any], name: str, instead: str) -> dict[str, Any]:
    """Return the arguments of a library; raises ValueError for the one that has a field of its own."""
    if name in given:
        raise ValueError(f"`{name}` cannot be provided. Use `{instead}` instead.")
    return given


class JSONSerializer(Serializer):
    """Values by JSON, with the classes of what JSON has no form for."""

    type: str = Field(default="json", frozen=True)
    jsonlib: str = "json"
    object_encoder: str | None = "prefect.serializers.prefect_json_object_encoder"
    object_decoder: str | None = "prefect.serializers.prefect_json_object_decoder"
    dumps_kwargs: dict[str, Any] = Field(default_factory=dict)
    loads_kwargs: dict[str, Any] = Field(default_factory=dict)

    @field_validator("dumps_kwargs")
    @classmethod
    def check_dumps_kwargs(cls, value: dict[str, Any]) -> dict[str, Any]:
        return _without(value, "default", "object_encoder")

    @field_validator("loads_kwargs")
    @classmethod
    def check_loads_kwargs(cls, value: dict[str, Any]) -> dict[str, Any]:
        return _without(value, "object_hook", "object_decoder")

    def dumps(self, obj: Any) -> bytes:
        given = dict(self.dumps_kwargs)
        if self.object_encoder:
            given["default"] = from_qualified_name(self.object_encoder)
        found = from_qualified_name(self.jsonlib).dumps(obj, **given)
        return found.encode() if isinstance(found, str) else found

    def loads(self, blob: bytes) -> Any:
        given = dict(self.loads_kwargs)
        if self.object_decoder:
            given["object_hook"] = from_qualified_name(self.object_decoder)
        return from_qualified_name(self.jsonlib).loads(blob.decode(), **given)


class CompressedSerializer(Serializer):
    """The bytes of another serializer, compressed."""

    type: str = Field(default="compressed", frozen=True)
    serializer: Serializer
    compressionlib: str = "lzma"

    @field_validator("serializer", mode="before")
    @classmethod
    def by_name(cls, value: Any) -> Any:
        return Serializer(type=value) if isinstance(value, str) else value

    @field_validator("compressionlib")
    @classmethod
    def check_compressionlib(cls, value: str) -> str:
        return _checked(value, "compression", ("compress", "decompress"))

    def _library(self) -> ModuleType:
        found: ModuleType = from_qualified_name(self.compressionlib)
        return found

    def dumps(self, obj: Any) -> bytes:
        return base64.encodebytes(self._library().compress(self.serializer.dumps(obj)))

    def loads(self, blob: bytes) -> Any:
        return self.serializer.loads(self._library().decompress(base64.decodebytes(blob)))


class CompressedPickleSerializer(CompressedSerializer):
    """Pickles, compressed."""

    type: str = Field(default="compressed/pickle", frozen=True)
    serializer: Serializer = Field(default_factory=PickleSerializer)


class CompressedJSONSerializer(CompressedSerializer):
    """JSON, compressed."""

    type: str = Field(default="compressed/json", frozen=True)
    serializer: Serializer = Field(default_factory=JSONSerializer)
