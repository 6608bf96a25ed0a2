"""Code of a git repository, fetched by the `git` command: shallow, one commit, no hooks."""

from __future__ import annotations

import base64
import os
import subprocess
from typing import TYPE_CHECKING, Any

from anabranch.core.errors import FetchError
from anabranch.core.secrets import Secret, mask
from anabranch.documents.storage import git_words
from anabranch.documents.storage.away import FetchAway, line_of_git
from anabranch.documents.storage.cache import digest_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from anabranch.documents.storage.cache import Cache

_CONFIG = ("core.hooksPath=/dev/null", "core.fsmonitor=false", "protocol.ext.allow=never", "advice.detachedHead=false")
_LONGEST = 600.0  # seconds for one command


def fetch(reference: Mapping[str, Any], cache: Cache) -> tuple[Path, str]:
    """Return the folder of the code and the commit.

    Raises:
        FetchAway: the repository does not answer.
        FetchError: git is not there, the repository is refused, has no such branch or commit, or no such folder.
    """
    git_words.check(reference)
    git = Git(reference)
    commit = reference.get("commit") or git.commit_of(reference.get("ref") or "HEAD")
    name = f"git-{digest_of(reference['git'], str(bool(reference.get('submodules'))))[:16]}-{commit}"
    folder = cache.folder(name, lambda place: git.checkout(commit, place))
    inside = folder / reference["folder"] if "folder" in reference else folder
    if not inside.resolve().is_relative_to(folder.resolve()) or not inside.is_dir():
        raise FetchError(f"{reference['git']} has no folder {reference['folder']!r} at commit {commit[:12]}")
    return inside, commit


class Git:
    """Commands of git about one repository."""

    def __init__(self, reference: Mapping[str, Any]) -> None:
        self._url: str = reference["git"]
        self._ref: str = reference.get("ref") or "HEAD"
        self._submodules = bool(reference.get("submodules"))
        self._environment = _environment(reference)

    def commit_of(self, ref: str) -> str:
        """Return the commit of a branch or a tag; a branch goes first."""
        wanted = [ref] if ref == "HEAD" else [f"refs/heads/{ref}", f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", ref]
        lines = self._run("ls-remote", "--", self._url).splitlines()
        found = {name: commit for commit, _, name in (line.partition("\t") for line in lines)}
        for name in wanted:
            if name in found:
                return found[name]
        raise FetchError(f"{self._url} has no branch or tag {ref!r}")

    def checkout(self, commit: str, place: Path) -> None:
        """Put the files of a commit into an empty folder."""
        self._run("init", "--quiet", "--template=", "--", str(place))
        inside = ("-C", str(place))
        try:
            self._run(*inside, "fetch", "--quiet", "--depth", "1", "--no-tags", "--", self._url, commit)
        except FetchError:  # some servers give branches alone: the commit is looked for in the whole of it
            self._run(*inside, "fetch", "--quiet", "--", self._url, self._ref)
        self._run(*inside, "checkout", "--quiet", "--detach", commit, "--")
        if self._submodules:
            self._run(*inside, "submodule", "update", "--init", "--recursive", "--depth", "1")

    def _run(self, *words: str) -> str:
        options = [word for one in _CONFIG for word in ("-c", one)]
        try:
            done = subprocess.run(
                ["git", *options, *words],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_LONGEST,
                check=False,
            )
        except FileNotFoundError:
            raise FetchError(f"the code is at {self._url}, and there is no command git here: install it") from None
        except subprocess.TimeoutExpired:
            raise FetchAway(f"git did not answer within {_LONGEST:.0f} s about {self._url}") from None
        if done.returncode:
            if away := line_of_git(done.stderr):
                raise FetchAway(f"git could not reach {self._url}: {mask(away)}")
            said = mask(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it said nothing")
            raise FetchError(f"git could not fetch {self._url}: {said}")
        return done.stdout


def _environment(reference: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment of git: it asks nothing, and speaks only the protocols that are allowed."""
    allowed = [*git_words.SCHEMES, *(["file"] if reference.get("local") else [])]
    found = {name: value for name, value in os.environ.items() if name not in _OF_A_REPOSITORY}
    found["GIT_ALLOW_PROTOCOL"] = ":".join(allowed)
    found["GIT_TERMINAL_PROMPT"] = "0"
    found["LC_ALL"] = "C"  # its words are read: in English
    found.setdefault("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")
    if "token" in reference:  # by the environment: a command line is seen by everybody
        login = base64.b64encode(f"x-access-token:{Secret(reference['token']).get()}".encode()).decode()
        found["GIT_CONFIG_COUNT"] = "1"
        found["GIT_CONFIG_KEY_0"] = f"http.{reference['git']}.extraHeader"
        found["GIT_CONFIG_VALUE_0"] = f"Authorization: Basic {login}"
    return found


# Set while git runs a hook: they would send the commands to the repository around.
_OF_A_REPOSITORY = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"})
