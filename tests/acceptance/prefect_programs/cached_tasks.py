"""Caching: policies, sums and differences of policies, key functions, refresh."""

from datetime import timedelta

from prefect import flow, task
from prefect.cache_policies import DEFAULT, INPUTS, NO_CACHE, TASK_SOURCE, CachePolicy
from prefect.tasks import task_input_hash

ran = []


@task(cache_policy=INPUTS + TASK_SOURCE)
def by_inputs(x: int) -> int:
    ran.append("by_inputs")
    return x * x


@task(cache_policy=INPUTS - "verbose")
def by_some(x: int, verbose: bool = False) -> int:
    ran.append("by_some")
    return x + 1


@task(cache_key_fn=lambda context, parameters: f"{context.task.name}-{parameters['x'] % 2}")
def by_function(x: int) -> int:
    ran.append("by_function")
    return x


@task(cache_key_fn=task_input_hash, cache_expiration=timedelta(hours=1))
def by_hash(x: int) -> int:
    ran.append("by_hash")
    return -x


class Everything(CachePolicy):
    def compute_key(self, task_ctx, inputs, flow_parameters, **kwargs):
        return f"all-{task_ctx.task.name}"


@task(cache_policy=Everything())
def by_policy(x: int) -> int:
    ran.append("by_policy")
    return x


@task(cache_policy=NO_CACHE)
def never(x: int) -> int:
    ran.append("never")
    return x


@flow
def twice() -> list:
    found = []
    for one in (by_inputs, by_function, by_hash, by_policy, never):
        states = [one(3, return_state=True), one(3, return_state=True), one(5, return_state=True)]
        found.append((one.name, [state.name for state in states], [state.result() for state in states]))
    found.append([by_some(1), by_some(1, verbose=True)])
    found.append([by_inputs.with_options(refresh_cache=True)(3, return_state=True).name])
    return found


if __name__ == "__main__":
    for line in twice():
        print(line)
    print({name: ran.count(name) for name in dict.fromkeys(ran)})
    print([type(part).__name__ for part in DEFAULT.policies], by_hash.persist_result, never.persist_result)
# expected:
# ('by_inputs', ['Completed', 'Cached', 'Completed'], [9, 9, 25])
# ('by_function', ['Completed', 'Cached', 'Cached'], [3, 3, 3])
# ('by_hash', ['Completed', 'Cached', 'Completed'], [-3, -3, -5])
# ('by_policy', ['Completed', 'Cached', 'Cached'], [3, 3, 3])
# ('never', ['Completed', 'Completed', 'Completed'], [3, 3, 5])
# [2, 2]
# ['Completed']
# {'by_inputs': 3, 'by_function': 1, 'by_hash': 2, 'by_policy': 1, 'never': 3, 'by_some': 1}
# ['TaskSource', 'RunId', 'Inputs'] True None
