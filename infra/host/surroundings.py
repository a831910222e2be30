"""The surroundings of a process, prepared for the libraries that a run uses: home, user name, temporary folder,
proxies.

Containers run under ids without a name or a home, clusters point TMPDIR into deep folders, and companies set proxies
for all programs. `prepare` changes only the environment of this process and of those it starts.
"""

import getpass
import os
import pwd
import stat
import tempfile
from collections.abc import MutableMapping
from pathlib import Path
from urllib.parse import urlsplit

from arctic_errors import UserError

LOOPBACK = ("localhost", "127.0.0.1", "127.0.0.0/8", "::1", "[::1]")
SOCKET_PATH_BYTES = 107
"""Longest path of a Unix socket (sun_path of unix(7), less the closing zero)."""
RAY_SOCKET_BYTES = len("/ray/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store.0123456789")
"""Bytes that Ray adds to its temporary folder for its longest socket."""
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
CACHES = ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "TRITON_HOME")


class SurroundingsError(UserError, RuntimeError):
    """This account or machine lacks something that a run needs: the message names it and the remedy."""


def prepare() -> None:
    """Give this process a home it can write, a user name, and a direct way to loopback. Raises SurroundingsError."""
    bypass_proxies_on_loopback(os.environ)
    if user_name() is None:
        os.environ["USER"] = fallback_name()
    if home_error() is not None:
        _use_other_home(os.environ, private_folder())


def user_name() -> str | None:
    """Name of this user by Python's rule: of LOGNAME, USER, LNAME and USERNAME the first that is set, else as in the
    system's list of users; None if it is in none of them."""
    try:
        return getpass.getuser() or None
    except (KeyError, OSError):
        return None


def fallback_name() -> str:
    """The name of a user who has none."""
    return f"uid-{os.getuid()}"


def account_name(uid: int) -> str | None:
    """Name of a user id in the system's list, None if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def home_error() -> str | None:
    """Why the home folder cannot be used, None if it can."""
    home = home_folder()
    if home is None:
        return "HOME is unset, and this user id has no home"
    if not home.is_dir():
        return f"HOME is {home}, which is no folder"
    return None if os.access(home, os.W_OK | os.X_OK) else f"HOME is {home}, which cannot be written"


def home_folder() -> Path | None:
    """HOME, or this user's home in the system's list; None if neither is known."""
    if home := os.environ.get("HOME"):
        return Path(home)
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return None


def private_folder(temporary: str | None = None) -> Path:
    """A folder of this user's own among the temporary ones, which no other user can read. Raises SurroundingsError."""
    try:
        folder = Path(temporary or tempfile.gettempdir()) / f"arctic-{os.getuid()}"
    except FileNotFoundError as error:
        raise SurroundingsError(f"{error.strerror}. Set HOME and TMPDIR to folders that you can write.") from None
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise SurroundingsError(
            f"{folder}: cannot be made ({error.strerror}). Set HOME and TMPDIR to folders that you can write."
        ) from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise SurroundingsError(
            f"{folder}: others own it or may read it. Remove it, or set HOME and TMPDIR to folders that you can write."
        )
    return folder


def ray_folder() -> str | None:
    """The temporary folder for Ray's sockets and logs: None for its own choice, else one with a path that is short
    enough and that this user can write. Raises SurroundingsError."""
    choice = ray_choice()
    if ray_folder_error(choice) is None:
        return None
    for folder in SHORT_FOLDERS:
        if ray_folder_error(folder) is None:
            return folder
        if os.access(folder, os.W_OK | os.X_OK):
            return str(private_folder(folder))
    raise SurroundingsError(
        f"{ray_folder_error(choice)}, and none of {', '.join(SHORT_FOLDERS)} can be written. Set RAY_TMPDIR to a "
        f"folder that you can write, of at most {SOCKET_PATH_BYTES - RAY_SOCKET_BYTES} bytes."
    )


def ray_choice() -> str:
    """The temporary folder that Ray takes by itself."""
    return os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"


def ray_folder_error(temporary: str) -> str | None:
    """Why Ray cannot work below the temporary folder, None if it can."""
    limit = SOCKET_PATH_BYTES - RAY_SOCKET_BYTES
    if len(os.fsencode(temporary)) > limit:
        return f"the temporary folder {temporary} is longer than the {limit} bytes that Ray's sockets leave"
    below = Path(temporary) / "ray"
    folder = below if below.exists() else Path(temporary)
    writable = folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    return None if writable else f"the temporary folder {folder} cannot be written"


def bypass_proxies_on_loopback(environment: MutableMapping[str, str]) -> None:
    """Add this machine's own addresses to no_proxy, if a proxy is set at all."""
    if not any(proxies(environment).values()):
        return
    named = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    entries = [entry.strip() for entry in named.split(",") if entry.strip()]
    if "*" not in entries:
        entries += [name for name in LOOPBACK if name not in entries]
    environment["no_proxy"] = environment["NO_PROXY"] = ",".join(entries)


def proxies(environment: MutableMapping[str, str]) -> dict[str, str]:
    """The proxy variables that are set, by lower-case name; credentials are left out of the values."""
    names = ("http_proxy", "https_proxy", "all_proxy")
    values = {name: environment.get(name) or environment.get(name.upper(), "") for name in names}
    return {name: without_credentials(value) for name, value in values.items() if value}


def without_credentials(address: str) -> str:
    """An address without user and password."""
    split = urlsplit(address if "://" in address else f"//{address}")
    return split._replace(netloc=split.netloc.rpartition("@")[2]).geturl().removeprefix("//")


def _use_other_home(environment: MutableMapping[str, str], folder: Path) -> None:
    """A read-only home stays the home, since it may hold credentials; programs write to `folder`."""
    home = home_folder()
    if home is None or not home.is_dir() or home == Path("/"):
        environment["HOME"] = str(folder)
        return
    environment.setdefault("HF_TOKEN_PATH", str(home / ".cache" / "huggingface" / "token"))
    for name in CACHES:
        environment.setdefault(name, str(folder / name.lower()))
