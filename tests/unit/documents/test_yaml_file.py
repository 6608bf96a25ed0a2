"""Deployments in files: ours, and those of Prefect."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from anabranch.core.errors import DeploymentError
from anabranch.documents import yaml_file
from anabranch.documents.document import Document

if TYPE_CHECKING:
    from pathlib import Path


def read(folder: Path, text: str, name: str = "d.yaml") -> list[Document]:
    (folder / name).write_text(text)
    return yaml_file.read(folder / name)


TWO_HALVES = """
###
### A complete description of a Prefect Deployment for flow 'Cat Facts'
###
name: catfact
description: null
version: c0fc95308d8137c50d2da51af138aa23
tags: [test]
work_queue_name: q
work_pool_name: p
parameters:
  url: https://catfact.ninja/fact
schedule:
  interval: 3600.0
  anchor_date: '2020-01-01T00:00:00+00:00'
  timezone: UTC
is_schedule_active: false
infra_overrides: {}
infrastructure:
  type: process
  env: {A: b}
  labels: {}
  name: null
  command: null
  stream_output: true
  working_dir: null
  block_type_slug: process
  _block_type_slug: process

###
### DO NOT EDIT BELOW THIS LINE
###
flow_name: Cat Facts
manifest_path: null
storage:
  basepath: my-bucket/flows
  _block_type_slug: s3
path: flows
entrypoint: flows/fact.py:cat_fact
parameter_openapi_schema:
  title: Parameters
  type: object
  properties:
    url: {title: url, type: string}
  required: [url]
  definitions: null
timestamp: '2023-02-08T23:00:14.974642+00:00'
triggers: []
"""


def test_prefect_2s_two_halves(tmp_path: Path) -> None:
    (found,) = read(tmp_path, TWO_HALVES)
    assert (found.full_name, found.entrypoint, found.path) == ("Cat Facts/catfact", "flows/fact.py:cat_fact", "flows")
    assert (found.work_pool_name, found.work_queue_name, found.job_variables) == ("p", "q", {"env": {"A": "b"}})
    assert found.schedules == [
        {"interval": 3600.0, "anchor_date": "2020-01-01T00:00:00+00:00", "timezone": "UTC", "active": False}
    ]
    assert found.storage == {"url": "s3://my-bucket/flows"}
    assert found.parameter_schema["required"] == ["url"]


PROJECT = """
name: anything
prefect-version: 3.4.0
definitions:
  pool: &pool
    name: p
    job_variables: {image: x}
build: null
push: null
pull:
- prefect.deployments.steps.git_clone:
    repository: https://github.com/team/flows.git
    branch: main
    access_token: '{{ prefect.blocks.secret.github-token }}'
deployments:
- name: one
  version: 1.5
  tags: [a]
  concurrency_limit: {limit: 2, collision_strategy: CANCEL_NEW}
  flow_name: load
  entrypoint: flows/load.py:load
  parameters: {day: 2024-01-02}
  work_pool: *pool
  schedules:
  - cron: 0 9 * * *
    timezone: Europe/Berlin
    active: false
  - interval: 60
    slug: often
- name: two
  flow_name: load
  entrypoint: flows/load.py:load
  work_pool: *pool
  pull:
  - prefect.deployments.steps.set_working_directory:
      directory: /srv
- name: three
  flow_name: load
  entrypoint: flows/load.py:load
  pull:
  - prefect.deployments.steps.pull_from_remote_storage:
      url: s3://bucket/flows
      settings: {anon: true}
"""


def test_a_project_file_with_several_deployments(tmp_path: Path) -> None:
    one, two, three = read(tmp_path, PROJECT, "prefect.yaml")
    assert one.storage == {"git": "https://github.com/team/flows.git", "ref": "main", "token": "GITHUB_TOKEN"}
    assert (one.version, one.parameters, one.work_pool_name) == ("1.5", {"day": "2024-01-02"}, "p")
    assert (one.concurrency_limit, one.collision_strategy) == (2, "cancel_new")
    assert [schedule.get("slug") for schedule in one.schedules] == [None, "often"]
    assert (two.storage, two.path, two.job_variables) == (None, "/srv", {"image": "x"})
    assert three.storage == {"url": "s3://bucket/flows", "options": {"anon": True}}


def test_without_a_pull_step_the_code_is_beside_the_file(tmp_path: Path) -> None:
    (found,) = read(tmp_path, "deployments:\n- {name: d, flow_name: f, entrypoint: 'a.py:f'}\n")
    assert found.path == str(tmp_path.resolve())


def test_files_of_ours(tmp_path: Path) -> None:
    document = Document("d", flow_name="f", parameters={"text": "a: b\n# no comment"}, tags=["1", "yes", "null"])
    for name in ("d.yaml", "d.json"):
        yaml_file.write(document, tmp_path / name)
        assert yaml_file.read(tmp_path / name) == [document]
    assert json.loads((tmp_path / "d.json").read_text())["tags"] == ["1", "yes", "null"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: d\nschedul: {cron: x}\n", "no key 'schedul'; did you mean 'schedule'?"),
        ("name: d\n\ttags: []\n", "line 2"),
        ("name: d\nname: e\n", "line 2: the key 'name' is given twice"),
        ("- name: d\n", "must hold the keys of a deployment, got list"),
        ("", "must hold the keys of a deployment"),
        ("name: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
        ("deployments:\n- {name: d, entrypont: x}\n", "deployments[0]: a deployment has no key 'entrypont'"),
        ("deployments: {}\n", "deployments must be a list"),
        ("deployments: []\npulls: []\n", "no key 'pulls' beside deployments"),
        ("deployments:\n- {name: d, pull: [{run_shell_script: {script: ls}}]}\n", "no pull step 'run_shell_script'"),
        ("deployments:\n- {name: d, pull: [{git_clone: {repository: 'https://h/r.git', access_token: abcd}}]}\n",
         "a deployment keeps no secrets"),
    ],
)  # fmt: skip
def test_what_is_refused_names_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DeploymentError) as refused:
        read(tmp_path, text)
    assert message in str(refused.value)
    assert str(tmp_path / "d.yaml") in str(refused.value)


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match=r"gone.yaml' cannot be read: No such file"):
        yaml_file.read(tmp_path / "gone.yaml")
    with pytest.raises(DeploymentError, match="is a folder"):
        yaml_file.read(tmp_path)


def test_a_few_lines_that_stand_for_billions(tmp_path: Path) -> None:
    lines = ["name: d", "parameters:", "  a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(DeploymentError, match="more than 100,000 values"):
        read(tmp_path, "\n".join(lines))
