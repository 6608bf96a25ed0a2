"""Mapped calls with constants, futures passed on, and the order of results."""

from prefect import flow, task, unmapped
from prefect.exceptions import MappingLengthMismatch, MappingMissingIterable
from prefect.futures import PrefectFutureList, as_completed, wait


@task(task_run_name="page-{page}")
def fetch(page: int, base: str) -> str:
    return f"{base}/{page}"


@task
def length(text: str, more: int = 0) -> int:
    return len(text) + more


@flow
def crawl(pages: list[int]) -> dict:
    texts = fetch.map(pages, base=unmapped("http://x"))
    sizes = length.map(texts, more=range(len(pages)))
    done, not_done = wait(sizes)
    states = length.map(["a", "bb"], return_state=True)
    try:
        length.map(["a"], more=[1, 2])
    except MappingLengthMismatch as error:
        unequal = str(error)
    try:
        length.map(1)
    except MappingMissingIterable as error:
        nothing = str(error)[:40]
    return {
        "texts": texts.result(),
        "sizes": [size.result() for size in sizes],
        "ended": (len(done), len(not_done)),
        "list": isinstance(sizes, PrefectFutureList),
        "any order": sorted(one.result() for one in as_completed(sizes)),
        "states": [state.result() for state in states],
        "unequal": unequal[-30:],
        "nothing": nothing,
    }


if __name__ == "__main__":
    for name, value in crawl([1, 20, 300]).items():
        print(name, value)
# expected:
# texts ['http://x/1', 'http://x/20', 'http://x/300']
# sizes [10, 12, 14]
# ended (3, 0)
# list True
# any order [10, 12, 14]
# states [1, 2]
# unequal engths: {'text': 1, 'more': 2}
# nothing No iterable parameters were received. Pa
