"""Prefect 1: `case`, `switch`, `merge`, skips, and what they do to the tasks behind them."""

from prefect import Flow, Parameter, case, task
from prefect.engine.signals import SKIP, SUCCESS
from prefect.tasks.control_flow import merge, switch


@task
def check(n):
    return n > 1


@task
def big(n):
    return f"big {n}"


@task
def small(n):
    return f"small {n}"


@task
def behind(value):
    return f"behind {value}"


@task(skip_on_upstream_skip=False)
def whatever(value):
    return f"got {value}"


@task
def only_odd(x):
    if x % 2 == 0:
        raise SKIP("even")
    if x == 5:
        raise SUCCESS("early", result="five")
    return x


@task
def one():
    return "one"


@task
def two():
    return "two"


with Flow("branches") as flow:
    n = Parameter("n")
    chosen = check(n)
    with case(chosen, True):
        a = big(n)
        a2 = behind(a)
    with case(chosen, False):
        b = small(n)
    joined = merge(a2, b)
    seen = whatever(a)
    odd = only_odd.map([1, 2, 5])
    after = behind.map(odd)
    word_one, word_two = one(), two()
    switch(n, {1: word_one, 2: word_two})
    word = merge(word_one, word_two)

if __name__ == "__main__":
    for given in (1, 2, 3):
        state = flow.run(n=given)
        found = state.result
        print(given, type(state).__name__, found[joined].result, "|", found[seen].result, "|", found[word].result)
        print([type(found[step]).__name__ for step in (a, a2, b, word_one, word_two, word)])
    print([type(child).__name__ for child in found[after].map_states], found[after].result)
    print(found[odd].map_states[1].message)
# expected:
# 1 Success small 1 | got None | one
# ['Skipped', 'Skipped', 'Success', 'Success', 'Skipped', 'Success']
# 2 Success behind big 2 | got big 2 | two
# ['Success', 'Success', 'Skipped', 'Skipped', 'Success', 'Success']
# 3 Success behind big 3 | got big 3 | None
# ['Success', 'Success', 'Skipped', 'Skipped', 'Skipped', 'Skipped']
# ['Success', 'Skipped', 'Success'] ['behind 1', None, 'behind five']
# even
