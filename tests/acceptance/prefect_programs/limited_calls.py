import threading

from prefect import flow, task
from prefect.task_runners import ThreadPoolTaskRunner

inside = 0
most = 0
lock = threading.Lock()
both = threading.Event()


class TooMany(Exception):
    pass


attempts = {}


@task(retries=3, retry_delay_seconds=[0, 0, 0], task_run_name="page-{page}")
def call_api(page: int) -> dict:
    global inside, most
    with lock:
        inside += 1
        most = max(most, inside)
        attempts[page] = attempts.get(page, 0) + 1
        if inside == 2:
            both.set()
    both.wait(20)
    with lock:
        inside -= 1
    if attempts[page] == 1 and page % 3 == 0:
        raise TooMany(page)
    return {"page": page, "items": [page] * page}


@task
def merge(pages: list[dict]) -> int:
    return sum(len(page["items"]) for page in pages)


@flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
def crawl(count: int) -> int:
    return merge.submit(call_api.map(range(count))).result()


if __name__ == "__main__":
    print(crawl(7), most, [attempts[page] for page in range(7)])
# expected:
# 21 2 [2, 1, 1, 2, 1, 1, 2]
