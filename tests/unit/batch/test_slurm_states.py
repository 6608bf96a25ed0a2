"""What squeue says becomes what is seen: every state with every flag, arrays, reasons, exit codes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.batch import slurm_states
from anabranch.batch.slurm_states import ENDS, RUNS, WAITS, Line, lines, sight, waits_for, whole
from anabranch.core.launching import Phase

# All words that Slurm's sources have for states and for the flags that hide them.
BASE = """PENDING RUNNING SUSPENDED COMPLETED CANCELLED FAILED TIMEOUT NODE_FAIL PREEMPTED BOOT_FAIL DEADLINE
OUT_OF_MEMORY""".split()
FLAGS = """COMPLETING STAGE_OUT CONFIGURING EXPEDITING RESIZING REQUEUED REQUEUE_FED REQUEUE_HOLD SPECIAL_EXIT STOPPED
REVOKED RESV_DEL_HOLD SIGNALING""".split()
# As the bed printed it.
ANSWER = """\
                                                           1|   a-b|        FAILED|    NonZeroExitCode|   0|   768|
                                                           2|   a-b|        FAILED|    NonZeroExitCode|   0| 32512|
                                                           3|   a-b|        FAILED|    JobLaunchFailure|  0|     9|
                                                         4_3|   a-b|        FAILED|    JobLaunchFailure|  0|  4021|
                                                 5_[5-9%2]|   a-b|       PENDING|  JobArrayTaskLimit|   2|     0|
                                                        17+0|  het|       RUNNING|               None|   0|     0|
                                                           6|   odd|       PENDING|      (a|b)|          0|     0|
"""


def line(state: str, reason: str = "None", status: int | None = 0, restarts: int = 0) -> Line:
    return Line("14", "job", state, reason, restarts, status)


def test_every_word_of_slurm_is_known_as_one_of_three() -> None:
    known = [*WAITS, *RUNS, *ENDS]
    assert sorted(known) == sorted({*BASE, *FLAGS})
    assert len(known) == len(set(known))


@pytest.mark.parametrize(
    ("id", "parts"), [("14", []), ("14_3", [3]), ("14_[1,5-7%2]", [1, 5, 6, 7]), ("14_[2-3]", [2, 3]), ("17+0", [])]
)
def test_a_line_stands_for_some_of_an_array(id: str, parts: list[int]) -> None:
    assert Line(id, "job", "PENDING").parts == parts


def test_an_answer_is_read_line_by_line() -> None:
    found = lines("CLUSTER: east\n" + ANSWER + "\nslurm_load_jobs: a warning\n")
    assert [(one.id, one.job, one.state, one.reason, one.restarts, one.status) for one in found] == [
        ("1", "1", "FAILED", "NonZeroExitCode", 0, 768),
        ("2", "2", "FAILED", "NonZeroExitCode", 0, 32512),
        ("3", "3", "FAILED", "JobLaunchFailure", 0, 9),
        ("4_3", "4", "FAILED", "JobLaunchFailure", 0, 4021),
        ("5_[5-9%2]", "5", "PENDING", "JobArrayTaskLimit", 2, 0),
        ("17+0", "17", "RUNNING", "None", 0, 0),
        ("6", "6", "PENDING", "(a|b)", 0, 0),
    ]


@pytest.mark.parametrize(
    ("state", "reason", "status", "code", "told"),
    [
        ("COMPLETED", "None", 0, 0, ""),
        ("FAILED", "NonZeroExitCode", 768, 3, "exit 3"),
        ("FAILED", "NonZeroExitCode", 32512, 127, "exit 127: the command was not found"),
        ("FAILED", "JobLaunchFailure", 9, -9, "killed by signal 9 (SIGKILL)"),
        ("FAILED", "JobLaunchFailure", 4021, None, "could not open the log"),
        ("FAILED", "BadConstraints", 0, None, "no node can have what it asks for"),
        ("FAILED", "None", 0, None, "it failed"),
        ("TIMEOUT", "TimeLimit", 9, -9, "it ran into its walltime"),
        ("TIMEOUT", "TimeLimit", 0, None, "it ran into its walltime"),  # it ended itself: no success all the same
        ("CANCELLED", "None", 15, -15, "it was cancelled"),
        ("CANCELLED by 1000", "None", 15, -15, "it was cancelled"),
        ("NODE_FAIL", "NodeDown", 15, -15, "a node of it failed"),
        ("OUT_OF_MEMORY", "OutOfMemory", 125, None, "more memory than it asked for"),
        ("OUT_OF_MEMORY", "OutOfMemory", 0, None, "more memory than it asked for"),
        ("PREEMPTED", "None", 0, None, "higher priority"),
    ],
)
def test_how_a_job_ended(state: str, reason: str, status: int, code: int | None, told: str) -> None:
    seen = sight(line(state, reason, status))
    assert (seen.phase, seen.code) == (Phase.ENDED, code)
    assert told in seen.reason
    assert bool(seen.reason) == (state != "COMPLETED")


@pytest.mark.parametrize("state", [*FLAGS, "PENDING", "RUNNING", "SUSPENDED", "NEW_WORD", ""])
def test_a_flag_or_a_word_that_is_not_known_is_no_end(state: str) -> None:
    """COMPLETING may become PENDING: a requeue looks like an end for some seconds."""
    for reason in ("None", "NonZeroExitCode", "BeginTime"):
        assert sight(line(state, reason, 768)).phase in (Phase.PENDING, Phase.RUNNING)
        assert sight(line(state, reason, 768)).code is None


def test_a_requeued_job_waits_and_tells_how_often() -> None:
    seen = sight(line("PENDING", "BeginTime", 15, restarts=2))
    assert (seen.phase, seen.restarts, seen.code) == (Phase.PENDING, 2, None)
    assert seen.reason.startswith("BeginTime: its begin is set to later")


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("None", ""),
        ("Priority", "Priority: jobs of higher priority come first"),
        ("Resources", "Resources: it waits for nodes to become free"),
        ("PartitionConfig", "PartitionConfig: no node of the partition has so much"),
        ("DependencyNeverSatisfied", "DependencyNeverSatisfied: a job that it waits for"),
        ("job requeued in held state", "job requeued in held state: it is held"),
        ("launch failed requeued held", "launch failed requeued held: it is held"),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-3]", "a node that it needs is down or reserved"),
        ("QOSMaxCpuPerUserLimit", "a limit of your account or QOS"),
        ("AssocGrpCPUMinutesLimit", "a limit of your account or QOS"),
        ("SomethingNew", "SomethingNew"),
    ],
)
def test_why_a_job_waits(reason: str, told: str) -> None:
    assert told in waits_for(reason)
    assert bool(waits_for(reason)) == bool(told)


def test_parts_of_an_array_have_ended_when_all_have() -> None:
    done, failed, waits = line("COMPLETED"), line("FAILED", "NonZeroExitCode", 768), line("PENDING")
    assert whole([]) is None
    assert whole([done, done]) == sight(done)
    assert whole([done, failed]) == sight(failed)
    assert whole([done, waits, failed]) == sight(waits)
    assert whole([waits, line("RUNNING")]) == sight(line("RUNNING"))


@given(st.text(), st.lists(st.sampled_from([*BASE, *FLAGS, "|", "14_[3]", "9", " ", "x"]), max_size=9))
def test_no_answer_makes_it_fail(text: str, words: list[str]) -> None:
    for one in lines(text + "\n" + "|".join(words) + "\n14|" + "|".join(words) + "|"):
        assert sight(one).phase in Phase


@given(
    st.sampled_from([*BASE, *FLAGS]), st.text(max_size=30), st.one_of(st.none(), st.integers(0, 0xFFFF)),
    st.integers(0, 9),
)  # fmt: skip
def test_only_a_completed_job_has_exit_code_0(state: str, reason: str, status: int | None, restarts: int) -> None:
    seen = sight(line(state, reason, status, restarts))
    assert (seen.code == 0) <= (state == "COMPLETED")
    assert (seen.phase is Phase.ENDED) == (state in ENDS)
    assert seen.restarts == restarts


def test_an_exit_code_may_come_as_a_pair() -> None:
    assert lines("7|job|FAILED|NonZeroExitCode|0|3:0|")[0].status == 768
    assert slurm_states.lines("7|job|FAILED|JobLaunchFailure|0|0:9|")[0].status == 9
