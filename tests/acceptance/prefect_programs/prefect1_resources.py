"""Prefect 1: a resource is set up before the tasks of its block, and cleaned up after them however they end."""

from prefect import Flow, Parameter, resource_manager, task
from prefect.tasks.control_flow import resource_manager as the_same

told = []


@resource_manager
class Cluster:
    def __init__(self, size, fails=False):
        self.size, self.fails = size, fails

    def setup(self):
        if self.fails:
            raise OSError("no machines")
        told.append(f"up {self.size}")
        return {"size": self.size}

    def cleanup(self, resource):
        told.append(f"down {resource['size']}")


@the_same(name="file")
class Opened:
    def __init__(self, name):
        self.name = name

    def setup(self):
        told.append(f"open {self.name}")
        return self.name

    def cleanup(self, name):
        told.append(f"close {name}")


@task
def work(cluster, n):
    told.append(f"work {n}")
    if n < 0:
        raise ValueError("negative")
    return n * cluster["size"]


@task
def after():
    told.append("after")
    return "after"


with Flow("resources") as flow:
    size, n, fails = Parameter("size", default=2), Parameter("n", default=5), Parameter("fails", default=False)
    with Cluster(size, fails) as cluster:
        worked = work(cluster, n)
        followed = after(upstream_tasks=[worked])

with Flow("nested") as nested, Cluster(size=1) as cluster, Opened("a"):
    inner = work(cluster, 1)


def shown(state):
    found = {step.name: type(one).__name__ for step, one in state.result.items() if hasattr(step, "task")}
    print(state.message, list(found.values()))
    print(told)
    told.clear()


if __name__ == "__main__":
    shown(flow.run())
    shown(flow.run(n=-1))
    shown(flow.run(fails=True))
    shown(nested.run())
    print(sorted(one.name for one in flow.reference_tasks()), sorted(one.name for one in flow.terminal_tasks()))

# expected:
# All reference tasks succeeded. ['Success', 'Success', 'Success', 'Success', 'Success']
# ['up 2', 'work 5', 'after', 'down 2']
# Some reference tasks failed. ['Success', 'Success', 'Failed', 'TriggerFailed', 'Success']
# ['up 2', 'work -1', 'down 2']
# Some reference tasks failed. ['Success', 'Failed', 'TriggerFailed', 'TriggerFailed', 'Failed']
# []
# All reference tasks succeeded. ['Success', 'Success', 'Success', 'Success', 'Success', 'Success', 'Success']
# ['up 1', 'open a', 'work 1', 'close a', 'down 1']
# ['after'] ['Cluster.cleanup']
