"""Runs programs that a model wrote, Python and SQL, without Docker, root or another package.

A program gets a fresh process that the kernel locks down before the program is read: landlock (it reads the standard
library and writes nothing), a seccomp filter that leaves the system calls of a computing Python, no capabilities,
resource limits, and namespaces if the machine allows them. `preflight` attacks all of it and raises if one attack
works.
"""

from pipelines.sandbox.battery import PreflightError, preflight
from pipelines.sandbox.confinement.limits import Limits, budget_s
from pipelines.sandbox.python.sandbox import CallReply, ProgramReply, PythonSandbox
from pipelines.sandbox.session import UNSAFE, SandboxUnavailableError
from pipelines.sandbox.sql.sandbox import Reply, Row, SqlSandbox
from pipelines.sandbox.values import Plain

__all__ = [
    "UNSAFE",
    "CallReply",
    "Limits",
    "Plain",
    "PreflightError",
    "ProgramReply",
    "PythonSandbox",
    "Reply",
    "Row",
    "SandboxUnavailableError",
    "SqlSandbox",
    "budget_s",
    "preflight",
]
