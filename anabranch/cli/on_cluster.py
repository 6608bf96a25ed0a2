"""The words of `anabranch run --cluster`: which cluster a flow runs on, and how long that lives."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

KUBERNETES, RAY = "kubernetes", "ray"


@contextlib.contextmanager
def opened(words: str, image: str, jobs: str) -> Iterator[Any]:
    """Give the runner of a cluster.

    Args:
        words: the name of one that `cluster start` has started; "kubernetes": pods for this run, deleted with its end;
            "kubernetes:NAME": a DaskCluster that is there, and stays; "ray:NAME": such a RayCluster.
        image: of the pods that are made.
        jobs: of these, as N or MIN..MAX.
    """
    from anabranch import DaskRunner, KubernetesCluster, RayOnKubernetes, RayRunner

    kind, sign, name = words.partition(":")
    if kind != KUBERNETES and not sign:
        _not_made(image, words)
        yield DaskRunner(cluster=words)
        return
    if kind not in (KUBERNETES, RAY) or (sign and not name):
        raise click.UsageError(f"--cluster is NAME, kubernetes, kubernetes:NAME or ray:NAME, got {words!r}")
    if kind == RAY:
        _not_made(image, words)
        with contextlib.closing(RayOnKubernetes.attach(name)) as ray:
            yield RayRunner(cluster=ray)
        return
    if name:
        _not_made(image, words)
        with contextlib.closing(KubernetesCluster.attach(name)) as found:
            yield DaskRunner(found)
        return
    if not image:
        raise click.UsageError("--cluster kubernetes needs --image: of scheduler and workers, with anabranch in it")
    minimum, maximum = bounds(jobs)
    with KubernetesCluster(image=image, minimum=minimum, maximum=maximum) as made:
        yield DaskRunner(made)


def bounds(text: str) -> tuple[int, int]:
    """Return the least and the most jobs or pods; raises UsageError."""
    found = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", text)
    if found is None:
        raise click.UsageError(f"jobs are a number such as 4, or a range such as 0..4, got {text!r}")
    minimum, maximum = int(found[1]), int(found[2] or found[1])
    if not 0 <= minimum <= maximum or not maximum:
        raise click.UsageError(f"jobs must be 1 or more, or a range such as 0..4, got {text!r}")
    return minimum, maximum


def _not_made(image: str, words: str) -> None:
    if image:
        raise click.UsageError(f"--image is for pods that are made: the cluster {words} is there already")
