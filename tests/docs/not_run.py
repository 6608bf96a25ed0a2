"""What the test of the pages' blocks leaves out: for good, with the reason on the page, or by day.

What needs Slurm runs all the same in `test_on_slurm.py`.
"""

from __future__ import annotations

NOT_RUN: dict[str, dict[str, int]] = {
    "README.md": {"installs": 1, "make test runs this test": 1},
    "CONTRIBUTING.md": {"make test runs this test": 1},
    "docs/clusters.md": {
        "needs a cluster that runs already": 1, "needs Slurm": 2, "needs Kubernetes": 2, "needs ssh to a login node": 1,
    },
    "docs/first_steps.md": {"installs": 1},
    "docs/howto/measure.md": {"needs a cluster that runs already": 1, "needs Prefect": 1},
    "docs/howto/schedule.md": {"runs until Ctrl-C": 2},
    "docs/hpc.md": {"installs": 1, "needs Slurm": 6, "needs a container": 1, "needs submitit": 1},
    "docs/kubernetes.md": {"needs podman": 1, "needs Kubernetes": 6},
    "docs/moving/parsl.md": {"needs Parsl": 1},
    "docs/moving/submitit.md": {"needs submitit": 1, "needs Slurm": 1},
    "docs/prefect_tests.md": {"needs Prefect": 1},
    "docs/server.md": {"runs until Ctrl-C": 1, "needs the server above": 1, "needs PostgreSQL and a proxy": 1},
    "docs/submit.md": {"needs Slurm": 2, "needs Kubernetes": 1},
    "docs/testing.md": {"the tests themselves": 1},
}
NIGHTLY: dict[str, str] = {
    "docs/howto/measure.md": "it measures; tests of the command have a quick size by day",
    "docs/integrations.md": "other libraries, one after the other; each has tests of its own by day",
    "docs/moving/dask.md": "two clusters of Dask; docs/clusters.md has one by day",
    "docs/moving/ray.md": "a Ray",
}
