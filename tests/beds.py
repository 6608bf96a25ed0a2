"""Real servers from the test beds, and a real browser, started when a test first asks for one and ended again.

The beds lie beside the checkout, in `../shared/testbeds`. Without them the tests that need one are
skipped, with the reason in the summary; where they are, one that does not start is a failure.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

    from tests.integration.helm.tools import Tools

BEDS = Path(__file__).resolve().parents[2] / "shared" / "testbeds"

_prefixes = itertools.count()


def bed(name: str, *options: str, state: str = "") -> Iterator[dict[str, str]]:
    """Bring a bed up, give the variables that tell where it is, take it down.

    Args:
        state: an empty folder for it, which goes with it; "": one of its own.
    """
    if not (BEDS / name).is_dir():
        pytest.skip(f"there is no test bed at {BEDS / name}")
    state = state or tempfile.mkdtemp(prefix=f"anabranch-{name}-")  # short: sockets lie in it
    try:
        command = [str(BEDS / name / "up"), state, *options]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.fail(f"the test bed {name} did not start: {done.stderr}")
        lines = [shlex.split(line)[1].partition("=") for line in done.stdout.splitlines()]
        yield {variable: value for variable, _, value in lines}
    finally:
        subprocess.run([str(BEDS / name / "down"), state], capture_output=True)
        shutil.rmtree(state, ignore_errors=True)


def free_ports(base: int, count: int, step: int = 10) -> int:
    """The first of so many neighbouring ports that nobody listens on, of those at a multiple of `step` from `base`."""
    for first in range(base + os.getpid() % 100 * step, base + 200 * step, step):
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            return first
    pytest.fail(f"no {count} free ports together above {base}")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[dict[str, str]]:
    for variables in bed("s3", "--port-base", str(free_ports(18300, 8))):
        from s3fs import S3FileSystem

        S3FileSystem(
            key=variables["AWS_ACCESS_KEY_ID"],
            secret=variables["AWS_SECRET_ACCESS_KEY"],
            endpoint_url=variables["AWS_ENDPOINT_URL"],
            skip_instance_cache=True,
        ).mkdir("bucket")
        yield variables


@pytest.fixture
def s3_address(s3_server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty place in a bucket of the S3 test bed; this process and its children have what it takes to log in."""
    for name, value in s3_server.items():
        monkeypatch.setenv(name, value)
    return f"s3://bucket/place{next(_prefixes)}"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The address of a PostgreSQL; each test that writes has a schema of its own there."""
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("there is no psycopg: pip install 'anabranch[postgres]'")
    for variables in bed("postgres", "--port", str(free_ports(15430, 1))):
        yield variables["POSTGRES_URL"]


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A PostgreSQL that a test may stop, kill and start again."""
    with own_postgres_server() as server:
        yield server


@contextmanager
def own_postgres_server() -> Iterator[Postgres]:
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("there is no psycopg: pip install 'anabranch[postgres]'")
    state = tempfile.mkdtemp(prefix="anabranch-postgres-")
    for variables in bed("postgres", "--port", str(free_ports(15430, 1)), state=state):
        server = Postgres(Path(state), variables["POSTGRES_URL"])
        yield server
        if server.alive:
            server.end()


@pytest.fixture
def postgres_address(postgres_server: str) -> str:
    """An empty place for records in the PostgreSQL test bed."""
    return f"{postgres_server}?options=-csearch_path%3Dplace{next(_prefixes)}"


@pytest.fixture(scope="session")
def slurm_bed() -> Iterator[dict[str, str]]:
    """A Slurm of one node with 4 CPUs, where nothing else runs; the one that SLURM_CONF names, if it names one."""
    if os.environ.get("SLURM_CONF"):
        yield {"SLURM_CONF": os.environ["SLURM_CONF"]}
        return
    yield from bed("slurm", "--cpus", "4", "--port-base", str(free_ports(16900, 2)))


@pytest.fixture
def slurm(slurm_bed: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The path of slurm.conf; this process and its children submit there, as from a login node.

    What the test leaves in the queue is cancelled.
    """
    for name in [name for name in os.environ if name.startswith(("SLURM_", "SBATCH_"))]:
        monkeypatch.delenv(name)
    for name, value in slurm_bed.items():
        monkeypatch.setenv(name, value)
    before = _queued()
    yield slurm_bed["SLURM_CONF"]
    if left := _queued() - before:
        subprocess.run(["scancel", *left], capture_output=True)


def _queued() -> set[str]:
    done = subprocess.run(["squeue", "--me", "-h", "-o", "%A"], capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.fixture(scope="session")
def kubernetes_bed() -> Iterator[str]:
    """The path of a kubeconfig: of a Kubernetes whose pods are processes, or the one that KUBECONFIG names.

    Pods find their commands where this Python has its own. A base of ports is a multiple of 100 from others: addresses
    of pods are made of it.
    """
    if os.environ.get("KUBECONFIG"):
        yield os.environ["KUBECONFIG"]
        return
    if importlib.util.find_spec("kr8s") is None:
        pytest.skip("there is no kr8s: pip install 'anabranch[kubernetes]'")
    programs = str(Path(sys.executable).parent)
    base = str(free_ports(20000, 20, 100))
    for variables in bed("kubernetes", "--path", programs, "--port-base", base):
        yield variables["KUBECONFIG"]


@pytest.fixture
def kubernetes(kubernetes_bed: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The name of a namespace of the test's own; KUBECONFIG names it, for this process and its children.

    What the test leaves there is deleted with it.
    """
    with own_namespace(kubernetes_bed, tmp_path, monkeypatch) as name:
        yield name


@pytest.fixture(scope="session")
def dask_operator_bed() -> Iterator[str]:
    """The path of a kubeconfig: of a Kubernetes with two nodes, where the Dask operator runs.

    The folder of the bed is that of the file; the cluster that KUBECONFIG names is not taken: nodes are killed here.
    """
    if importlib.util.find_spec("dask_kubernetes") is None:
        pytest.skip("there is no dask_kubernetes: pip install 'anabranch[dev]'")
    programs = Path(sys.executable).parent
    base = str(free_ports(20000, 20, 100))
    options = ("--path", str(programs), "--port-base", base, "--nodes", "2", "--dask-operator", str(programs.parent))
    for variables in bed("kubernetes", *options):
        yield variables["KUBECONFIG"]


@pytest.fixture
def dask_operator(dask_operator_bed: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """As `kubernetes`, where the Dask operator runs."""
    with own_namespace(dask_operator_bed, tmp_path, monkeypatch) as name:
        yield name


@contextmanager
def own_namespace(kubeconfig: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A namespace, and a kubeconfig that names it in KUBECONFIG; both go."""
    import yaml

    from anabranch.kubernetes.api import KubernetesApi
    from anabranch.kubernetes.resources import NAMESPACES

    name = f"place{next(_prefixes)}-{os.getpid()}"
    config = yaml.safe_load(Path(kubeconfig).read_text())
    current = next(one for one in config["contexts"] if one["name"] == config["current-context"])
    current["context"]["namespace"] = name
    own = folder / "kubeconfig"
    own.write_text(yaml.safe_dump(config))
    own.chmod(0o600)
    with KubernetesApi(kubeconfig=kubeconfig) as api:
        api.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        monkeypatch.setenv("KUBECONFIG", str(own))
        try:
            yield name
        finally:
            api.delete(NAMESPACES, name)


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    """Real helm and kubectl."""
    from tests.integration.helm.tools import CACHE, Tools

    fetch = BEDS / "helm" / "fetch"
    if not fetch.exists():
        pytest.skip(f"there is no helm: no test bed at {fetch}")
    folder = CACHE / "helm"
    done = subprocess.run([fetch, folder], capture_output=True, text=True)
    assert done.returncode == 0, f"helm could not be fetched: {done.stderr}"
    return Tools(folder, tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Debian's Chromium, which root installs where the machine lacks it."""
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("there is no playwright: pip install 'anabranch[dev]'")
    found = shutil.which("chromium")
    if found is None:
        if os.geteuid() or shutil.which("apt-get") is None:
            pytest.skip("there is no chromium, and no root with apt-get to install it")
        get = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"]
        environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in [*get, "update"], [*get, "install", "--no-install-recommends", "chromium", "fonts-dejavu-core"]:
            done = subprocess.run(command, capture_output=True, text=True, env=environ)
            if done.returncode:
                pytest.skip(f"there is no chromium, and it cannot be installed: {done.stderr.strip()[-300:]}")
        found = shutil.which("chromium")
    if found is None:
        pytest.skip("there is no chromium, though apt-get has installed it")
    return found


@contextmanager
def browser_page(chromium: str, **options: Any) -> Iterator[Page]:
    """A page of a browser of its own; both end with the block.

    Args:
        options: of Playwright's `Browser.new_page`: `color_scheme`, `viewport`, `java_script_enabled` and the like.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            yield browser.new_page(**options)
        finally:
            browser.close()


@pytest.fixture
def page(chromium: str) -> Iterator[Page]:
    """An empty page of a browser, 1,000 pixels wide."""
    with browser_page(chromium, viewport={"width": 1000, "height": 800}) as page:
        yield page


MARKS = {"slurm_bed": "slurm", "kubernetes_bed": "kubernetes", "dask_operator_bed": "kubernetes"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that ask for a bed on which they wait, before pytest reads the marks."""
    for item in items:
        for fixture in MARKS.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(MARKS[fixture])
