"""The routes of all nouns; a noun's file is named here, or it is not served."""

from __future__ import annotations

from anabranch.server.routes import (
    access,
    agents,
    begin,
    claims,
    deployments,
    health,
    ingest,
    pools,
    records,
    runs,
    schedules,
    upkeep,
)

NOUNS = (access, agents, begin, claims, deployments, health, ingest, pools, records, runs, schedules, upkeep)
