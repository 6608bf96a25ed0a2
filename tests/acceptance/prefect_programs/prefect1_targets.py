"""Prefect 1: targets. A task whose file is there does not run; its value is that of the file."""

import json
from pathlib import Path

from prefect import Flow, Parameter, task
from prefect.engine.results import LocalResult
from prefect.engine.serializers import JSONSerializer
from prefect.engine.signals import SKIP

ran = []


@task(target="{task_name}-{day}.pkl")
def load(day):
    ran.append("load")
    return {"day": day, "rows": [1, 2, 3]}


@task(target="double/{map_index}.json", result=LocalResult(dir="mapped", serializer=JSONSerializer()))
def double(x):
    ran.append(f"double {x}")
    return 2 * x


@task
def rows(found):
    ran.append("rows")
    return found["rows"]


@task(target=lambda **known: f"{known['flow_name']}-skipped.pkl")
def skipped():
    raise SKIP("nothing to do")


@task(checkpoint=False, target="never.pkl")
def unkept():
    ran.append("unkept")


with Flow("targets", result=LocalResult(dir="results")) as flow:
    day = Parameter("day", default="monday")
    loaded = load(day)
    doubled = double.map(rows(loaded))
    none = skipped()
    plain = unkept()

if __name__ == "__main__":
    state = flow.run()
    print(state.result[doubled].result, type(state.result[loaded]).__name__, type(state.result[none]).__name__)
    print(ran)
    ran.clear()
    state = flow.run()
    print(state.result[doubled].result, type(state.result[loaded]).__name__)
    print([type(child).__name__ for child in state.result[doubled].map_states], ran)
    Path("mapped/double/1.json").write_text(json.dumps(40))
    Path("mapped/double/2.json").unlink()
    ran.clear()
    print(flow.run().result[doubled].result, ran)
    ran.clear()
    flow.run(day="tuesday")
    print(ran)
    for folder in ("results", "mapped"):
        print(sorted(str(path) for path in Path(folder).rglob("*.*")))

# expected:
# [2, 4, 6] Success Skipped
# ['load', 'rows', 'double 1', 'double 2', 'double 3', 'unkept']
# [2, 4, 6] Cached
# ['Cached', 'Cached', 'Cached'] ['rows', 'unkept']
# [2, 40, 6] ['rows', 'double 3', 'unkept']
# ['load', 'rows', 'unkept']
# ['results/load-monday.pkl', 'results/load-tuesday.pkl']
# ['mapped/double/0.json', 'mapped/double/1.json', 'mapped/double/2.json']
