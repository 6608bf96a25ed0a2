"""An ETL pipeline: an extraction that fails twice, a transformation, a load; the flow returns its rows."""

from prefect import flow, get_run_logger, task

calls = []


@task(retries=3, retry_delay_seconds=[0.01, 0.02, 0.03], tags=["source"])
def extract(day: str) -> list[dict]:
    calls.append(day)
    if len(calls) < 3:
        raise ConnectionError("the source is not there")
    return [{"day": day, "n": n} for n in range(4)]


@task
def transform(rows: list[dict]) -> list[dict]:
    return [{**row, "double": row["n"] * 2} for row in rows if row["n"]]


@task(name="write out")
def load(rows: list[dict]) -> int:
    get_run_logger().info("loading %d rows", len(rows))
    return len(rows)


@flow(name="etl", description="rows of a day")
def etl(day: str = "2026-01-01") -> dict:
    rows = transform(extract(day))
    return {"loaded": load(rows), "sum": sum(row["double"] for row in rows)}


if __name__ == "__main__":
    print(etl())
    print(len(calls), extract.retries, sorted(extract.tags), load.name, etl.name)
# expected:
# {'loaded': 3, 'sum': 12}
# 3 3 ['source'] write out etl
