"""`arctic doctor`: is this machine fit and safe for a run? Each check judges `infra.doctor.machine.MachineInfo`."""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

from infra.doctor.environment import Environment, Upload
from infra.doctor.machine import MachineInfo, gather

PYTHON = (3, 11)
# The quickstart's needs, with room.
DISK_BYTES = 5 * 2**30
MEMORY_BYTES = 6 * 2**30
SHARED_MEMORY_BYTES = 256 * 2**20
INSTALL = "Run: pip install -e . -c constraints.txt"


@dataclass(frozen=True)
class Check:
    """One check; `remedy`: the action if it is not ok."""

    name: str
    ok: bool
    message: str
    remedy: str = ""


def checks(store: Path | str, address: str | None, upload: Upload) -> list[Check]:
    """Every check on this machine, for a store (folder or address), a cluster at `address` and a measured `upload`."""
    return assess(gather(store, address, upload))


def assess(machine: MachineInfo) -> list[Check]:
    """Every check on given facts."""
    return [
        _python(machine),
        *_packages(machine),
        _size("disk", machine.free_disk_bytes, DISK_BYTES, "Free space, or give --store on another disk."),
        _size("memory", machine.available_memory_bytes, MEMORY_BYTES, "Close other programs, or use a larger machine."),
        _size(
            "shared memory",
            machine.free_shared_memory_bytes,
            SHARED_MEMORY_BYTES,
            "Enlarge /dev/shm; for Docker, start with --shm-size=1g.",
        ),
        Check("store", machine.store_error is None, machine.store_error or "writable"),
        _token(machine),
        _auth_mode(machine),
        Check("cluster", machine.cluster_error is None, machine.cluster_error or "reachable, or this machine"),
        _sockets(machine),
        _kernel(machine),
        *_environment(machine.environment),
    ]


def _python(machine: MachineInfo) -> Check:
    installed, needed = (".".join(map(str, version)) for version in (machine.python, PYTHON))
    return Check("python", machine.python >= PYTHON, installed, f"Use Python {needed} or newer.")


def _packages(machine: MachineInfo) -> Iterator[Check]:
    wrong = []
    for text in machine.requirements:
        requirement = Requirement(text)
        if requirement.name not in machine.versions:
            continue
        version = machine.versions[requirement.name]
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version or 'missing'} (needs {requirement.specifier or 'any'})")
    yield Check("packages", not wrong, "; ".join(wrong) or f"{len(machine.versions)} as required", INSTALL)
    lacking = {extra: missing for extra, missing in machine.extras.items() if missing}
    listed = ". ".join(f"{extra}: {'; '.join(missing)}" for extra, missing in lacking.items())
    remedy = f"Run: pip install -e '.[{','.join(lacking)}]' -c constraints.txt"
    yield Check(
        "optional packages",
        True,
        f"{listed}. Stages that need them will not start. {remedy}" if lacking else "as required",
    )
    broken = [f"{name}: {error}" for name, error in machine.broken_modules.items()]
    yield Check("imports", not broken, "; ".join(broken) or "all load, and gloo reduces on the CPU", INSTALL)


def _size(name: str, available: int, needed: int, remedy: str) -> Check:
    return Check(name, available >= needed, f"{_gib(available)} free, {_gib(needed)} wanted", remedy)


def _token(machine: MachineInfo) -> Check:
    path = machine.token_path
    if machine.token_mode is None:
        return Check("token file", True, f"{path}: not made yet; the first run makes it")
    is_private = machine.token_mode & 0o077 == 0
    return Check(
        "token file",
        is_private,
        f"{path}: mode {machine.token_mode:04o}",
        f"Others on this machine can read it. Run: chmod 600 {path}",
    )


def _auth_mode(machine: MachineInfo) -> Check:
    mode = machine.auth_mode
    message = "RAY_AUTH_MODE is unset; arctic sets it to token" if mode is None else f"RAY_AUTH_MODE is {mode}"
    remedy = "Ray commands in this shell go without the token. Run: export RAY_AUTH_MODE=token"
    return Check("token authentication", mode in (None, "token"), message, remedy)


def _sockets(machine: MachineInfo) -> Check:
    """Open to other machines and without a token: anyone who reaches the port runs code as this user."""
    is_open = [
        one for one in machine.sockets if not one.has_token and not ipaddress.ip_address(one.address).is_loopback
    ]
    listed = ", ".join(f"{one.program} on {one.address}:{one.port}" for one in is_open)
    return Check(
        "open sockets",
        not is_open,
        listed or f"{len(machine.sockets)} of Ray and MLflow, none open without a token",
        "Stop these, and start Ray with RAY_AUTH_MODE=token and MLflow with `arctic ui`.",
    )


def _kernel(machine: MachineInfo) -> Check:
    """For information only: model-written queries run in a separate process with or without these."""
    landlock = f"Landlock version {machine.landlock_abi}" if machine.landlock_abi else "no Landlock"
    return Check("sandbox", True, f"{landlock}, {'seccomp' if machine.has_seccomp else 'no seccomp'}")


def _environment(environment: Environment) -> Iterator[Check]:
    yield _account(environment)
    yield _ray_folder(environment)
    yield _proxies(environment)
    yield from _file_system(environment)
    yield _experiments(environment)
    yield _upload(environment)


def _account(environment: Environment) -> Check:
    """Most runs go on without either: `infra.host.surroundings.prepare` gives them a name and folders for caches."""
    if environment.refusal is not None:
        return Check("account", False, environment.refusal)
    named = "" if environment.has_name else f"user id {environment.uid} has no name; uid-{environment.uid} is used"
    lacking = [text for text in (named, environment.home_error) if text]
    remedy = "Runs keep caches in a temporary folder; to keep them for good, set HOME to a folder that you can write"
    return Check("account", True, f"{'; '.join(lacking)}. {remedy}" if lacking else "has a name and a home folder")


def _ray_folder(environment: Environment) -> Check:
    """A run takes another temporary folder by itself if there is one, `ray start` does not."""
    if environment.ray_refusal is not None:
        return Check("ray folder", False, environment.ray_refusal)
    if environment.ray_folder_error is None:
        return Check("ray folder", True, f"{environment.ray_choice} is writable and short enough for sockets")
    remedy = "`arctic run` uses another; for `ray start`, set RAY_TMPDIR to a short folder that you can write: /tmp"
    return Check("ray folder", True, f"{environment.ray_folder_error}. {remedy}")


def _proxies(environment: Environment) -> Check:
    listed = ", ".join(f"{name} {address}" for name, address in environment.proxies.items())
    use = "sources are fetched through them, this machine's own addresses are reached directly"
    return Check("proxies", True, f"{listed}: {use}" if listed else "none set")


def _file_system(environment: Environment) -> Iterator[Check]:
    file_system = environment.file_system
    if file_system is None:
        return
    copies = "no hard links: files are copied, which takes their size again"
    yield Check("store links", True, "hard links work" if file_system.has_links else copies)
    refused = "the store's file system cannot lock files"
    yield Check(
        "store locks",
        file_system.has_locks,
        "work" if file_system.has_locks else refused,
        "Give --store on another disk.",
    )
    shared = (
        f"belongs to {file_system.other_owner}, and you can write it. New files are yours: share them by a common group"
    )
    remedy = "(chgrp -R GROUP, chmod -R g+rwX, chmod g+s on its folders), or give --store a folder of your own"
    yield Check("store owner", True, f"{shared} {remedy}" if file_system.other_owner else "this user")


def _experiments(environment: Environment) -> Check:
    experiments = environment.experiments
    if experiments.damage:
        remedy = "Move this file away: the next run writes a new one from the store."
        return Check("experiments", False, experiments.damage, remedy)
    at = f" at {experiments.location}" if experiments.location else ""
    if experiments.silence:
        later = "A run goes on without it, and a later `arctic run` or `arctic ui` that reaches it fills it in"
        return Check("experiments", True, f"MLflow{at} does not answer: {experiments.silence.rstrip('.')}. {later}")
    deleted = ", ".join(experiments.deleted)
    restored = f"deleted in MLflow{at}: {deleted}. The next run of that name restores it"
    return Check("experiments", True, restored if deleted else f"none deleted{at}")


def _upload(environment: Environment) -> Check:
    """Only `arctic submit` sends the folder, so its size makes no machine unfit."""
    text, fits = environment.upload.text, environment.upload.fits
    if fits is None:
        return Check("submit", True, f"{text}. Before `arctic submit`, change to the folder of the recipes")
    return Check("submit", True, text if fits else f"`arctic submit` would refuse {text}")


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
