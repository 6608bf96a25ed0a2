"""Prefect 1: parameters, retries, a map, a reduce, constants, and states by task."""

from datetime import timedelta

import prefect
from prefect import Flow, Parameter, task, unmapped

tries = []


@task(max_retries=3, retry_delay=timedelta(seconds=0.01))
def extract(n):
    tries.append(n)
    if len(tries) < 3:
        raise ConnectionError("the source is not there")
    return list(range(n))


@task(log_stdout=True)
def transform(x, factor, offsets):
    logger = prefect.context.get("logger")
    logger.info("transforming %s", x)
    return x * factor + sum(offsets)


@task(name="Load it")
def load(rows, table="plain"):
    return f"{rows} into {table}"


@task(nout=2)
def ends(rows):
    return rows[0], rows[-1]


with Flow("etl") as flow:
    n = Parameter("n", default=3)
    table = Parameter("table")
    rows = extract(n)
    done = transform.map(rows, unmapped(10), offsets=unmapped([n, 1]))
    loaded = load(done, table=table)
    first, last = ends(done)
    span = last - first

if __name__ == "__main__":
    state = flow.run(table="t")
    print(state, state.is_successful())
    print(state.result[rows].result, state.result[done].is_mapped(), state.result[done].result)
    print([child.result for child in state.result[done].map_states])
    print(state.result[loaded].result, state.result[span].result, state.result[n].result)
    print(flow.run(parameters={"n": 2, "table": "u"}).result[loaded].result)
    print(sorted(flow.parameters(names_only=True)), [one.name for one in flow.get_tasks("Load it")], len(tries))
    for wrong in ({}, {"table": "t", "m": 1}):
        try:
            flow.run(**wrong)
        except ValueError as error:
            print(error)
# expected:
# <Success: "All reference tasks succeeded."> True
# [0, 1, 2] True [4, 14, 24]
# [4, 14, 24]
# [4, 14, 24] into t 20 3
# [3, 13] into u
# ['n', 'table'] ['Load it'] 4
# Flow.run did not receive the following required parameters: table
# Flow.run received the following unexpected parameters: m
