"""Secrets, and masking of their texts in everything that is shown or recorded.

    Secret("KEY").get() ---+
    SecretStr parameters --+--> texts known in this process --> mask(): log lines, errors, the record

Masking looks for the text itself, so the text stays hidden after the user's code took it out of its `Secret` or
`SecretStr`. Each process knows the texts that were read in it, and those of `SecretStr` parameters of flows and tasks,
at the top or one container deep. It masks them before anything leaves it. Texts under four characters are left
alone, because they are parts of other words.
"""

from __future__ import annotations

import json
import os
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from anabranch.core.asking import is_a, of_class
from anabranch.core.errors import ConfigurationError
from anabranch.core.processes import host_name
from anabranch.core.runs import FlowRunRow, ItemRow, LogRow, TransitionRow

if TYPE_CHECKING:
    from anabranch.core.runs import Row

SHORTEST = 4
MASK = "**********"
_LOGIN = re.compile(r"//(?P<login>[^/]*)@")
_USER = re.compile(r"://[^/@]*:[^/@]+@")  # as libpq reads it: "?" and "#" may be in a password
_KEYS = {"password", "sslpassword", "passwd", "secret", "token", "key"}
_known: tuple[str, ...] = ()  # longest first: a text may be a part of another
_noting = threading.Lock()


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A secret text that travels by its name only: the environment variable of that name, where it is read.

    As an argument, a constant or a flow's parameter it is shown, recorded, pickled, compared and
    hashed for cache keys as its name. Once `get` has given the text, this process masks it in the
    log lines, printed lines that are logged, error messages, tracebacks and records of its runs.

    Args:
        name: the environment variable that holds the text.

    Raises:
        ConfigurationError: the name is empty or no text.

    Not promised: a value that a task returns or stores is left as it is, and so is an exception in
    the process that raised it (one that leaves its process is masked). The text is found as it is
    written, as `repr` or as JSON writes it, not when it was cut or encoded, nor under four characters.
    """

    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ConfigurationError(
                f"Secret(...) was given {type(self.name).__name__} {self.name!r}: give it the name of the "
                "environment variable that holds the text"
            )

    def __repr__(self) -> str:
        return f"Secret({self.name!r})"

    def get(self) -> str:
        """Return the text from this process's environment; it is masked here from now on.

        Raises:
            ConfigurationError: this process has no such environment variable.
        """
        text = os.environ.get(self.name)
        if text is None:
            raise ConfigurationError(
                f"{self!r}: there is no environment variable {self.name!r} in process {os.getpid()} on {host_name()}: "
                "set it before the map or the run that reads it (workers that others started have the environment that "
                "their cluster gives them)"
            )
        note(text)
        return text

    def get_secret_value(self) -> str:
        """Return the text, as `get`; the name of this method in pydantic's secrets."""
        return self.get()


NAMED = "$secret"  # {"$secret": "KEY"} in JSON stands for Secret("KEY")


def restored(value: Any) -> Any:
    """Return a value of JSON with its secrets as `Secret` again."""
    if isinstance(value, dict):
        if value.keys() == {NAMED} and isinstance(value[NAMED], str):
            return Secret(value[NAMED])
        return {key: restored(one) for key, one in value.items()}
    return [restored(one) for one in value] if isinstance(value, list) else value


def remember(*values: Any) -> None:
    """Note the texts of secrets (objects with `get_secret_value`, as pydantic's) among parameters.

    A `Secret` is skipped: its text is noted where it is read, and this process may not have it.
    """
    for value in values:
        kind = type(value)
        inner: Any = ()
        if issubclass(kind, dict):
            inner = dict.values(value)
        elif issubclass(kind, (list, tuple)):
            inner = (list if issubclass(kind, list) else tuple).__iter__(value)
        for one in (value, *inner):
            if type(one) is not Secret and callable(of_class(type(one), "get_secret_value")):
                note(_said_by(one))


def _said_by(one: Any) -> str:
    """Return the text of a secret object; "" where its code raises."""
    try:
        text = one.get_secret_value()
        return text.decode("utf-8", "replace") if type(text) is bytes else str.__str__(text)
    except Exception:  # the object's own code raised
        return ""


def note(text: str) -> None:
    """Mask this text in this process from now on."""
    global _known
    if len(text) < SHORTEST or text in _known:
        return
    with _noting:
        spellings = {text, repr(text)[1:-1], json.dumps(text)[1:-1]}
        _known = tuple(sorted(spellings.union(_known), key=len, reverse=True))


def without_login(address: str) -> str:
    """Return an address for display, without login and query; its password is masked from now on."""
    plain = address.partition("?")[0]
    for login in _LOGIN.finditer(plain):
        note(login["login"].partition(":")[2])
    return _LOGIN.sub("//", plain)


def has_password(address: str) -> bool:
    """Return whether an address tells a secret: behind its user's name, or in its query under a name such as password.

    Also a longer name counts that ends in such a word, as `secret_access_key`; `sslkey` is a file's path.
    """
    keys = (name for name, value in parse_qsl(address.partition("?")[2]) if value)
    return bool(_USER.search(address)) or any(re.split(r"[_.-]", name.lower())[-1] in _KEYS for name in keys)


def any_known() -> bool:
    return bool(_known)


def mask(text: str) -> str:
    """Return the text with all known secrets masked."""
    for secret in _known:
        if secret in text:
            text = text.replace(secret, MASK)
    return text


def masked(value: Any) -> Any:
    """Mask in lists, tuples, dicts and exceptions; exceptions are changed in place, exception groups made anew."""
    if is_a(value, str):
        return mask(value)
    if type(value) in (list, tuple):
        return type(value)(map(masked, value))
    if type(value) is dict:
        return {key: masked(inner) for key, inner in value.items()}
    if is_a(value, BaseExceptionGroup):  # its message cannot be changed
        group = type(value)(mask(value.message), [masked(one) for one in value.exceptions])
        group.__dict__.update(masked(value.__dict__))
        return group
    if is_a(value, BaseException):
        value.args = masked(value.args)
        value.__dict__.update(masked(value.__dict__))
    return value


def within(data: bytes) -> bool:
    """Return whether a pickle contains the text of a known secret."""
    return any(secret.encode("utf-8", "surrogatepass") in data for secret in _known)


def mask_rows(rows: list[Row]) -> None:
    """Mask known secrets in rows for the record."""
    for row in rows:
        if isinstance(row, (FlowRunRow, ItemRow, TransitionRow, LogRow)):
            row.message = mask(row.message)
        if isinstance(row, (FlowRunRow, ItemRow)):
            row.name = mask(row.name)
        if isinstance(row, FlowRunRow):
            row.parameters = _masked_json(row.parameters)
        if isinstance(row, ItemRow):
            row.error_text = mask(row.error_text)
            row.details = _masked_json(row.details)
        if isinstance(row, LogRow):
            row.logger = mask(row.logger)


def _masked_json(text: str) -> str:
    # Value by value: a text such as "true" must not spoil the JSON around it.
    return json.dumps(masked(json.loads(text))) if mask(text) != text else text
