"""A secret travels by its name, and a text that was read is found in all its spellings."""

from __future__ import annotations

import copy
import importlib
import json
import os
import pickle
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest
from pydantic import SecretStr

from anabranch import Secret
from anabranch.core import secrets
from anabranch.core.errors import ConfigurationError, RemoteError
from anabranch.core.failures import capture, rebuild
from anabranch.core.keys import hash_value
from anabranch.core.runs import FlowRunRow, ItemRow, LogRow, TransitionRow, json_parameters
from anabranch.core.validate import validate_call

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.reports import ErrorInfo

NAME = "ANABRANCH_TEST_KEY"
TEXT = "open-sesame-" + "7" * 6


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_known", ())
    monkeypatch.delenv(NAME, raising=False)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(NAME, TEXT)
    return Secret(NAME).get()


def test_it_gives_the_text_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = Secret(NAME)
    monkeypatch.setenv(NAME, TEXT)
    assert secret.get() == secret.get_secret_value() == TEXT
    monkeypatch.setenv(NAME, "another-text")
    assert secret.get() == "another-text", "as it is now"
    assert secrets.mask(f"{TEXT} and another-text") == f"{secrets.MASK} and {secrets.MASK}"


def test_a_missing_variable_is_named_with_its_place_and_the_way_out() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Secret(NAME).get()
    told = str(caught.value)
    assert NAME in told
    assert f"process {os.getpid()} on {os.uname().nodename}" in told
    assert "set it before" in told


@pytest.mark.parametrize("name", ["", None, 7])
def test_a_name_is_a_text(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="the name of the environment variable"):
        Secret(name)


def test_it_is_shown_pickled_and_hashed_as_its_name(read: str) -> None:
    secret = Secret(NAME)
    assert repr(secret) == str(secret) == f"{secret}" == f"Secret({NAME!r})"
    for data in (pickle.dumps(secret), cloudpickle.dumps({"key": [secret]}), json_parameters({"key": secret}).encode()):
        assert TEXT.encode() not in data
    assert pickle.loads(pickle.dumps(secret)) == copy.deepcopy(secret) == secret == Secret(NAME)
    assert hash(secret) == hash(Secret(NAME))
    assert secret != Secret("OTHER")
    assert secret != NAME


def test_its_cache_key_is_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    before = hash_value({"key": Secret(NAME)})
    monkeypatch.setenv(NAME, TEXT)
    Secret(NAME).get()
    assert hash_value({"key": Secret(NAME)}) == before != hash_value({"key": Secret("OTHER")})


def test_it_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Secret(NAME).name = "OTHER"  # type: ignore[misc]


def test_it_validates_as_a_parameter() -> None:
    def connect(key: Secret) -> None: ...

    assert validate_call(connect, (Secret(NAME),), {}) == ((Secret(NAME),), {})


def test_a_parameter_is_not_read_where_it_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    given = (Secret(NAME), [Secret(NAME)], {"key": Secret(NAME)})
    secrets.remember(*given)  # there is no such variable
    monkeypatch.setenv(NAME, TEXT)
    secrets.remember(*given)
    assert not secrets.any_known()


# -- masking ---------------------------------------------------------------------------------------------


def test_the_longer_of_two_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets.remember(SecretStr("abcd"), SecretStr("abcd-and-more"), SecretStr("abc"))
    assert secrets.mask("abcd-and-more, abcd, abc") == f"{secrets.MASK}, {secrets.MASK}, abc"


def test_a_text_is_found_as_repr_and_json_write_it() -> None:
    text = 'line one\nline \\ two\t"ü"'
    secrets.remember(SecretStr(text))
    for spelling in (text, repr(text), json.dumps(text), str(KeyError(text))):
        assert "line one" not in secrets.mask(spelling)


def test_all_texts_of_a_record_are_masked(read: str) -> None:
    run = FlowRunRow("id", "flow", f"with {read}", 0, message=read, parameters=json_parameters({"a": [read], "b": 1}))
    item = ItemRow("map", 0, 1, 0, name=read, message=read, error_text=f"Traceback: {read}")
    item.details = json.dumps({"key": read})
    rows: list[Any] = [run, item, TransitionRow("id", -1, 1, 0, "Failed", read, 0.0), LogRow(0.0, 20, read, read, "id")]
    secrets.mask_rows(rows)
    assert TEXT not in str(rows)
    assert json.loads(run.parameters) == {"a": [secrets.MASK], "b": 1}


def test_parameters_stay_json() -> None:
    secrets.remember(SecretStr("true"))
    row = FlowRunRow("id", "flow", "name", 0, parameters=json_parameters({"on": True, "text": "it is true"}))
    secrets.mask_rows([row])
    assert json.loads(row.parameters) == {"on": True, "text": f"it is {secrets.MASK}"}


# -- errors that travel ----------------------------------------------------------------------------------


class Refused(Exception):
    def __init__(self, key: str, code: int = 401) -> None:
        super().__init__(key, code)
        self.details = {"tried": [key]}


class Holder:
    def __init__(self, text: str) -> None:
        self.text = text


class Holding(Exception):
    def __init__(self, text: str) -> None:
        super().__init__("refused")
        self.holder = Holder(text)


def travelled(error: BaseException) -> tuple[ErrorInfo, BaseException]:
    try:
        raise error
    except BaseException as raised:
        info = capture(raised, in_process=False, dumps=cloudpickle.dumps)
    assert TEXT.encode() not in (info.pickled or b"")
    return info, rebuild(pickle.loads(pickle.dumps(info)))


@pytest.mark.parametrize(
    "make",
    [ValueError, KeyError, Refused, lambda text: ExceptionGroup(f"all {text}", [ValueError(text), KeyError(text)])],
    ids=["ValueError", "KeyError", "own", "group"],
)
@pytest.mark.parametrize("dask", [False, pytest.param(True, marks=pytest.mark.dask)])
def test_an_error_that_leaves_its_process_is_masked(
    read: str, make: Callable[[str], BaseException], dask: bool
) -> None:
    """Also where Dask is loaded, which has exceptions pickled in a way of its own."""
    if dask:
        importlib.import_module("distributed")
    error = make(f"not {read}")
    info, back = travelled(error)
    assert type(back) is type(error)
    assert secrets.MASK in str(info.message)
    assert TEXT not in repr((info, back, vars(back)))
    assert TEXT in repr(error), "the one in the task's hands is as it was"


def test_an_error_that_holds_it_out_of_reach_comes_as_text(read: str) -> None:
    info, back = travelled(Holding(read))
    assert info.pickled is None
    assert isinstance(back, RemoteError)
    assert back.type_name == "Holding"


def test_an_error_without_a_secret_is_left_alone(read: str) -> None:
    error = Refused("no secret at all")
    _, back = travelled(error)
    assert (type(back), back.args, str(back)) == (Refused, error.args, str(error))


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("sftp://me:open@sesame@host/x", "sftp://host/x"),
        ("ftp://me@host/x?token=open", "ftp://host/x"),
        ("simplecache::ftp://me:open@host/a@b", "simplecache::ftp://host/a@b"),
    ],
)
def test_an_address_is_shown_without_its_login(address: str, shown: str) -> None:
    assert secrets.without_login(address) == shown


def test_the_password_of_an_address_is_masked_elsewhere() -> None:
    secrets.without_login("sftp://me:open@sesame@host/x")
    assert secrets.mask("cannot log in with open@sesame") == f"cannot log in with {secrets.MASK}"


@pytest.mark.parametrize(
    ("address", "has"),
    [
        ("postgresql://ada@db/records", False),
        ("postgresql://ada@db/records?sslmode=require&sslkey=/etc/key.pem&passfile=/etc/pass", False),
        ("postgresql://db:5432/records?options=a@b", False),
        ("s3://bucket/prefix", False),
        ("postgresql://db/records?password=", False),
        ("postgresql://ada:word@db/records", True),
        ("postgresql://ada:wo#rd?@db/records", True),
        ("postgresql://db/records?user=ada&password=word", True),
        ("postgresql://db/records?user=ada&PassWord=word", True),
        ("postgresql://db/records?sslpassword=word", True),
        ("postgresql://db/records?pass%77ord=word", True),
        ("sftp://ada:word@host/values", True),
        ("simplecache::sftp://ada:word@host/values", True),
        ("s3://bucket/prefix?key=a&secret=word", True),
        ("s3://bucket/prefix?secret_access_key=word", True),
        ("abfs://box/prefix?token=word", True),
    ],
)
def test_an_address_that_tells_a_password_is_known(address: str, has: bool) -> None:
    assert secrets.has_password(address) is has
