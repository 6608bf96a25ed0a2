"""`prefect_shell`: ShellOperation and shell_run_command, by anabranch's operations."""

from __future__ import annotations

from anabranch.compat.prefect_shell.commands import ShellOperation, ShellProcess, shell_run_command

__all__ = ["ShellOperation", "ShellProcess", "shell_run_command"]
