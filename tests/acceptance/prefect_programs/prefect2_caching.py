"""Prefect 2: `task_input_hash`, key functions, an expiration, a refresh."""

from datetime import timedelta

from prefect import flow, task
from prefect.context import get_run_context
from prefect.tasks import task_input_hash

calls = []


@task(cache_key_fn=task_input_hash, cache_expiration=timedelta(minutes=5))
def heavy(x):
    calls.append(x)
    return x * 2


def by_flow_run(context, parameters):
    return f"{context.task_run.flow_run_id}-{parameters['x']}"


@task(cache_key_fn=by_flow_run)
def once_a_run(x):
    calls.append("run")
    return x


@task(cache_key_fn=task_input_hash, cache_expiration_seconds=0)
def short_lived(x):
    calls.append("short")
    return x


@flow
def pipeline():
    first = heavy.submit(1, return_state=True)
    second = heavy.submit(1, return_state=True)
    third = heavy(2)
    once_a_run(1)
    once_a_run(1)
    fresh = heavy.with_options(refresh_cache=True)(1)
    return first.name, second.name, third, fresh, get_run_context().flow.name


if __name__ == "__main__":
    print(pipeline())
    print(calls)
    print(pipeline())
    print(calls.count("run"), calls.count(1), calls.count(2))
# expected:
# ('Completed', 'Cached', 4, 2, 'pipeline')
# [1, 2, 'run', 1]
# ('Cached', 'Cached', 4, 2, 'pipeline')
# 2 3 1
