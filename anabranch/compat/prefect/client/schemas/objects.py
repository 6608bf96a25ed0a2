"""Prefect's objects of runs and states."""

from __future__ import annotations

from anabranch.compat.prefect.run_states import State, StateDetails
from anabranch.compat.prefect.runs import FlowRun, TaskRun
from anabranch.compat.prefect.states import StateGroup
from anabranch.core.states import TERMINAL as TERMINAL_STATES
from anabranch.core.states import StateType

__all__ = ["TERMINAL_STATES", "FlowRun", "State", "StateDetails", "StateGroup", "StateType", "TaskRun"]
