"""Prefect 1: executors, classes of tasks, the imperative way to build a flow, loops, what needs a server."""

import threading

import prefect
from prefect import Flow, Parameter, Task, task
from prefect.engine.signals import LOOP
from prefect.executors import LocalDaskExecutor, LocalExecutor


class Times(Task):
    """Multiplies by a number of its own."""

    def __init__(self, by, **kwargs):
        self.by = by
        super().__init__(**kwargs)

    def run(self, x, plus=0):
        self.logger.info("times %s", self.by)
        return x * self.by + plus


@task
def main_thread():
    return threading.current_thread() is threading.main_thread()


@task
def factorial(n):
    count = prefect.context.get("task_loop_count", 1)
    product = prefect.context.get("task_loop_result") or 1
    if count < n:
        raise LOOP(f"round {count}", result=product * count)
    return product * count


with Flow("executors") as flow:
    doubled = Times(by=2)(4)
    mapped = Times(by=3, name="thrice").map([1, 2, 3])
    where = main_thread()
    product = factorial(5)

by_hand = Flow("by hand")
x = Parameter("x", default=7)
seven, eight = Times(by=7, name="seven"), Times(by=8, name="eight")
by_hand.set_dependencies(seven, keyword_tasks={"x": x, "plus": 1})
by_hand.set_dependencies(eight, upstream_tasks=[seven], keyword_tasks={"x": 1})
eight.set_downstream(main_thread, flow=by_hand)

if __name__ == "__main__":
    for executor in (None, LocalExecutor(), LocalDaskExecutor(num_workers=2), LocalDaskExecutor("processes", 1)):
        flow.executor = executor
        state = flow.run()
        print(state.is_successful(), [state.result[one].result for one in (doubled, mapped, product)])
        if executor is None:
            print("in the main thread:", state.result[where].result)
    state = by_hand.run()
    print([one.name for one in by_hand.sorted_tasks()], state.result[seven].result, state.result[eight].result)
    try:
        Flow("x", schedule=object()).run()
    except NotImplementedError as error:
        print(error)
# expected:
# True [8, [3, 6, 9], 120]
# in the main thread: True
# True [8, [3, 6, 9], 120]
# True [8, [3, 6, 9], 120]
# True [8, [3, 6, 9], 120]
# ['x', 'seven', 'eight', 'main_thread'] 50 8
# flow 'x' has a schedule: run(run_on_schedule=False) runs it once, register() lets agents run it by that
