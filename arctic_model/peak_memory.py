"""The most memory that this process had at one time."""

import resource
import sys
from pathlib import Path


def peak_resident_bytes() -> int:
    """Peak of the resident memory of this process so far, in bytes.

    On Linux it is VmHWM of /proc/self/status. `ru_maxrss` of getrusage is kept across exec there, so a process begins
    with the peak of the one that started it.
    """
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    kilobytes = status.partition("VmHWM:")[2].split(maxsplit=1)[0]
    return 1024 * int(kilobytes)
