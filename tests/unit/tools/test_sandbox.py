"""Every attack succeeds outside and fails inside; every limit lets pass what stays below it."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import indent

import pytest

from tests.needs_sandbox import needs_sandbox
from tools import sandbox
from tools.errors import UserError
from tools.sandbox import Limits, Outcome, run_pairs, run_programs, unavailable

LIBC = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
# machine code: getpid by the 32-bit call, whose number means something else in 64 bits
CALL_32_BIT = """import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex('b814000000cd80c3'))
pid = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
assert pid == __import__('os').getpid()"""
ATTACKS = {
    "network": "import socket\nsocket.create_connection(('127.0.0.1', PORT), 5)",
    "abstract socket": "import socket\nsocket.socket(socket.AF_UNIX).connect('\\0' + SECRET_NAME)",
    "system file": "open('/etc/passwd').read()",
    "home": "import os\nos.listdir(HOME)",
    "other file": "open(SECRET).read()",
    "hard link": "import os\nos.link(SECRET, 'hard')",
    "way up": "import os\nos.chdir(os.path.dirname(SECRET))",
    "write": "open(SECRET, 'a').write('x')",
    "environment": "import os\nos.environ['SECRET_OF_CALLER']",
    "process list": "import os\nassert str(VICTIM) in os.listdir('/proc')",
    "kill": "import os\nos.kill(VICTIM, 9)",
    "inherited file": "import os\nos.read(DESCRIPTOR, 1)",
    "start process": "import os\nif os.fork() == 0:\n    os._exit(0)\nos.wait()",
    "start thread": "import threading\nthreading.Thread(target=print).start()",
    "namespace": f"{LIBC}assert libc.unshare(0x10000000) == 0",
    "keyring": f"{LIBC}assert libc.syscall(250, 0, -3, 1) > 0",
    "shared memory": f"{LIBC}assert libc.shmctl(libc.shmget(0, 4096, 0o1600), 0, None) == 0",
    "anonymous file": "import os\nos.memfd_create('x')",
    "trace": f"{LIBC}assert libc.ptrace(0, 0, None, None) == 0",
    "32-bit call": CALL_32_BIT,
}


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """What an attack is after; all of it is there."""
    monkeypatch.setenv("SECRET_OF_CALLER", "x")
    name = secrets.token_hex(8)
    secret = tmp_path / name
    secret.write_text("secret")
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as abstract,
        subprocess.Popen(["sleep", "60"]) as victim,
        secret.open() as file,
    ):
        abstract.bind("\0" + name)
        abstract.listen()
        os.set_inheritable(file.fileno(), True)
        yield {
            "PORT": server.getsockname()[1],
            "SECRET": str(secret),
            "SECRET_NAME": name,
            "HOME": str(Path.home()),
            "VICTIM": victim.pid,
            "DESCRIPTOR": file.fileno(),
        }
        victim.kill()


def attack(name: str, places: dict[str, object]) -> str:
    """A program that prints `escaped` if the attack succeeds, else the error."""
    given = "".join(f"{key} = {value!r}\n" for key, value in places.items())
    return (
        f"{given}try:\n{indent(ATTACKS[name], '    ')}\nexcept Exception as error:\n"
        "    print('refused', repr(error))\nelse:\n    print('escaped')\n"
    )


def inside(source: str, limits: Limits | None = None, hash_seed: int = 0) -> Outcome:
    [outcome] = run_programs(
        [source], allow_code_execution=True, limits=limits or Limits(), hash_seed=hash_seed
    )
    return outcome


@needs_sandbox  # elsewhere the machine may refuse some of them to everybody
@pytest.mark.parametrize("name", ATTACKS)
def test_attack_succeeds_outside_and_fails_inside(
    name: str, places: dict[str, object], tmp_path: Path
) -> None:
    (tmp_path / "work").mkdir()
    source = attack(name, places)
    outside = subprocess.run(
        [sys.executable, "-S", "-c", source],
        cwd=tmp_path / "work",
        close_fds=False,
        capture_output=True,
        text=True,
    )
    assert outside.stdout.strip().splitlines()[-1] == "escaped", outside
    outcome = inside(source)
    if name == "32-bit call":
        assert (outcome.stdout, outcome.status) == ("", 128 + signal.SIGSYS)
    else:
        assert (outcome.stdout.split()[0], outcome.status) == ("refused", 0), outcome


REFUSED = sorted(sandbox._REFUSED_CALLS.values())
INSIDE = {  # what a program looks at, and what it must print
    "refused calls": (
        f"{LIBC}for number in {REFUSED}:\n"
        "    print(libc.syscall(number, 0, 0, 0, 0, 0), ctypes.get_errno())",
        "-1 1\n" * len(REFUSED),
    ),
    "only /tmp can be written": (
        """import os
for folder, folders, files in os.walk('/'):
    if folder.count('/') > 3:
        folders.clear()
    for path, mode in ((folder.rstrip('/') + '/x', 'w'), ('/program.py', 'a')):
        try:
            open(path, mode).close()
            print(path)
        except OSError:
            pass""",
        "/tmp/x\n",
    ),
    "no rights, nobody's id": (
        f"""{LIBC}import os
header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert libc.capget(header, sets) == 0
print(list(sets), os.getuid(), os.getgid(), os.getgroups() in ([], [65534]))""",
        "[0, 0, 0, 0, 0, 0] 65534 65534 True\n",
    ),
    # session 0 would be one outside, with its terminal
    "a session of its own": ("import os\nprint(os.getsid(0) > 0)", "True\n"),
    "no other variable": (
        "import os\nours = {'LD_LIBRARY_PATH', 'PYTHONHASHSEED'}\n"
        "print(ours <= {*os.environ} <= ours | {'PWD', 'LC_CTYPE'})",
        "True\n",
    ),
    "no core dump": (
        "import resource\nprint(resource.getrlimit(resource.RLIMIT_CORE))",
        "(0, 0)\n",
    ),
    "limits cannot be raised": (
        "import resource\ntry:\n    resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))\n"
        "except ValueError as error:\n    print(error)",
        "not allowed to raise maximum limit\n",
    ),
}


@needs_sandbox
@pytest.mark.parametrize("name", INSIDE)
def test_program_is_shut_in(name: str) -> None:
    source, expected = INSIDE[name]
    assert inside(source).stdout == expected


@needs_sandbox
@pytest.mark.parametrize(
    ("limits", "source", "error"),
    [
        (Limits(memory=100 << 20), "bytearray(SIZE << 20)", "MemoryError"),
        (Limits(disk=100 << 20), "open('x', 'wb').write(bytes(SIZE << 20))", "File too large"),
        (
            Limits(disk=100 << 20),
            "for name in '1234':\n    open(name, 'wb').write(bytes(SIZE << 18))",
            "No space left on device",
        ),
        (
            Limits(open_files=100),
            "files = [open('/program.py') for _ in range(SIZE)]",
            "Too many open files",
        ),
    ],
)
def test_resource_is_limited(limits: Limits, source: str, error: str) -> None:
    below, above = (inside(source.replace("SIZE", size), limits) for size in ("50", "130"))
    assert (below.status, below.stderr) == (0, "")
    assert above.status == 1 and error in above.stderr


BUSY = "while True: pass"
SLEEP = "import time; time.sleep(60)"
IGNORE = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\n"


@needs_sandbox
@pytest.mark.parametrize(
    ("source", "limits", "status"),
    [
        (BUSY, Limits(cpu_seconds=1, seconds=60), 128 + signal.SIGXCPU),
        (IGNORE + BUSY, Limits(cpu_seconds=1, seconds=60), 137),
        (SLEEP, Limits(seconds=0.5), 137),
        (f"import os; os.close(1); os.close(2); {SLEEP}", Limits(seconds=0.5), 137),
    ],
)
def test_program_ends_at_its_time(source: str, limits: Limits, status: int) -> None:
    outcome = inside(source, limits)
    assert (outcome.timed_out, outcome.status) == (True, status)
    assert 0.5 <= outcome.seconds < 30


@needs_sandbox
def test_load_of_the_machine_changes_no_verdict() -> None:
    """Half a second of work passes within one on a machine with no CPU to spare; sleep does not."""
    busy = [
        subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(4 * (os.cpu_count() or 1))
    ]
    work = "import time\nwhile time.process_time() < 0.5: pass\nprint('done')"
    try:
        worked, slept = run_programs(
            [work, "import time; time.sleep(1.5); print('done')"],
            allow_code_execution=True,
            limits=Limits(seconds=1),
        )
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert (worked.stdout, worked.timed_out) == ("done\n", False)
    assert (slept.stdout, slept.timed_out) == ("", True)


@needs_sandbox
def test_what_runs_out_of_time_runs_once_more_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    run, under_way, seen = sandbox._run, [], []

    def watched(sources: Sequence[str], limits: Limits, hash_seed: int) -> list[Outcome]:
        again = sources in [each for each, _ in seen]
        under_way.append(sources)
        outcomes = run(sources, limits if again else Limits(seconds=0.01), hash_seed)
        seen.append((sources, len(under_way)))
        under_way.remove(sources)
        return outcomes

    monkeypatch.setattr(sandbox, "_run", watched)
    outcomes = run_programs([f"print({number})" for number in range(4)], allow_code_execution=True)
    assert [outcome.stdout for outcome in outcomes] == ["0\n", "1\n", "2\n", "3\n"]
    assert len(seen) == 8 and {alone for _, alone in seen[4:]} == {1}


@needs_sandbox
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_flood_of_output_is_cut(stream: str) -> None:
    source = f"import sys\nwhile True:\n    sys.{stream}.write('x' * 1000)"
    outcome = inside(source, Limits(output=5000))
    assert (outcome.output_cut, outcome.timed_out) == (True, False)
    assert outcome.stdout + outcome.stderr == "x" * 5000


def processes(mark: int) -> list[str]:
    """The processes of this machine that have the mark as hash seed."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            texts = (folder / "environ").read_bytes(), (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if any(str(mark).encode() in text for text in texts):
            found.append(folder.name)
    return found


DAEMON = """import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(60)
    os._exit(0)
os.wait()
print('left behind', flush=True)
"""


@needs_sandbox
@pytest.mark.parametrize("then", ["", "time.sleep(60)", "while True: print('x' * 1000)"])
def test_nothing_outlives_a_program_even_if_it_could_start_processes(
    then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "_REFUSED_CALLS", {})
    sandbox._seccomp_filter.cache_clear()
    mark = 4_000_000_000 + secrets.randbelow(200_000_000)
    try:
        outcome = inside(DAEMON + then, Limits(seconds=1, output=5000), hash_seed=mark)
    finally:
        sandbox._seccomp_filter.cache_clear()
    assert outcome.stdout.startswith("left behind\n")
    assert_gone(mark)


@needs_sandbox
def test_program_dies_with_its_caller() -> None:
    mark = 4_000_000_000 + secrets.randbelow(200_000_000)
    caller = (
        "from tools.sandbox import run_programs; run_programs("
        f"['import time; time.sleep(60)'], allow_code_execution=True, hash_seed={mark})"
    )
    with subprocess.Popen([sys.executable, "-c", caller]) as process:
        while len(processes(mark)) < 3:  # the caller, bubblewrap and the program at least
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
    assert_gone(mark)


def assert_gone(mark: int) -> None:
    """The kernel needs a moment to end a tree."""
    deadline = time.monotonic() + 5
    while processes(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes(mark) == []


@needs_sandbox
def test_programs_share_nothing_and_come_in_order() -> None:
    source = "import os, time\ntime.sleep({})\nprint({}, os.listdir('.'))\nopen('mine', 'w')"
    sources = [source.format(0.3 if number == 0 else 0, number) for number in range(5)]
    outcomes = run_programs(sources, allow_code_execution=True)
    assert [outcome.stdout for outcome in outcomes] == [f"{number} []\n" for number in range(5)]


@needs_sandbox
@pytest.mark.parametrize(
    ("source", "status", "stdout", "error"),
    [
        ("import sys\nprint(1)\nsys.exit(3)", 3, "1\n", ""),
        ("1 / 0", 1, "", "ZeroDivisionError: division by zero"),
        ("import os\nos.kill(os.getpid(), 9)", 137, "", ""),
        ("import os\nos.write(1, b'a\\xff')", 0, "a\ufffd", ""),
        ("input()", 1, "", "EOFError"),
        ("import sys\nsys.exit('bwrap: forged')", 1, "", "bwrap: forged"),
        ("print('\ud800')", 1, "", "SyntaxError"),
        ("import numpy", 1, "", "ModuleNotFoundError"),
        ("import math, json, decimal, ctypes, ssl, sqlite3, zoneinfo", 0, "", ""),
    ],
)
def test_ending_is_told(source: str, status: int, stdout: str, error: str) -> None:
    outcome = inside(source)
    assert (outcome.status, outcome.stdout) == (status, stdout)
    assert error in outcome.stderr
    assert not outcome.timed_out and not outcome.output_cut


PING = """import socket, sys
wire = socket.socket(fileno=int(sys.argv[1]))
wire.sendall(b'{sent}')
print(wire.recv(9))
"""


def paired(first: str, second: str, limits: Limits | None = None) -> tuple[Outcome, Outcome]:
    [outcomes] = run_pairs([(first, second)], allow_code_execution=True, limits=limits or Limits())
    return outcomes


@needs_sandbox
def test_pair_is_joined_by_a_socket_and_shares_nothing_else() -> None:
    """Neither sees the other's process, and each has a /tmp of its own."""
    look = "import os\nopen('mine', 'w')\nassert os.listdir('/tmp') == ['mine']\n"
    others = "found = 0\nfor pid in range(1, 400):\n    try: os.kill(pid, 0); found += 1\n"
    source = f"{look}{others}    except OSError: pass\n{PING}print(found)"
    first, second = paired(source.format(sent="one"), source.format(sent="two"))
    assert first.stdout == "b'two'\n2\n"  # bubblewrap's own and itself
    assert second.stdout == "b'one'\n2\n"


@needs_sandbox
@pytest.mark.parametrize("source", [BUSY, SLEEP])
def test_pair_ends_soon_after_the_one_that_leads(source: str) -> None:
    first, second = paired(source, "print('done')")
    assert (second.stdout, second.status, first.timed_out) == ("done\n", 0, True)
    assert first.seconds < 9


@needs_sandbox
def test_pair_ends_at_the_time_of_the_one_that_leads() -> None:
    first, second = paired("print('done')", SLEEP, Limits(seconds=0.7))
    assert (second.timed_out, second.status) == (True, 137) and second.seconds < 9
    assert (first.stdout, first.status) == ("done\n", 0)


@needs_sandbox
def test_flood_of_the_one_that_is_led_ends_it_alone() -> None:
    flood = "while True: print('x' * 1000)"
    wait = "import socket, sys\nprint(socket.socket(fileno=int(sys.argv[1])).recv(9))"
    first, second = paired(flood, wait, Limits(output=5000))
    assert (first.output_cut, len(first.stdout)) == (True, 5000)
    assert (second.output_cut, second.stdout) == (False, "b''\n")  # it saw the other's end


def test_nothing_runs_without_consent() -> None:
    with pytest.raises(UserError, match=r"^untrusted programs .* pass --allow-code-execution$"):
        run_programs(["1", "2"], allow_code_execution=False)


def test_machine_that_cannot_run_it_is_told_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    unavailable.cache_clear()
    with pytest.raises(UserError, match="bwrap is not installed: `apt-get install bubblewrap`"):
        run_programs(["1"], allow_code_execution=True)
    unavailable.cache_clear()


@needs_sandbox
def test_sandbox_that_breaks_later_is_no_failed_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert inside("print(1)").status == 0
    script = tmp_path / "bwrap"
    script.write_text("#!/bin/sh\necho 'bwrap: uid map: Permission denied' >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(UserError, match=r"uid map: Permission denied .*AppArmor"):
        run_programs(["1"], allow_code_execution=True)
