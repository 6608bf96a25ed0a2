"""The command `anabranch` for a driver that waits at its end for a moment alone: `hurried_driver.py drive RUN ...`."""

from anabranch.cli import main
from anabranch.entrypoints import ordered
from anabranch.records import http_sink

if __name__ == "__main__":
    ordered.STAY = 0.1
    http_sink.END_SECONDS = 0.1
    main()
