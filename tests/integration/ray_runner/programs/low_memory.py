"""A Ray whose node is always low on memory: its monitor ends worker after worker. Prints what it saw, as JSON."""

from __future__ import annotations

import json
import threading

from anabranch import RayRunner, flow, session, task, wait


@task(crash_retries=1)
def work(n: int) -> int:
    threading.Event().wait(60)
    return n


@flow(runner=RayRunner(num_cpus=1))
def main() -> list[tuple[str, str]]:
    futures = work.map(range(1))
    wait(futures)
    futures[0].exception()
    return [(state.name, state.message) for state in futures.states]


if __name__ == "__main__":
    found = main()
    session.current().close()
    print(json.dumps(found))
