"""References to code: what is taken, and what git is never asked for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch import Secret
from anabranch.core.errors import DeploymentError, FetchError
from anabranch.documents.document import Document
from anabranch.documents.storage import git_words, references


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ("/srv/flows", "path"), ("flows", "path"), ("s3://bucket/flows", "url"), ("https://host/flows.zip", "url"),
        ("https://host/team/repo.git", "git"), ("git+https://host/team/repo", "git"), ("git@host:team/repo.git", "git"),
        ("ssh://git@host:22/team/repo.git", "git"), ({"module": "a.b"}, "module"), ({"image": "r/i:1"}, "image"),
        ({"git": "file:///srv/repo", "local": True}, "git"), ({"git": "/srv/repo", "local": True}, "git"),
        ({"git": "https://host/r", "ref": "feature/a-b_c.1", "folder": "a/b", "submodules": True}, "git"),
        ({"url": "s3://b", "options": {"secret": Secret("KEY"), "anon": False}}, "url"),
    ],
)  # fmt: skip
def test_what_is_taken(given: Any, kind: str) -> None:
    found = references.checked(given)
    assert found is not None
    assert references.kind_of(found) == kind
    assert references.checked(found) == found


ATTACKS = [
    {"git": "ext::sh -c 'touch /tmp/owned'"},
    {"git": "fd::17/foo"},
    {"git": "--upload-pack=touch /tmp/owned"},
    {"git": "-c"},
    {"git": "ssh://-oProxyCommand=touch%20owned/repo"},
    {"git": "ssh://-x@host/repo"},
    {"git": "-oProxyCommand=x@host:repo"},
    {"git": "git://host/repo"},
    {"git": "http://host/repo"},
    {"git": "ftp://host/repo"},
    {"git": "file:///etc"},
    {"git": "/etc"},
    {"git": "../other"},
    {"git": "https://host/a/../../b.git"},
    {"git": "file:///srv/../etc", "local": True},
    {"git": "../other", "local": True},
    {"git": "ext::sh", "local": True},
    {"git": "https:///no-host"},
    {"git": "https://host/a\nb"},
    {"git": "https://host/\x1b[2J"},
    {"git": "https://[::1"},
    {"git": ""},
    {"git": "https://user:word@host/r"},
    {"git": "https://a-token@host/r"},
    *[
        {"git": "https://host/r", "ref": ref}
        for ref in ["-x", "--upload-pack=x", "a..b", "a\x00b", "a b", "a~1", "a^", "a:b", "@{u}", "x.lock", "a?", ""]
    ],
    *[{"git": "https://host/r", "commit": commit} for commit in ["abc", "-x", "A" * 40, "g" * 40, "HEAD"]],
    *[{"git": "https://host/r", "folder": folder} for folder in ["../x", "a/../../x", "/etc", "-x", "a\\b", "\n"]],
]


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_git_is_not_asked_for(attack: dict[str, Any]) -> None:
    with pytest.raises(FetchError) as refused:
        references.checked(attack)
    assert len(str(refused.value).splitlines()) == 1
    with pytest.raises(FetchError):  # neither by a document
        Document("d", storage=attack)


@given(st.text(max_size=30), st.text(max_size=20))
def test_what_passes_holds_no_option_and_no_helper(url: str, ref: str) -> None:
    try:
        scheme = git_words.url(url, local=True)
        git_words.ref(ref)
    except FetchError:
        return
    assert scheme in ("https", "ssh", "file")
    assert not url.startswith("-")
    assert not ref.startswith("-")
    assert "::" not in url


def test_no_secrets_are_kept() -> None:
    for told in (
        "https://me:word@host/x",
        {"url": "s3://b", "options": {"secret": "abcd"}},
        "git+https://host/x.git?access_token=abcd",
        "https://host/x.zip?X-Amz-Credential=me&X-Amz-Signature=abcd",
    ):
        with pytest.raises(FetchError, match="keeps no secrets") as refused:
            references.checked(told)
        assert "word" not in str(refused.value)
        assert "abcd" not in str(refused.value)


def test_misspelt() -> None:
    with pytest.raises(DeploymentError, match="did you mean 'module'"):
        Document("d", storage={"modul": "x"})
    with pytest.raises(DeploymentError, match="ref must be a str, got 3"):
        Document("d", storage={"git": "https://h/r", "ref": 3})
