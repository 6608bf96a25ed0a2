"""Seed 004's blocks on deployments, one behind the other; the pool is made before."""

from prefect import flow
from prefect.deployments import Deployment

import anabranch
from anabranch import serving
from anabranch.core.orders import Pool


@flow
def my_workflow(param1: str, param2: int = 10):
    # Your workflow code
    pass


serving.current().pools.put(Pool("my-work-pool"))

# Create a deployment
deployment = Deployment.build_from_flow(
    flow=my_workflow,
    name="my-deployment",
    description="A sample deployment for data processing workflow",
    tags=["production", "data-pipeline"],
    parameters={"param1": "value1", "param2": 20},
    work_pool_name="my-work-pool",
)

# Export to YAML
deployment.to_yaml("deployment.yaml")

# Load deployment from YAML
deployment = Deployment.load_from_yaml("deployment.yaml")

# Apply the deployment
deployment.apply()

# Get flow definition as dictionary
flow_spec = my_workflow.model_dump()

# Export to JSON for human-readable format
import json  # noqa: E402

with open("flow_definition.json", "w") as f:
    json.dump(flow_spec, f, indent=2)

row = serving.current().deployments.find("my-workflow/my-deployment")
print(row.revision, row.pool, row.tags, row.document["parameters"])
print(sorted(flow_spec), isinstance(anabranch.__version__, str))
# expected:
# 1 my-work-pool ('production', 'data-pipeline') {'param1': 'value1', 'param2': 20}
# ['description', 'entrypoint', 'name', 'options', 'parameters', 'version'] True
