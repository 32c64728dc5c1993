"""No program passes its tests but by right answers, and none outlives or escapes its trial.

Each hostile program below is wrong by design: `f` should double its argument. Whatever it does
beside, the verdict must be the one named, and never `passed`.
"""

import json

import pytest

from tests.needs_sandbox import needs_sandbox
from tools.code.remote import Remote, decode, encode
from tools.code.trial import Trial, Verdict, try_programs
from tools.errors import UserError
from tools.sandbox import Limits

LIMITS = Limits(seconds=20, cpu_seconds=1, memory=300 << 20, disk=1 << 20, output=20_000)
SHORT = Limits(seconds=1.5, cpu_seconds=1, memory=300 << 20)  # for what waits and does nothing
TESTS = """assert f(21) == 42
assert f(-3) == -6
assert f(0) == 0
"""
FRAMES = "import sys\nframe = sys._getframe()\nwhile frame:\n    {}\n    frame = frame.f_back\n"
# takes the channel that the server holds, and answers by itself
CHANNEL = "import socket, sys, json\nwire = socket.socket(fileno=int(sys.argv[1]))\n"
SEND = "def send(data):\n    wire.sendall(len(data).to_bytes(4, 'big') + data)\n"

HOSTILE: dict[str, tuple[str, set[str]]] = {
    # ends, as if all were well
    "exits with 0": ("import os\nos._exit(0)", {"died"}),
    "exits with 0 in the call": ("import os\ndef f(x):\n    os._exit(0)", {"died"}),
    "raises SystemExit": ("import sys\nsys.exit(0)", {"exception"}),
    "raises SystemExit in the call": ("def f(x):\n    raise SystemExit(0)", {"exception"}),
    "exits at the end": ("import atexit, os\natexit.register(os._exit, 0)\nf = str", {"wrong"}),
    "kills itself": ("import os\ndef f(x):\n    os.kill(os.getpid(), 9)", {"died"}),
    "kills its parent": (
        "import os\nfor pid in range(1, 50):\n    try:\n        os.kill(pid, 9)\n"
        "    except OSError:\n        pass\ndef f(x):\n    return 0",
        {"died", "wrong"},
    ),
    "aborts": ("import os\nos.abort()", {"died"}),
    "breaks the interpreter": ("import ctypes\nctypes.string_at(0)", {"died"}),
    # says that it has passed
    "prints passed": (
        "import json\nprint('passed')\nprint(json.dumps(['passed', '']))\nf = str",
        {"wrong"},
    ),
    "prints passed and exits": (
        "import json, os\nprint(json.dumps(['passed', '']), flush=True)\nos._exit(0)",
        {"died"},
    ),
    "writes the verdict to every descriptor": (
        "import os\nfor number in range(64):\n    try:\n"
        "        os.write(number, b'[\"passed\", \"\"]\\n')\n    except OSError:\n        pass\n"
        "def f(x):\n    return 0",
        {"unreadable", "died", "wrong"},
    ),
    "closes every descriptor": ("import os\nos.closerange(0, 64)\ndef f(x): return 0", {"died"}),
    "sends the verdict over the channel": (
        f"{CHANNEL}{SEND}send(b'[\"passed\", \"\"]')\ndef f(x): return 0",
        {"unreadable"},
    ),
    "sends a flood of answers": (
        f"{CHANNEL}{SEND}for _ in range(9):\n    send(b'{{\"value\": 0}}')\ndef f(x): return 0",
        {"wrong"},
    ),
    "sends a message without an end": (
        f"{CHANNEL}wire.sendall(b'\\x7f\\xff\\xff\\xff')\nwhile True: wire.sendall(bytes(65536))",
        {"unreadable"},
    ),
    "sends half a message": (f"{CHANNEL}wire.send(b'\\0\\0')\nwire.close()", {"died"}),
    "sends JSON nested without end": (
        f"{CHANNEL}{SEND}send(b'[' * 1_000_000)",
        {"unreadable"},
    ),
    "sends a value nested without end": (
        f"{CHANNEL}{SEND}send(b'{{\"value\": ' + b'{{\"list\": [' * 400 + b']}}' * 400 + b'}}')\n"
        "def f(x): return 0",
        {"wrong", "unreadable"},
    ),
    "sends an integer of a million digits": (
        f"{CHANNEL}{SEND}send(b'{{\"value\": ' + b'9' * 1_000_000 + b'}}')",
        {"unreadable"},
    ),
    "sends an exception that is a class of the tests": (
        "class AssertionError(Exception): pass\ndef f(x):\n    raise AssertionError('passed')",
        {"exception"},
    ),
    "sends a type of its own": (
        f"{CHANNEL}{SEND}send(b'{{\"value\": {{\"eval\": \"42\"}}}}')",
        {"unreadable"},
    ),
    # tampers with the judge
    "is equal to everything": (
        "class Equal:\n    def __eq__(self, other): return True\ndef f(x): return Equal()",
        {"wrong"},
    ),
    "is an int that is equal to everything": (
        "class Equal(int):\n    def __eq__(self, other): return True\ndef f(x): return Equal()",
        {"wrong"},
    ),
    "monkeypatches builtins": (
        "import builtins\nbuiltins.AssertionError = type('Quiet', (Exception,), {})\n"
        "builtins.exec = builtins.compile = lambda *args: None\ndef f(x): return 0",
        {"wrong"},
    ),
    "monkeypatches int": (
        "import ctypes\ndef f(x): return 0\n"
        "ctypes.memmove(id(42) + 24, ctypes.addressof(ctypes.c_uint32(0)), 4)",
        {"wrong"},
    ),
    "monkeypatches json": (
        "import json\njson.dumps = lambda value: '[\"passed\", \"\"]'\ndef f(x): return 0",
        {"unreadable"},
    ),
    "sets a trace": (
        "import sys\nsys.settrace(lambda frame, event, arg: sys.exit(0))\ndef f(x): return 0",
        {"wrong", "died", "exception"},
    ),
    "changes every frame's variables": (
        FRAMES.format("frame.f_globals.update(AssertionError=ValueError, problem=None)")
        + "def f(x): return 0",
        {"wrong"},
    ),
    "looks for the tests in every frame": (
        FRAMES.format("found = '== ' + '42' in str(frame.f_locals) + str(frame.f_globals)")
        + "import gc\nneedle = 'f(2' + '1)'\n"
        "found = found or [x for x in gc.get_objects() if needle in str(x)[:10_000]]\n"
        "def f(x): return 42 if found else 0",
        {"wrong"},
    ),
    "looks for the tests in its own file": (
        "text = open('/program.py').read()\n"
        "def f(x): return 2 * x if 'f(2' + '1)' in text else 0",
        {"wrong"},
    ),
    "replaces the server": (
        "import sys\nmain = sys.modules['__main__']\n"
        "main.encode = lambda value, refer: True\ndef f(x): return 0",
        {"wrong"},
    ),
    "installs signal handlers": (
        "import signal\nfor number in range(1, 65):\n    try:\n"
        "        signal.signal(number, signal.SIG_IGN)\n    except (OSError, ValueError):\n"
        "        pass\ndef f(x):\n    while True: pass",
        {"timeout"},
    ),
    "looks for other processes": (
        "import os\nfor pid in range(1, 2000):\n    try:\n        os.kill(pid, 0)\n"
        "        alive = pid\n    except OSError:\n        pass\n"
        "def f(x): return 2 * x if alive > 10 else 0",
        {"wrong"},
    ),
    "attaches to its parent": (
        "import ctypes, os\nlibc = ctypes.CDLL(None)\n"
        "attached = libc.ptrace(16, 1, 0, 0)\n"
        "def f(x): return 2 * x if attached == 0 else 0",
        {"wrong"},
    ),
    # uses up the machine
    "forks without end": ("import os\nwhile True: os.fork()", {"exception"}),
    "leaves zombies": (
        "import os\nwhile True: os.posix_spawn('/python/bin/python', ['x'], {})",
        {"exception"},
    ),
    "starts threads without end": (
        "import threading\nwhile True: threading.Thread(target=print).start()",
        {"exception"},
    ),
    "daemonises": ("import os\nif os.fork():\n    os._exit(0)\nos.setsid()", {"exception"}),
    "takes all memory": ("def f(x): return [0] * (1 << 40)", {"memory"}),
    "takes all memory by and by": (
        "def f(x):\n    held = []\n    while True: held.append(bytes(1 << 22))",
        {"memory"},
    ),
    "returns too much": ("def f(x): return '0' * (40 << 20)", {"unreadable", "memory"}),
    "returns what has no end": (
        "def f(x):\n    x = []\n    x.append(x)\n    return x",
        {"exception"},
    ),
    "fills the disk": (
        "def f(x):\n    with open('/tmp/x', 'wb') as file:\n"
        "        while True: file.write(bytes(1 << 16))",
        {"exception"},
    ),
    "opens files without end": (
        "files = [open('/program.py') for _ in range(1000)]",
        {"exception"},
    ),
    "prints without end": ("def f(x):\n    while True: print('x' * 1000)", {"output"}),
    "loops in the call": ("def f(x):\n    while True: pass", {"timeout"}),
    "loops beyond every exception": (
        "def f(x):\n    while True:\n        try:\n            while True: pass\n"
        "        except BaseException: pass",
        {"timeout"},
    ),
    "turns a huge integer into text": (
        "import sys\nsys.set_int_max_str_digits(0)\ndef f(x): return str(7 ** (1 << 23))",
        {"timeout"},
    ),
    "blows up a regular expression": (
        "import re\ndef f(x): return re.match('(a+)+$', 'a' * 40 + 'b')",
        {"timeout"},
    ),
    "calls itself without end": ("def f(x): return f(x)", {"exception"}),
    "calls itself without a limit": (
        "import sys\nsys.setrecursionlimit(1 << 30)\ndef f(x): return max([x], key=f)",
        {"died", "memory", "exception"},  # some Pythons guard their C stack
    ),
    # reaches out
    "opens a socket": (
        "import socket\nsocket.create_connection(('127.0.0.1', 22), 1)",
        {"exception"},
    ),
    "asks for a name": ("import socket\nsocket.getaddrinfo('example.org', 80)", {"exception"}),
    "reads the passwords": ("open('/etc/shadow').read()", {"exception"}),
    "reads the home folder": ("import os\nos.listdir('/root')\n", {"exception"}),
    "follows a link out": (
        "import os\nos.symlink('/etc/passwd', '/tmp/x')\nopen('/tmp/x').read()",
        {"exception"},
    ),
    "writes outside": ("open('/usr/lib/x', 'w')", {"exception"}),
}  # fmt: skip

# these wait, so that only the clock ends them
WAITING = {
    "stops itself": "import os, signal\ndef f(x): os.kill(os.getpid(), signal.SIGSTOP)",
    "sleeps": "import time\ntime.sleep(60)",
    "ignores its end and sleeps": "import signal, time\n"
    "for number in (1, 2, 15, 24):\n    signal.signal(number, signal.SIG_IGN)\ntime.sleep(60)",
    "reads what the judge sends": f"{CHANNEL}while wire.recv(1): pass\nwhile True: "
    "__import__('time').sleep(9)",
    "asks for input from itself": "import os\nends = os.pipe()\nos.read(ends[0], 1)",
}


def verdicts(programs: list[str], limits: Limits = LIMITS, tests: str = TESTS) -> list[Verdict]:
    trials = [Trial(program, tests, ("f",)) for program in programs]
    return try_programs(trials, allow_code_execution=True, limits=limits)


@pytest.fixture(scope="module")
def hostile_verdicts() -> dict[str, Verdict]:
    """All at once, for they run on every core."""
    return dict(zip(HOSTILE, verdicts([source for source, _ in HOSTILE.values()]), strict=True))


@needs_sandbox
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_program_does_not_pass(name: str, hostile_verdicts: dict[str, Verdict]) -> None:
    verdict = hostile_verdicts[name]
    assert verdict.kind in HOSTILE[name][1], verdict


@needs_sandbox
def test_program_that_waits_is_ended_by_the_clock() -> None:
    found = dict(zip(WAITING, verdicts(list(WAITING.values()), SHORT), strict=True))
    assert {name: verdict.kind for name, verdict in found.items()} == dict.fromkeys(
        WAITING, "timeout"
    )
    assert all(verdict.seconds < SHORT.seconds + 5 for verdict in found.values())


@needs_sandbox
def test_right_program_passes_and_each_kind_of_failure_is_named() -> None:
    programs = {
        "def f(x):\n    print('noise')\n    return x + x": "passed",
        "def f(x): return x * 3": "wrong",
        "def f(x): return None": "wrong",
        "def f(x) return x": "syntax",
        "def g(x): return 2 * x": "missing",
        "def f(x): return 2 * y": "exception",
        "def f(x): return 2 * x\n1 / 0": "exception",
    }
    assert [verdict.kind for verdict in verdicts(list(programs))] == list(programs.values())


@needs_sandbox
@pytest.mark.parametrize(
    ("tests", "kind"),
    [
        ("try:\n    f(1)\nexcept ValueError as error:\n    assert str(error) == 'odd'", "passed"),
        ("try:\n    f(1)\nexcept KeyError:\n    pass", "exception"),
        ("try:\n    f('exit')\nexcept BaseException:\n    pass", "died"),
        ("assert f(", "bad_test"),
        ("assert True", "bad_test"),  # it asks nothing, so any program would pass
        ("assert f(lambda: 0)", "wrong"),
    ],
)
def test_what_a_test_expects_of_exceptions(tests: str, kind: str) -> None:
    program = """import os
def f(x):
    if x == 'exit':
        os._exit(0)
    raise ValueError('odd')
"""
    [verdict] = verdicts([program], tests=tests)
    assert verdict.kind == kind


@needs_sandbox
def test_objects_of_the_program_go_out_and_come_back() -> None:
    program = (
        "class Node:\n    def __init__(self, value):\n        self.value, self.next = value, None\n"
        "def f(node):\n    return node.value + (f(node.next) if node.next else 0)"
    )
    tests = "first = Node(1)\nfirst.next = Node(2)\nassert f(first) == 3 and first.next.value == 2"
    [verdict] = try_programs(
        [Trial(program, tests, ("f", "Node"))], allow_code_execution=True, limits=LIMITS
    )
    assert verdict.passed, verdict


@needs_sandbox
def test_helpers_of_the_tests_are_not_the_programs() -> None:
    """A program that defines a helper anew changes its own, not the one the tests use."""
    trial = Trial(
        program="def double(x): return 0\ndef f(x): return 0",
        setup="def double(x): return 2 * x\ndef f(x): pass",
        tests="assert f(21) == double(21)",
        names=("f",),
    )
    [verdict] = try_programs([trial], allow_code_execution=True, limits=LIMITS)
    assert verdict.kind == "wrong"


def test_nothing_is_tried_without_consent() -> None:
    with pytest.raises(UserError, match="--allow-code-execution"):
        try_programs([Trial("", "", ())], allow_code_execution=False)


class Text(str):
    pass


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (None, type(None)),
        (True, bool),
        (0, int),
        pytest.param(-(10**5000), int, id="huge"),
        (0.1, float),
        (float("inf"), float),
        ("a\ud800\n", str),
        (Text("a"), str),
        (b"\xff", bytes),
        (1 - 2j, complex),
        ([1, (2, {3}, frozenset({4})), {5: [6], (7,): "8"}], list),
        ({"a": 1}, dict),
        (int, type),
        (set(), set),
    ],
)
def test_value_crosses_the_wire_with_its_type(value: object, type_: type) -> None:
    sent = json.loads(json.dumps(encode(value, lambda other: pytest.fail(f"{other} is no value"))))
    received = decode(sent, lambda reference: pytest.fail("a reference"))
    assert received == value and type(received) is type_


@pytest.mark.parametrize(
    "sent",
    [[1], {}, {"eval": "1"}, {"list": 1}, {"set": [{"list": []}]}, {"int": 1}, {"int": "x"},
     {"type": "print"}, {"dict": [[1]]}, {"list": [], "dict": []}, {"name": 1}],
)  # fmt: skip
def test_what_is_no_value_is_refused(sent: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        decode(sent, lambda reference: None)


def test_object_of_the_program_has_no_say_in_a_comparison() -> None:
    own = {name for name in vars(Remote) if name.startswith("__")}
    assert not own & {"__eq__", "__ne__", "__lt__", "__gt__", "__le__", "__ge__", "__bool__"}
