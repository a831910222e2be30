"""Attacks with the means of numpy, in the form of `attacks`.

`target` has "numpy" in addition: the package's folder. Attacks on its files would change nothing if they worked.
"""

from pipelines.sandbox.python.attacks import DENIED, HARMLESS, Attack

LOADS_NOTHING = "raised OSError: .*cannot open shared object file"
NO_MODULE = "raised ModuleNotFoundError"
NO_MEMORY = "raised MemoryError"


def _with_numpy(body: str) -> str:
    return f"import numpy as np\n{body.strip()}\nreturn 'escaped'"


FILES = [
    Attack("map a secret file", _with_numpy("np.memmap(target['secret'], mode='r')[0]")),
    Attack("map a secret file to write", _with_numpy("np.memmap(target['secret'], mode='r+', shape=1)[0] = 0")),
    Attack("read a secret file into an array", _with_numpy("np.fromfile(target['secret'], np.uint8)")),
    Attack("parse a secret file", _with_numpy("np.genfromtxt(target['secret'], dtype=str)")),
    Attack("unpickle a secret file", _with_numpy("np.load(target['secret'], allow_pickle=True)")),
    Attack("save an array", _with_numpy("np.save(target['folder'] + '/new.npy', np.ones(3))")),
    Attack("save arrays in an archive", _with_numpy("np.savez(target['folder'] + '/new.npz', np.ones(3))")),
    Attack("write an array's bytes", _with_numpy("np.ones(3).tofile(target['secret'])")),
    Attack("append to numpy", _with_numpy("os.close(os.open(np.__file__, os.O_WRONLY | os.O_APPEND))")),
    Attack("map numpy to write", _with_numpy("np.memmap(np.__file__, mode='r+')")),
    Attack("make a folder in numpy", _with_numpy("path = target['numpy'] + '/made'\nos.mkdir(path)\nos.rmdir(path)")),
    Attack("open numpy to all", _with_numpy("os.chmod(np.__file__, os.stat(np.__file__).st_mode)")),
    Attack("date numpy", _with_numpy("os.utime(np.__file__, ns=(0, os.stat(np.__file__).st_mtime_ns))")),
    Attack(
        "read a package beside numpy",
        _with_numpy("open(f\"{target['numpy']}-{np.__version__}.dist-info/METADATA\").read(1)"),
    ),
    Attack(
        "import a package beside numpy",
        """
import importlib, numpy
sys.path.append(os.path.dirname(target["numpy"]))
importlib.invalidate_caches()
sys.path_importer_cache.clear()
import packaging
return "escaped" """,
        NO_MODULE,
    ),
    Attack(
        "see packages beside numpy",
        "others = set(os.listdir(os.path.dirname(target['numpy']))) - {'numpy', 'numpy.libs'}\n"
        "return 'escaped' if others else 'nothing'",
        f"{DENIED}|{HARMLESS}",
        needs_own_root=True,
    ),
]
PROCESSES = [
    Attack(
        "run a command by a pickled array",
        """
import io, numpy as np, subprocess
class Command:
    def __reduce__(self):
        return subprocess.check_call, (["/bin/true"],)
file = io.BytesIO()
np.save(file, np.array([Command()], object), allow_pickle=True)
file.seek(0)
np.load(file, allow_pickle=True)
return "escaped" """,
    ),
    Attack("fetch a table", _with_numpy("np.genfromtxt('http://127.0.0.1:22/')"), "raised (URLError|PermissionError)"),
    Attack("load a library", _with_numpy("np.ctypeslib.ctypes.CDLL(target['secret'])"), LOADS_NOTHING),
    Attack(
        "read another address by an array",
        _with_numpy("np.ctypeslib.as_array((ctypes.c_int8 * 8).from_address(8)).sum()"),
        "died signal SIGSEGV",
    ),
    Attack(
        "call the kernel by an array's address",
        """
import numpy as np
path = np.frombuffer(bytearray(target["secret"].encode() + b"\\0"), np.uint8)
return kernel(257, 56, -100, path.ctypes.data, os.O_RDWR, 0)""",
    ),
]
RESOURCES = [
    Attack(
        "memory bomb of arrays", "import numpy as np\nx = []\nwhile True:\n    x.append(np.ones(1 << 21))", NO_MEMORY
    ),
    Attack("array of a terabyte", _with_numpy("np.ones(1 << 37)"), NO_MEMORY),
    Attack("endless products", "import numpy as np\na = np.ones((300, 300))\nwhile True:\n    a @ a", "timeout", 0.2),
    Attack(
        "endless call of numpy that Python cannot interrupt",
        _with_numpy("np.convolve(np.ones(1 << 20), np.ones(1 << 20))"),
        "timeout",
        0.2,
    ),
    Attack(
        "products on many threads",
        """
import numpy as np
def work():
    a = np.ones((300, 300))
    while True:
        a @ a
for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
while True:
    pass""",
        "timeout|died",  # of the memory that each thread takes
        0.2,
    ),
]
CHEATS = [
    Attack(
        "an array instead of a value", "import numpy as np\nreturn np.ones(3)", "unusable PlainError: a value of type"
    ),
    Attack(
        "a number of numpy that equals everything",
        "import numpy as np\nreturn type('Yes', (np.float64,), {'__eq__': lambda *_: True})(1)",
        "unusable PlainError: a value of type Yes",
    ),
]
NUMPY_ATTACKS = tuple(FILES + PROCESSES + RESOURCES + CHEATS)
