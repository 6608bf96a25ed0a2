"""What a task's code reads of its own run, in all ways to run it, and on processes."""

from prefect import flow, runtime, tags, task, unmapped
from prefect.context import TaskRunContext
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner


@task(tags=["own"])
def plain(a, b=2):
    assert TaskRunContext.get().parameters == runtime.task_run.parameters
    return runtime.task_run.parameters, sorted(runtime.task_run.tags)


@task
def more(a):
    return a + 1


@task(retries=1)
def second(a, *, k=5):
    if runtime.task_run.run_count == 1:
        raise ValueError("once more")
    return runtime.task_run.parameters


@task
async def later(a):
    return runtime.task_run.parameters


@flow
def parameters():
    print(plain(1)[0], plain.submit(1).result()[0], plain.submit([more.submit(1)]).result()[0])
    with tags("outer"):
        print(plain.map([1, 2], b=unmapped(7)).result())
    print([found for found, _ in plain.map(more.map([1, 2])).result()])
    print(second.submit(1).result(), second.map([2]).result())
    print(later.submit(1).result(), later.map([2]).result())


if __name__ == "__main__":
    for runner in (ThreadPoolTaskRunner(max_workers=2), ProcessPoolTaskRunner(max_workers=1)):
        parameters.with_options(task_runner=runner)()
# expected:
# {'a': 1, 'b': 2} {'a': 1, 'b': 2} {'a': [2], 'b': 2}
# [({'a': 1, 'b': 7}, ['outer', 'own']), ({'a': 2, 'b': 7}, ['outer', 'own'])]
# [{'a': 2, 'b': 2}, {'a': 3, 'b': 2}]
# {'a': 1, 'k': 5} [{'a': 2, 'k': 5}]
# {'a': 1} [{'a': 2}]
# {'a': 1, 'b': 2} {'a': 1, 'b': 2} {'a': [2], 'b': 2}
# [({'a': 1, 'b': 7}, ['outer', 'own']), ({'a': 2, 'b': 7}, ['outer', 'own'])]
# [{'a': 2, 'b': 2}, {'a': 3, 'b': 2}]
# {'a': 1, 'k': 5} [{'a': 2, 'k': 5}]
# {'a': 1} [{'a': 2}]
