"""`arctic compile`."""

import time

from pipelines.cli.terminal.console import standard_output


def command() -> None:
    """Compile the kernels for this machine's CPU now, instead of in the first run."""
    from pipelines.machine_code import compile_kernels

    started = time.monotonic()
    compile_kernels()
    standard_output().print(f"The kernels are compiled ({time.monotonic() - started:.0f} s).")
