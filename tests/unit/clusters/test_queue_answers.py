"""What batch systems say of jobs, read: recorded lines of squeue and qstat."""

from __future__ import annotations

import pytest

from anabranch.clusters import pbs, slurm
from anabranch.clusters.queues import clean_environment
from anabranch.clusters.scaling import Seen

SLURM = """\
11|PENDING|Resources
12|PENDING|PartitionConfig
13|RUNNING|None
14|COMPLETED|None
15|FAILED|NonZeroExitCode
16|OUT_OF_MEMORY|OutOfMemory
17|PENDING|SomethingNew
18|CONFIGURING|None
19|NODE_FAIL|NodeDown
20|NEVER_HEARD_OF|None

garbage
"""


def test_lines_of_squeue() -> None:
    found = slurm.seen(SLURM)
    assert found["11"] == Seen("queued", "Resources: it waits for nodes to become free")
    assert found["12"].hopeless
    assert "ask for less" in found["12"].reason
    assert found["13"] == Seen("running")
    assert found["14"] == Seen("ended", "COMPLETED")
    assert found["15"] == Seen("ended", "FAILED NonZeroExitCode: it failed")
    assert "used more memory" in found["16"].reason
    assert found["17"] == Seen("queued", "SomethingNew")
    assert found["18"].phase == "queued"
    assert found["19"].phase == "ended"
    assert found["20"] == Seen("running"), "an unknown word is no end"
    assert len(found) == 10


# Put together from recorded outputs of PBS 19 to 22; a value of the environment breaks the JSON.
PBS = """\
{
    "timestamp":1618412059,
    "pbs_version":"20.0.1",
    "pbs_server":"h",
    "Jobs":{
        "8.h":{
            "Job_Name":"n",
            "job_state":"F",
            "Exit_status":271,
            "Variable_List":{
                "PS1":"\\[\\e]0;"broken",
                "PBS_O_HOME":"/home/u"
            },
            "comment":"Job run at Wed Apr 14 at 23:34"
        },
        "9.h":{
            "Job_Name":"n",
            "job_state":"Q",
            "comment":"Not Running: Insufficient amount of resource: ncpus "
        },
        "10.h":{
            "job_state":"Q",
            "comment":"Can Never Run: Insufficient amount of resource: ncpus (R: 640 A: 64 T: 64)"
        },
        "11.h":{
            "job_state":"R"
        },
        "12[].h":{
            "job_state":"B"
        }
    }
}
"""


def test_json_of_qstat_also_where_it_is_none() -> None:
    found = pbs.seen(PBS)
    assert found["8.h"] == Seen("ended", "exit status 271")
    assert found["9.h"] == Seen("queued", "Not Running: Insufficient amount of resource: ncpus ")
    assert found["10.h"].hopeless
    assert found["11.h"] == found["12[].h"] == Seen("running")
    assert pbs.seen('{"timestamp":1, "pbs_version":"20.0.1"}') == {}


@pytest.mark.parametrize("name", ["SLURM_JOB_ID", "SBATCH_PARTITION", "SLURM_MEM_PER_NODE", "PMI_RANK", "PBS_JOBID"])
def test_jobs_do_not_inherit_an_allocation_around_the_cluster(name: str) -> None:
    given = {name: "1", "SLURM_CONF": "/etc/slurm.conf", "PBS_SERVER": "h", "HOME": "/home/u"}
    assert clean_environment(given) == {"SLURM_CONF": "/etc/slurm.conf", "PBS_SERVER": "h", "HOME": "/home/u"}
