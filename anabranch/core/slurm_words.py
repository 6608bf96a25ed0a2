"""Slurm's words for the states of jobs and for why they wait, and what they mean: data for each reader of `squeue`."""

from __future__ import annotations

import re

WAITS = frozenset("PENDING CONFIGURING REQUEUED REQUEUE_FED REQUEUE_HOLD RESV_DEL_HOLD REVOKED SPECIAL_EXIT".split())
RUNS = {
    "RUNNING": "",
    "COMPLETING": "",
    "STAGE_OUT": "",
    "SIGNALING": "",
    "RESIZING": "",
    "EXPEDITING": "",
    "SUSPENDED": "it is suspended",
    "STOPPED": "it is stopped",
}
ENDS = {
    "COMPLETED": "",
    "FAILED": "it failed",
    "CANCELLED": "it was cancelled",
    "TIMEOUT": "it ran into its walltime: ask for more with --time",
    "OUT_OF_MEMORY": "it used more memory than it asked for: give more --memory, or let fewer items run at once",
    "NODE_FAIL": "a node of it failed",
    "PREEMPTED": "a job of higher priority took its place",
    "BOOT_FAIL": "its node did not start",
    "DEADLINE": "it could not end before its deadline",
}

# Why a job waits. Where it would wait for ever, or until a person does something, the way out.
MEANINGS = {
    "PartitionConfig": "no node of the partition has so much: cancel it, and ask for less",
    "PartitionNodeLimit": "the partition does not give so many nodes to a job: cancel it, and ask for fewer --nodes",
    "PartitionTimeLimit": "its walltime is over the partition's limit: cancel it, and ask for less --time",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition is closed for now",
    "BadConstraints": "no node can have what it asks for: cancel it, and ask for less",
    "DependencyNeverSatisfied": "a job that it waits for has ended otherwise than it should: cancel it",
    "JobHeldUser": "it is held: `scontrol release` lets it go",
    "JobHeldAdmin": "an administrator holds it: ask there",
    "InvalidAccount": "its account is not valid: cancel it, and give another with --option=--account=NAME",
    "InvalidQOS": "its QOS is not valid: cancel it, and give another with --option=--qos=NAME",
    "AccountNotAllowed": "its account may not use this partition: cancel it, and give another",
    "ReservationDeleted": "its reservation was deleted: cancel it, and start it anew",
    "ReqNodeNotAvail": "a node that it needs is down or reserved",
    "MaxMemPerLimit": "it asks for more memory a processor than it may: cancel it, and ask for less --memory",
    "None": "",
    "Priority": "jobs of higher priority come first",
    "Resources": "it waits for nodes to become free",
    "BeginTime": "its begin is set to later: Slurm does that for two minutes when a job starts again",
    "Dependency": "it waits for another job to end",
    "Licenses": "it waits for a license",
    "Reservation": "it waits for its reservation to begin",
    "Cleaning": "it waits for its earlier start to be cleaned up",
    "NodeDown": "a node of it is down",
    "JobArrayTaskLimit": "as many tasks of its array run as may at once",
}
# Of these and others, those that no time and no other job's end will change.
STUCK = frozenset(
    "PartitionConfig PartitionNodeLimit PartitionTimeLimit BadConstraints DependencyNeverSatisfied JobHeldUser "
    "JobHeldAdmin InvalidAccount InvalidQOS AccountNotAllowed ReservationDeleted MaxMemPerLimit QOSMaxCpuPerJobLimit "
    "QOSMaxWallDurationPerJobLimit AssocMaxWallDurationPerJobLimit AssocGrpCPUMinutesLimit".split()
)


def word_of(reason: str) -> str:
    """Return Slurm's word for why a job waits, without what some versions put around it."""
    if "held" in reason:
        return "JobHeldUser"
    return re.split(r"[\s(,]", reason.strip("() "), maxsplit=1)[0] or "None"


def waits_for(reason: str) -> str:
    """Return why a job waits: Slurm's word, and what it means."""
    word = word_of(reason)
    means = MEANINGS.get(word)
    if means is None and word.startswith(("QOS", "Assoc", "Max", "Grp")):
        means = "a limit of your account or QOS is reached: it waits for your other jobs, or asks for too much for ever"
    if word in ("None", ""):
        return ""
    return f"{reason}: {means}" if means else reason
