"""Commands of a shell as tasks: `ShellOperation`."""

from anabranch.core.errors import StepError as StepError
from anabranch.shell.operation import ShellOperation as ShellOperation
from anabranch.shell.process import ShellProcess as ShellProcess
