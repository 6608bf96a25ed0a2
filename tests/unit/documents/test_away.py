"""Places of code that do not answer: told from refusals, and tried again."""

from __future__ import annotations

import pytest

from anabranch.core.errors import FetchError, MissingExtraError
from anabranch.documents.storage import away
from anabranch.documents.storage.away import PAUSES, FetchAway, is_away, line_of_git, patiently


class Place:
    """Raises the given errors, one a try, and answers then."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.tries = [*errors], 0

    def fetch(self) -> str:
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0)
        return "code"


def test_a_place_that_does_not_answer_is_tried_again() -> None:
    slept: list[float] = []
    place = Place(*[FetchAway("no answer")] * 3)
    assert patiently(place.fetch, slept.append) == "code"
    assert slept == [2.0, 4.0, 8.0]


def test_a_place_that_never_answers_is_told_of_with_its_tries() -> None:
    slept: list[float] = []
    place = Place(*[FetchAway("git could not reach https://host/x: Connection refused")] * 100)
    with pytest.raises(FetchError, match=r"https://host/x: Connection refused; tried 6 times within 60 s") as raised:
        patiently(place.fetch, slept.append)
    assert not isinstance(raised.value, FetchAway)
    assert slept == [2.0, 4.0, 8.0, 16.0, 30.0] == [*PAUSES]
    assert place.tries == 6


@pytest.mark.parametrize("refusal", [FetchError("no branch"), MissingExtraError("no fsspec"), ValueError("x")])
def test_a_refusal_is_not_tried_again(refusal: Exception) -> None:
    place = Place(FetchAway("no answer"), refusal)
    with pytest.raises(type(refusal), match=str(refusal)):
        patiently(place.fetch, lambda _: None)
    assert place.tries == 2


@pytest.mark.parametrize(
    "said",
    [
        "fatal: unable to access 'https://h/x/': Could not resolve host: h",
        "fatal: unable to access 'https://h/x/': Failed to connect to h port 443: Couldn't connect to server",
        "fatal: unable to access 'https://h/x/': The requested URL returned error: 503",
        "ssh: connect to host h port 22: Connection timed out",
        "ssh: Could not resolve hostname h: Temporary failure in name resolution",
        "kex_exchange_identification: read: Connection reset by peer",
        "fetch-pack: unexpected disconnect while reading sideband packet\nfatal: early EOF",
    ],
)
def test_words_of_git_about_a_host_that_is_away(said: str) -> None:
    more = f"{said}\nfatal: Could not read from remote repository.\n\nand the repository exists.\n"
    assert line_of_git(more) == said.splitlines()[-1]


@pytest.mark.parametrize(
    "said",
    [
        "fatal: Authentication failed for 'https://h/x/'",
        "fatal: could not read Username for 'https://h': terminal prompts disabled",
        "fatal: unable to access 'https://h/x/': The requested URL returned error: 403",
        "git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.",
        "Host key verification failed.\nfatal: Could not read from remote repository.",
        "fatal: transport 'http' not allowed",
        "fatal: couldn't find remote ref refs/heads/mian",
        "fatal: unable to access 'https://h/x/': SSL certificate problem: self-signed certificate",
        "fatal: '/x' does not appear to be a git repository",
        "",
    ],
)
def test_words_of_git_that_refuse(said: str) -> None:
    assert line_of_git(said) == ""


class ConnectionOfALibrary(Exception):
    pass


ConnectionOfALibrary.__name__ = "HTTPClientError"


@pytest.mark.parametrize("error", [OSError("EIO"), TimeoutError(), ConnectionResetError(), ConnectionOfALibrary()])
def test_errors_of_a_connection(error: Exception) -> None:
    assert is_away(error)


@pytest.mark.parametrize("error", [FileNotFoundError(), PermissionError(), ValueError(), NotADirectoryError()])
def test_errors_that_are_answers(error: Exception) -> None:
    assert not is_away(error)


def test_each_pause_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger=away.logger.name):
        patiently(Place(FetchAway("h: no answer")).fetch, lambda _: None)
    assert caplog.messages == ["h: no answer. It is tried again in 2 s."]
