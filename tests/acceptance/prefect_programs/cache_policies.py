from datetime import timedelta

from prefect import flow, task
from prefect.cache_policies import INPUTS, NO_CACHE, TASK_SOURCE, CachePolicy

calls = []


class ByLength(CachePolicy):
    """Texts of one length have one value."""

    def compute_key(self, task_ctx, inputs, flow_parameters, **kwargs):
        return f"length-{len(inputs['text'])}"


@task(cache_policy=INPUTS - "debug", persist_result=True)
def without_debug(x, debug=False):
    calls.append(("without_debug", x, debug))
    return x


@task(cache_policy=INPUTS + TASK_SOURCE, cache_expiration=timedelta(hours=1))
def both(x):
    calls.append(("both", x))
    return x


@task(cache_policy=ByLength())
def by_length(text):
    calls.append(("by_length", text))
    return text


@task(cache_policy=NO_CACHE)
def never(x):
    calls.append(("never", x))
    return x


@flow
def main():
    states = [without_debug(1, debug=flag, return_state=True).name for flag in (False, True)]
    return states, [both(2), both(2)], [by_length("ab"), by_length("cd")], [never(3), never(3)]


if __name__ == "__main__":
    print(main())
    for call in calls:
        print(call)
# expected:
# (['Completed', 'Cached'], [2, 2], ['ab', 'ab'], [3, 3])
# ('without_debug', 1, False)
# ('both', 2)
# ('by_length', 'ab')
# ('never', 3)
# ('never', 3)
