"""Runs a small flow on the Ray at an address. Prints what came of it, as JSON."""

from __future__ import annotations

import json
import sys

from anabranch import RayRunner, flow, session, task


@task
def doubled(n: int) -> int:
    return 2 * n


def main(address: str) -> None:
    @flow(runner=RayRunner(address=address))
    def joined() -> list[int]:
        return doubled.map(range(4)).result(60)  # type: ignore[no-any-return]

    try:
        saw = [str(joined()), ""]
    except Exception as error:
        saw = [type(error).__name__, str(error)]
    session.current().close()
    print(json.dumps(saw))


if __name__ == "__main__":
    main(sys.argv[1])
