"""What `sbatch` says when it does not take a job, and the way out, as pure functions over its words."""

from __future__ import annotations

from anabranch.batch.silences import is_silence

_LIMIT = "a limit of your account is reached: wait until some of your jobs have ended, or ask for less"
# Part of what sbatch says, in lower case, and what to do about it.
_WAYS_OUT = {
    "invalid partition": "`sinfo -s` lists the partitions; give one with --option=--partition=NAME",
    "invalid account": "`sacctmgr show assoc user=$USER` lists your accounts; give one with --option=--account=NAME",
    "invalid qos": "`sacctmgr show qos` lists them; give one with --option=--qos=NAME",
    "invalid --time": "write --time as 90 (minutes), 1:30:00 or 2-12:00:00",
    "invalid time limit": "write --time as 90 (minutes), 1:30:00 or 2-12:00:00",
    "time limit is invalid": "ask for less --time, or another partition: `sinfo -o '%P %l'` tells their limits",
    "invalid job array": "ask for fewer --pilots: `scontrol show config | grep MaxArraySize` has the limit",
    "memory specification": "no node has so much memory: ask for less --memory; `sinfo -o '%P %m'` tells how much",
    "node count specification": "ask for fewer --nodes; `sinfo -s` tells how many there are",
    "node configuration is not available": "no node has so much: ask for fewer --cpus or --gpus, or less --memory",
    "more processors requested": "ask for fewer --cpus or --nodes",
    "generic resource": "no node has such --gpus: `sinfo -o '%P %G'` tells what there is",
    "feature specification": "no node has such a feature: `sinfo -o '%P %f'` lists them",
    "submitjoblimit": "as many jobs are in the queue as the site allows you: wait, or cancel some",
    "submit limit": _LIMIT,
    "accounting/qos policy": _LIMIT,
    "unrecognized option": "`sbatch --help` lists the options of this Slurm; --without=--NAME leaves one of ours out",
    "disk quota": "your quota is full: `quota -s` tells; `anabranch records compact` gives room back",
    "no space left": "the file system is full",
    "unable to open file": "is the home a folder that this machine sees?",
    "reservation": "`scontrol show reservation` lists those that you may use",
}


def unclear(code: int | None, told: str) -> bool:
    """Return whether a failed sbatch may have handed the job over all the same."""
    return code is None or code < 0 or is_silence(told)


def refusal(told: str) -> str:
    """Return what sbatch said, and the way out where one is known."""
    said = told.replace("sbatch: error: ", "").replace("sbatch: ", "").strip().rstrip(".")
    way = next((way for words, way in _WAYS_OUT.items() if words in told.lower()), "")
    return f"Slurm does not take the job: {said}" + (f". {way[0].upper()}{way[1:]}" if way else "")


def job_id(out: str) -> str:
    """Return the id in what `sbatch --parsable` printed: in the last line, perhaps with a cluster; "" for none.

    Sites let sbatch print more lines.
    """
    for line in reversed(out.strip().splitlines()):
        number = line.strip().partition(";")[0]
        if number.isdecimal():
            return line.strip()
    return ""
