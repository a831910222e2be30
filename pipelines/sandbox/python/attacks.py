"""Programs that try to leave the sandbox, to take it down, or to cheat, with the expected outcome of each.

Each is the body of `def attack(target)`. It returns "escaped" if it succeeds, so that the battery can distinguish an
attack that was stopped from one that is merely wrong; the tests run the harmless ones outside the sandbox, where they
must escape. `target`: "caller" (process id), "secret" (a file to read), "folder" (one to write in), "source" (a file of
this project), "victim" (id of a process of the same user that must stay alive), "host" (the machine's name),
"environment" (names of variables that are no secrets).
"""

import textwrap
from dataclasses import dataclass

DENIED = r"raised (PermissionError|FileNotFoundError|OSError: \[Errno (1|38)\])"
"""The kernel refuses: EACCES, EPERM, ENOENT (in a private root folder) or ENOSYS."""
INVALID = r"raised OSError: \[Errno 22\]"
HARMLESS = "returned 'nothing'"
PRELUDE = """
import ctypes, os, platform, signal, struct as struct_, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def kernel(x86_64, aarch64, *arguments):
    number = aarch64 if platform.machine() == "aarch64" else x86_64
    if libc.syscall(number, *map(ctypes.c_ulong, arguments)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "escaped"
def frame(content):
    return len(content).to_bytes(4, "big") + content
def attack(target):
"""


@dataclass(frozen=True)
class Attack:
    """`expected`: a pattern that "outcome text" of the reply begins with; `cpu_s`: budget in CPU seconds;
    `needs_own_root`: whether it is stopped only if the sandbox has a private root folder."""

    name: str
    body: str
    expected: str = DENIED
    cpu_s: float = 2.0
    needs_own_root: bool = False

    @property
    def program(self) -> str:
        return PRELUDE + textwrap.indent(self.body.strip("\n"), "    ")


def _reads(path: str) -> str:
    return f"open({path}, 'rb').read(1)\nreturn 'escaped'"


def _connects(family: str, kind: str, address: str) -> str:
    return f"""
import socket
socket.socket(socket.{family}, socket.{kind}).connect({address})
return 'escaped'"""


FILES = [
    Attack("read /etc/passwd", _reads("'/etc/passwd'")),
    Attack("read a secret file", _reads("target['secret']")),
    Attack("read this project", _reads("target['source']")),
    Attack("read the caller's environment", _reads("f'/proc/{target[\"caller\"]}/environ'")),
    Attack("read the caller's memory", _reads("f'/proc/{target[\"caller\"]}/mem'")),
    Attack("read its own memory map", _reads("'/proc/self/maps'")),
    Attack("list the home folder", "os.listdir(os.path.expanduser('~root'))\nreturn 'escaped'"),
    Attack("list the root folder", "os.listdir('/')\nreturn 'escaped'"),
    Attack("write a file", "open(target['folder'] + '/new', 'w').write('x')\nreturn 'escaped'"),
    Attack("write into /tmp", "open('/tmp/sandbox-was-here', 'w').write('x')\nreturn 'escaped'"),
    Attack("fill shared memory", "open('/dev/shm/sandbox-was-here', 'wb').write(bytes(1 << 20))\nreturn 'escaped'"),
    Attack("overwrite a secret file", "open(target['secret'], 'r+').write('x')\nreturn 'escaped'"),
    Attack("cut a secret file", "os.truncate(target['secret'], 0)\nreturn 'escaped'"),
    Attack("delete a secret file", "os.unlink(target['secret'])\nreturn 'escaped'"),
    Attack("rename a secret file", "os.rename(target['secret'], target['folder'] + '/taken')\nreturn 'escaped'"),
    Attack("link to a secret file", "os.link(target['secret'], target['folder'] + '/linked')\nreturn 'escaped'"),
    Attack("open a secret file to all", "os.chmod(target['secret'], 0o777)\nreturn 'escaped'"),
    Attack("make a folder", "os.mkdir(target['folder'] + '/made')\nreturn 'escaped'"),
    Attack("make a file in memory", "os.memfd_create('x')\nreturn 'escaped'"),
    # A device, so that nothing is lost on a machine where this works; its rule is that of the standard library's files.
    Attack("empty a file that it may read", "os.open('/dev/null', os.O_RDONLY | os.O_TRUNC)\nreturn 'escaped'"),
    Attack("make a file that it may read", "os.open('/dev/null', os.O_RDONLY | os.O_CREAT)\nreturn 'escaped'"),
    Attack("open a file to append", "os.open('/dev/null', os.O_WRONLY | os.O_APPEND)\nreturn 'escaped'"),
    Attack("hold a path by descriptor", "os.open('/', os.O_PATH)\nreturn 'escaped'"),
    Attack("open a folder without a name in it", "os.open('/tmp', os.O_TMPFILE | os.O_RDWR)\nreturn 'escaped'"),
]
SIGHTS = [
    Attack("see a secret file", "os.stat(target['secret'])\nreturn 'escaped'", DENIED, needs_own_root=True),
    Attack("see whether it may", "return 'escaped' if os.access('/etc/passwd', 0) else 'nothing'", HARMLESS, 2.0, True),
    Attack("see the caller", "os.stat(f'/proc/{target[\"caller\"]}')\nreturn 'escaped'", DENIED, needs_own_root=True),
    Attack("see the victim", "os.stat(f'/proc/{target[\"victim\"]}')\nreturn 'escaped'", DENIED, needs_own_root=True),
    Attack("see where links lead", "os.readlink('/proc/self')\nreturn 'escaped'", DENIED, needs_own_root=True),
    Attack(
        "see installed packages",
        "import sysconfig\nfolder = sysconfig.get_path('stdlib')\n"
        "return 'escaped' if any(os.listdir(f'{folder}/site-packages')) else 'nothing'",
        f"{DENIED}|{HARMLESS}",
        needs_own_root=True,
    ),
    Attack(
        "see the machine's name",
        "return 'escaped' if os.uname()[1] == target['host'] else 'nothing'",
        HARMLESS,
        2.0,
        True,
    ),
]
NETWORK = [
    Attack("connect by TCP", _connects("AF_INET", "SOCK_STREAM", "('127.0.0.1', 22)")),
    Attack("send by UDP", _connects("AF_INET", "SOCK_DGRAM", "('192.0.2.1', 53)")),
    Attack("connect by TCP over IPv6", _connects("AF_INET6", "SOCK_STREAM", "('::1', 22)")),
    Attack("connect to a Unix socket", _connects("AF_UNIX", "SOCK_STREAM", "'/run/docker.sock'")),
    Attack("connect to an abstract socket", _connects("AF_UNIX", "SOCK_STREAM", "'\\0x'")),
    Attack(
        "resolve a name", "import socket\nsocket.getaddrinfo('example.org', 80)\nreturn 'escaped'", "raised (gai|OS)"
    ),
    Attack("listen on a port", "import socket\nsocket.create_server(('127.0.0.1', 0))\nreturn 'escaped'"),
]
PROCESSES = [
    Attack("fork", "if os.fork() == 0:\n    os._exit(0)\nreturn 'escaped'"),
    Attack("fork bomb", "while True:\n    os.fork()"),
    Attack("run a command", "import subprocess\nsubprocess.run(['/bin/true'])\nreturn 'escaped'"),
    Attack("spawn", "os.posix_spawn('/bin/true', ['true'], {})\nreturn 'escaped'"),
    Attack("become another program", "os.execv('/bin/true', ['true'])"),
    Attack("fork by clone3", "kernel(435, 435, 0, 0)\nreturn 'escaped'"),
    Attack("signal the caller", "os.kill(target['caller'], 0)\nreturn 'escaped'"),
    Attack("signal everybody", "os.kill(-1, 0)\nreturn 'escaped'"),
    Attack("signal a thread of the caller", "return kernel(234, 131, target['caller'], target['caller'], 0)"),
    Attack("hold the caller by descriptor", "return kernel(434, 434, target['caller'], 0)"),
    Attack("trace the caller", "return kernel(101, 117, 16, target['caller'], 0, 0)"),
    Attack("read the caller by process_vm_readv", "return kernel(310, 270, target['caller'], 0, 0, 0, 0, 0)"),
    Attack(
        "limit the caller",
        "import resource\nresource.prlimit(target['caller'], resource.RLIMIT_CORE)\nreturn 'escaped'",
    ),
    Attack("slow the caller", "os.setpriority(os.PRIO_PROCESS, target['caller'], 19)\nreturn 'escaped'"),
    Attack("move the caller", "os.sched_setaffinity(target['caller'], {0})\nreturn 'escaped'"),
]
SIGNALS = [
    Attack("own a pipe for a victim", "import fcntl\nfcntl.fcntl(os.pipe()[0], 8, target['victim'])\nreturn 'escaped'"),
    Attack(
        "own a pipe for a victim by F_SETOWN_EX",
        "import fcntl\nfcntl.fcntl(os.pipe()[0], 15, struct_.pack('ii', 1, target['victim']))\nreturn 'escaped'",
    ),
    Attack("choose the signal of a pipe", "import fcntl\nfcntl.fcntl(os.pipe()[0], 10, 9)\nreturn 'escaped'"),
    Attack(
        "have a pipe send signals",
        "import fcntl\nfcntl.fcntl(os.pipe()[0], 4, os.O_NONBLOCK | 0o20000)\nreturn 'escaped'",
    ),
    Attack(
        "have a pipe send signals by ioctl",
        "import fcntl\nfcntl.ioctl(os.pipe()[0], 0x5452, struct_.pack('i', 1))\nreturn 'escaped'",
        r"raised OSError: \[Errno 25\]",
    ),
    Attack(
        "kill a victim by a pipe",
        """
import fcntl
reader, writer = os.pipe()
for command, value in ((8, target["victim"]), (10, 9), (4, 0o20000)):
    try:
        fcntl.fcntl(reader, command, value)
    except OSError:
        pass
os.write(writer, b"x")
return "nothing" """,
        HARMLESS,
    ),
    Attack("lease a file", "import fcntl\nfcntl.fcntl(os.open('/dev/null', 0), 1024, 0)\nreturn 'escaped'"),
    Attack("watch a folder", "import fcntl\nfcntl.fcntl(3, 1026, 1)\nreturn 'escaped'"),
    Attack("lock a file", "import fcntl\nfcntl.lockf(os.open('/dev/null', 0), 1 | 4)\nreturn 'escaped'"),
    Attack("grow a pipe", "import fcntl\nfcntl.fcntl(os.pipe()[0], 1031, 1 << 20)\nreturn 'escaped'"),
    Attack("choose its name by prctl", "return kernel(157, 167, 15, 0, 0, 0, 0)"),
    Attack("take children of others by prctl", "return kernel(157, 167, 36, 1, 0, 0, 0)"),
    Attack("session of a victim", "os.getsid(target['victim'])\nreturn 'escaped'"),
    Attack("group of a victim", "os.getpgid(target['victim'])\nreturn 'escaped'"),
    Attack("processors of a victim", "os.sched_getaffinity(target['victim'])\nreturn 'escaped'"),
    Attack(
        "clock of a victim",
        "time.clock_gettime((~target['victim'] << 3) | 2)\nreturn 'escaped'",
        INVALID,
    ),
    Attack("interrupt all processors", "return kernel(324, 283, 1, 0, 0)"),
    Attack("run a file by descriptor", "return kernel(322, 281, 3, 0, 0, 0, 0x1000)"),
    Attack("share its memory with others'", "return kernel(28, 233, id(target) & -4096, 4096, 12)", INVALID),
]
KERNEL = [
    Attack("mount", "return kernel(165, 40, 0, 0, 0, 0, 0)"),
    Attack("unshare", "return kernel(272, 97, 0x10000000)"),
    Attack("enter a namespace", "return kernel(308, 268, 0, 0)"),
    Attack("change root", "os.chroot('/')\nreturn 'escaped'"),
    Attack("io_uring", "return kernel(425, 425, 1, ctypes.addressof(ctypes.create_string_buffer(256)))"),
    Attack("bpf", "return kernel(321, 280, 0, 0, 0)"),
    Attack("userfaultfd", "return kernel(323, 282, 1)"),
    Attack("perf_event_open", "return kernel(298, 241, 0, 0, 0, 0, 0)"),
    Attack("keyctl", "return kernel(250, 219, 0, 0xFFFFFFFD, 1)"),
    Attack("open a file by its handle", "return kernel(304, 265, 0, 0, 0)"),
    Attack("become another user", "os.setuid(1)\nreturn 'escaped'"),
    Attack("lift its filter", "return kernel(157, 167, 22, 0, 0, 0, 0)"),
    Attack("call by the x32 interface", "return kernel(0x40000000 | 41, 198, 2, 1, 0)"),
    Attack(
        "call by the 32-bit interface",
        """
if platform.machine() != "x86_64":
    return "nothing"
import mmap
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20 (getpid); int 0x80; ret
ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
return "escaped" """,
        f"died signal SIG(SYS|SEGV)|{HARMLESS}",
    ),
    Attack(
        "raise its limits",
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))\nreturn 'escaped'",
        "raised (ValueError|PermissionError)",
    ),
]
RESOURCES = [
    Attack("memory bomb", "x = []\nwhile True:\n    x.append(bytes(1 << 24))", "raised MemoryError"),
    Attack(
        "file descriptor bomb",
        "x = []\nwhile len(x) < 5000:\n    x.append(os.pipe())\nreturn 'escaped'",
        r"raised OSError: \[Errno 24\]",
    ),
    Attack(
        "thread bomb",
        """
def wait():
    time.sleep(1000)
while True:
    threading.Thread(target=wait, daemon=True).start()""",
        "raised (RuntimeError: can't start|MemoryError)|died|timeout",
    ),
    Attack("endless loop", "while True:\n    pass", "timeout", 0.2),
    Attack(
        "endless loop that ignores every signal",
        """
for number in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:
    try:
        signal.signal(number, signal.SIG_IGN)
    except OSError:
        pass
while True:
    try:
        while True:
            pass
    except BaseException:
        pass""",
        "timeout",
        0.2,
    ),
    Attack("endless call that Python cannot interrupt", "return 7 ** (1 << 30) > 0", "timeout", 0.2),
    Attack("sleep for ever", "time.sleep(1e6)", "asleep", 0.05),
    Attack(
        "wait for its own thread",
        "lock = threading.Lock()\nlock.acquire()\nlock.acquire()",
        "asleep",
        0.05,
    ),
    Attack("recurse for ever", "sys.setrecursionlimit(1 << 30)\nreturn attack(target)", "raised|died|timeout", 0.2),
    Attack(
        "crash the interpreter",
        "return ctypes.string_at(0)",
        "died signal SIGSEGV",
    ),
    Attack("print without end", "while True:\n    print('x' * 100_000)", "timeout", 0.2),
    Attack("exit", "sys.exit(0)", "raised SystemExit"),
    Attack("exit at once", "os._exit(0)", "died exit code 0"),
]
CHEATS = [
    Attack(
        "a result that equals everything",
        "return type('Yes', (), {'__eq__': lambda *_: True, '__hash__': lambda _: 0})()",
        "unusable PlainError: a value of type Yes",
    ),
    Attack(
        "a number that equals everything",
        "return [type('int', (int,), {'__eq__': lambda *_: True, '__hash__': lambda _: 0})(1)]",
        "unusable PlainError: a value of type int",
    ),
    Attack(
        "find the answers in frames and objects",
        """
import gc
mark = "answer" + ":"
frame_ = sys._getframe()
while frame_:
    if any(mark in str(value) for name, value in frame_.f_locals.items() if name not in ("mark", "request")):
        return "escaped"
    frame_ = frame_.f_back
texts = [item for item in gc.get_objects() if isinstance(item, (list, tuple, dict))]
found = any(isinstance(text, str) and text.startswith(mark) and text != mark for item in texts for text in item)
return "escaped" if found else "nothing" """,
        HARMLESS,
    ),
    Attack(
        "find the answers in freed memory",
        """
import gc, re
libc.sbrk.restype = ctypes.c_void_p
mark = re.compile(b"ans" + b"wer:[0-9a-f]{32}")
read, write = os.pipe()
pages = {}
texts = [chr(97 + n % 26) * 39 for n in range(256)]  # as long as an answer: allocated where an answer would be
live = gc.get_objects()
nearby = map(id, (*live, *gc.get_referents(*live), *texts, "x" * 2000, [None] * 100))  # in every arena
for start in (libc.sbrk(0) - 4096, *nearby):
    for step in (-4096, 4096):
        page = start & -4096
        while page not in pages and libc.write(write, ctypes.c_void_p(page), 4096) == 4096:
            pages[page] = os.read(read, 4096)
            page += step
if len(pages) < 20:
    return "no memory to search"
return "escaped" if any(map(mark.search, pages.values())) else "nothing" """,
        HARMLESS,
    ),
    Attack(
        "find secrets in the environment",
        "return 'escaped' if set(os.environ) - set(target['environment']) else 'nothing'",
        HARMLESS,
    ),
    Attack(
        "find descriptors that were left open",
        """
for descriptor in range(5, 60):
    try:
        os.fstat(descriptor)
    except OSError:
        continue
    return "escaped"
return "nothing" """,
        HARMLESS,
    ),
    Attack(
        "talk to the caller past its monitor",
        "for descriptor in (0, 1, 2):\n    os.write(descriptor, b'x')\nreturn 'nothing'",
        HARMLESS,
    ),
    Attack("close the channel of replies", "os.close(4)\nwhile True:\n    pass", "died"),
    Attack("forge a reply that is no JSON", "os.write(4, frame(b'{'))\ntime.sleep(1000)", "unusable"),
    Attack("forge a reply of another shape", """os.write(4, frame(b'{"verdict": true}'))""", "unusable"),
    Attack("forge a value of no type", """os.write(4, frame(b'{"value": {"object": 1}}'))""", "unusable"),
    Attack(
        "forge a value nested without end",
        """
content = frame(b'{"value": ' + b'[' * 100_000 + b']' * 100_000 + b'}')
while content:
    content = content[os.write(4, content):]""",
        "unusable",
    ),
    Attack(
        "forge a set of colliding keys",
        """
import json
keys = [{"int": hex((2 ** 61 - 1) * key)} for key in range(30_000)]
content = frame(json.dumps({"value": {"set": keys}}).encode())
while content:
    content = content[os.write(4, content):]""",
        "unusable",
    ),
    Attack(
        "forge a reply of a million empty lists",
        """
content = frame(b'{"value": [' + b'[],' * 1_100_000 + b'[]]}')
while content:
    content = content[os.write(4, content):]""",
        "unusable",
    ),
    Attack(
        "forge many sets of colliding keys",
        """
import json
keys = {"set": [{"int": hex((2 ** 61 - 1) * key)} for key in range(15_000)]}
content = frame(json.dumps({"value": [keys] * 4}).encode())
while content:
    content = content[os.write(4, content):]""",
        "unusable",
    ),
    Attack("forge a reply of four gigabytes", "os.write(4, b'\\xff' * 4)\ntime.sleep(1000)", "unusable"),
    Attack(
        "raise a long and unprintable error", "raise ValueError('\\ud800' * 100_000)", r"raised ValueError: \?{988}$"
    ),
    Attack("return a huge value", "return 'x' * (20 << 20)", "unusable a reply of more"),
    Attack(
        "replace the driver's words",
        """
import builtins, json
json.dumps = lambda *_, **__: '{"value": {"tuple": 1, "list": 2}}'
builtins.isinstance = lambda *_: True""",
        "unusable",
    ),
]
PYTHON_ATTACKS = tuple(FILES + SIGHTS + NETWORK + PROCESSES + SIGNALS + KERNEL + RESOURCES + CHEATS)
