"""A flow of Prefect 1, registered under a project with a schedule, storage, run configuration and labels."""

from datetime import datetime, timedelta

import prefect
from prefect import Client, Flow, Parameter, task
from prefect.executors import LocalDaskExecutor
from prefect.run_configs import KubernetesRun, LocalRun, UniversalRun
from prefect.schedules import CronSchedule, IntervalSchedule, Schedule
from prefect.schedules.clocks import CronClock, IntervalClock
from prefect.storage import S3, Docker, Git, Local, Module

from anabranch import serving


@task
def say_hello(name):
    prefect.context.get("logger").info("Hello, %s", name)


schedule = IntervalSchedule(start_date=datetime(2030, 1, 1), interval=timedelta(hours=1))

with Flow("hello flow", schedule=schedule) as flow:
    say_hello(Parameter("name", default="world"))

flow.run_config = UniversalRun(env={"A": "b"}, labels=["dev"])
flow.executor = LocalDaskExecutor()


def shown(id):
    row = serving.current().deployments.find(id)
    print(row.full_name, row.project, row.revision, row.labels)
    print(" ", row.document["work_pool"]["job_variables"], row.document["written_for"], row.document["entrypoint"])
    print(" ", row.document.get("storage"))


if __name__ == "__main__":
    Client().create_project("Hello, World!")
    shown(flow.register(project_name="Hello, World!", labels=["gpu"]))
    shown(flow.register("Hello, World!"))
    shown(flow.register("Hello, World!", idempotency_key="k"))
    shown(flow.register("Hello, World!", idempotency_key="k"))
    print([one.spec for one in serving.current().schedules.all("hello flow/Hello, World!")])
    flow.schedule = Schedule(clocks=[CronClock("0 9 * * *"), IntervalClock(timedelta(days=1))])
    flow.run_config = KubernetesRun(image="i:1", cpu_request=2, labels=["k8s"])
    for storage in (
        Git("flows/hello.py", repo="team/flows", branch_name="main"), Module("team.flows"), Local(path="hello.py"),
        Docker(registry_url="registry", image_name="flows", path="/opt/flows/hello.py"),
        S3("bucket", key="flows/hello.py", stored_as_script=True),
    ):  # fmt: skip
        flow.storage = storage
        shown(flow.register("Hello, World!", set_schedule_active=False, no_url=True))
    print([(one.spec, one.active) for one in serving.current().schedules.all("hello flow/Hello, World!")])
    print(LocalRun(working_dir='/srv').job(), len(CronSchedule('0 9 * * *').clocks))
# expected:
# hello flow/Hello, World! Hello, World! 1 ('dev', 'gpu')
#   {'env': {'A': 'b'}} prefect prefect1_register.py:flow
#   None
# hello flow/Hello, World! Hello, World! 2 ('dev',)
#   {'env': {'A': 'b'}} prefect prefect1_register.py:flow
#   None
# hello flow/Hello, World! Hello, World! 3 ('dev',)
#   {'env': {'A': 'b'}} prefect prefect1_register.py:flow
#   None
# hello flow/Hello, World! Hello, World! 3 ('dev',)
#   {'env': {'A': 'b'}} prefect prefect1_register.py:flow
#   None
# [{'interval': 3600.0, 'anchor_date': '2030-01-01T00:00:00'}]
# hello flow/Hello, World! Hello, World! 4 ('k8s',)
#   {'image': 'i:1', 'cpu_request': 2} prefect flows/hello.py:flow
#   {'git': 'https://github.com/team/flows.git', 'ref': 'main'}
# hello flow/Hello, World! Hello, World! 5 ('k8s',)
#   {'image': 'i:1', 'cpu_request': 2} prefect team.flows:flow
#   {'module': 'team.flows'}
# hello flow/Hello, World! Hello, World! 6 ('k8s',)
#   {'image': 'i:1', 'cpu_request': 2} prefect hello.py:flow
#   None
# hello flow/Hello, World! Hello, World! 7 ('k8s',)
#   {'image': 'i:1', 'cpu_request': 2} prefect hello.py:flow
#   {'image': 'registry/flows:latest', 'folder': '/opt/flows'}
# hello flow/Hello, World! Hello, World! 8 ('k8s',)
#   {'image': 'i:1', 'cpu_request': 2} prefect hello.py:flow
#   {'url': 's3://bucket/flows'}
# [({'cron': '0 9 * * *'}, False), ({'interval': 86400.0}, False)]
# {'working_dir': '/srv'} 1
