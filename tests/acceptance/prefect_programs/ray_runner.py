from prefect import flow, task
from prefect.futures import as_completed
from prefect_ray import RayTaskRunner


@task
def load(day: int) -> list[int]:
    return list(range(day))


@task(retries=2, retry_delay_seconds=0)
def clean(rows: list[int]) -> int:
    if not rows:
        raise ValueError("no rows")
    return len(rows)


@flow(task_runner=RayTaskRunner(init_kwargs={"num_cpus": 2}))
def etl(days: list[int]) -> dict[str, object]:
    cleaned = clean.map(load.map(days))
    ended = sorted(future.state.name for future in as_completed(cleaned))
    return {"ended": ended, "rows": [future.result(raise_on_failure=False) for future in cleaned]}


if __name__ == "__main__":
    found = etl([3, 0, 2], return_state=True).result(raise_on_failure=False)
    print(found["ended"], [str(row) for row in found["rows"]])
# expected:
# ['Completed', 'Completed', 'Failed'] ['3', 'no rows', '2']
