"""Real helm and kubectl, and what they need to know of the chart."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "helm" / "anabranch"
CACHE = Path(os.environ.get("TESTBEDS_CACHE") or Path.home() / ".cache/anabranch-testbeds").resolve()
OPERATORS = ("--api-versions", "kubernetes.dask.org/v1", "--api-versions", "ray.io/v1")


class Tools:
    """helm and kubectl, with a state of their own."""

    def __init__(self, folder: Path, home: Path) -> None:
        self._folder = folder
        self._homes = {f"HELM_{kind}_HOME": str(home / kind) for kind in ("CACHE", "CONFIG", "DATA")}

    @property
    def variables(self) -> dict[str, str]:
        """The environment of now, in which both are found."""
        return {**os.environ, **self._homes, "PATH": f"{self._folder}:{os.environ['PATH']}"}

    def tried(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command with this as its input; returns how it ended, with all that it printed as its output."""
        out = subprocess.PIPE
        return subprocess.run(
            words, input=given, text=True, stdout=out, stderr=subprocess.STDOUT, env=self.variables, timeout=300
        )

    def said(self, *words: str, given: str = "") -> str:
        """Run a command that has to succeed; returns what it printed."""
        done = self.tried(*words, given=given)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}"
        return done.stdout

    def rendered(self, values: Mapping[str, Any], *words: str, name: str = "rel") -> Objects:
        """Return what the chart makes of these values and an image."""
        return Objects(self.said(*_template(name), *words, given=json.dumps(values)))

    def refused(self, values: Mapping[str, Any], *words: str, name: str = "rel") -> str:
        """Return why the chart refuses these values, on one line."""
        done = self.tried(*_template(name), *words, given=json.dumps(values))
        assert done.returncode != 0, done.stdout
        return " ".join(done.stdout.split())


class Objects:
    """Objects by kind and by the end of their names."""

    def __init__(self, text: str) -> None:
        self.all: list[dict[str, Any]] = [one for one in yaml.safe_load_all(text) if one]

    def kinds(self) -> list[str]:
        return sorted(one["kind"] for one in self.all)

    def one(self, kind: str, end: str = "") -> dict[str, Any]:
        """Return the object of that kind whose name ends so."""
        (found,) = [one for one in self.all if one["kind"] == kind and one["metadata"]["name"].endswith(end)]
        return found

    def pods(self) -> dict[str, dict[str, Any]]:
        """Return the pod templates of all objects, by their paths."""
        return {
            f"{one['kind']}/{one['metadata']['name']}{path}": pod
            for one in self.all
            for path, pod in _pods(one if one["kind"] == "Pod" else one.get("spec"), "")
        }


def _template(name: str) -> tuple[str, ...]:
    return ("helm", "template", name, str(CHART), "-f", str(CHART / "ci/shared.yaml"), "-f", "-")


def _pods(value: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each object that has a pod's spec: containers in it."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return
    if "containers" in (value.get("spec") or {}):
        yield path, value
        return
    for key, inner in value.items():
        yield from _pods(inner, f"{path}/{key}")


def container(pod: dict[str, Any]) -> dict[str, Any]:
    """Return the one container of a pod."""
    (found,) = pod["spec"]["containers"]
    return dict(found)


def variables(pod: dict[str, Any]) -> dict[str, Any]:
    """Return the variables of a pod's container: their values, or where they come from; the last one of a name."""
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container(pod)["env"]}
