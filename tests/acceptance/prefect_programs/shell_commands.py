import asyncio
import tempfile

from prefect import flow
from prefect_shell import ShellOperation, shell_run_command


@flow
def shell_workflow(filename: str = "data.txt"):
    echo_task = ShellOperation(commands=["echo 'Hello from Prefect!'"], stream_output=True)
    echo_result = echo_task()
    print(f"Echo output: {echo_result}")
    wc_task = ShellOperation(commands=[f"wc -l {filename}"], stream_output=True)
    line_count = int(wc_task().split()[0])
    print(f"File has {line_count} lines")
    env_task = ShellOperation(commands=["echo $MY_VAR"], env={"MY_VAR": "Prefect is awesome!"}, stream_output=True)
    print(f"Environment variable: {env_task()}")
    with ShellOperation(commands=["echo one", "(exit 3)", "echo two"]) as operation:
        process = operation.trigger()
        process.wait_for_completion()
        print(process.return_code, process.fetch_result())
    try:
        ShellOperation(commands=["exit 3"]).run()
    except RuntimeError as error:
        print(str(error).partition(" failed ")[2])


@flow
async def awaited():
    async with ShellOperation(commands=["pwd"], working_dir="/") as operation:
        process = await operation.trigger()
        await process.wait_for_completion()
        print(await process.fetch_result())
    print(await shell_run_command("echo a; echo b"), await shell_run_command("echo a; echo b", return_all=True))
    try:
        await shell_run_command("echo why >&2; exit 2")
    except RuntimeError as error:
        print(repr(str(error)))


if __name__ == "__main__":
    with tempfile.NamedTemporaryFile("w") as file:
        file.write("a\nb\nc\n")
        file.flush()
        shell_workflow(file.name)
    asyncio.run(awaited())
# expected:
# Echo output: Hello from Prefect!
# File has 3 lines
# Environment variable: Prefect is awesome!
# 0 ['one', 'two']
# with return code 3.
# ['/']
# b ['a', 'b']
# 'Command failed with exit code 2:\nwhy\n'
