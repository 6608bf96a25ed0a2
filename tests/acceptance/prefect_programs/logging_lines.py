import logging

from prefect import flow, get_run_logger, task
from prefect.logging import disable_run_logger


class Kept(logging.Handler):
    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append((record.levelname, record.getMessage().rpartition(" - ")[2]))


@task(log_prints=True)
def told(x):
    get_run_logger().warning("value %s", x)
    print("printed", x)
    return x


@flow(log_prints=False)
def main():
    get_run_logger().info("begin")
    print("to the screen")
    return told(1)


if __name__ == "__main__":
    kept = Kept()
    for name in ("prefect", "anabranch"):
        logging.getLogger(name).addHandler(kept)
    main()
    print([line for line in kept.lines if line[1] in ("begin", "value 1", "printed 1")])
    with disable_run_logger():
        print(told.fn(2))
# expected:
# to the screen
# [('INFO', 'begin'), ('WARNING', 'value 1'), ('INFO', 'printed 1')]
# printed 2
# 2
