"""Runs an untrusted Python program under bubblewrap, and returns what it printed.

Hiding builtins does not isolate a program, because it can always get them back. Here the kernel
isolates it. Each part has an attack in `tests/unit/tools/test_sandbox.py` or
`tests/unit/tools/code/test_trial.py`:

- network, processes, shared memory and host name: own namespaces (`--unshare-all`). Of the two
  processes in them, the program may not trace or read the other, which is bubblewrap's
- files: the root holds the system's libraries and Python's `lib` folder, all read-only, and an
  empty `/tmp` of limited size; no home, no repository, no `/etc`, `/proc` or `/dev`
- secrets: no environment, no inherited file, no kernel keyring, no terminal (`--new-session`)
- rights: nobody's user id, no capability, no further namespace
- processes and threads: a seccomp filter refuses to start any. RLIMIT_NPROC would not do: the
  kernel does not hold root to it, and counts all processes of any other user
- memory, CPU time, file size, open files, core dumps: rlimits
- time and output: from outside; at either limit the whole tree is killed, and it dies with us. Time
  in which a program waits for a CPU is not counted, and what ran out of time runs once more, alone

Trust neither what a program prints nor its exit status. To learn whether it is right, run the
tests in a second sandbox (`run_pairs`), as `tools.code.trial` explains.

Not covered: faults of the kernel, of bubblewrap or of the CPU; timing side channels; kernel memory
that no limit counts (the inodes of many empty files). The system's libraries and Python's own
packages can be read. For more, add a virtual machine. Linux on x86_64 only: system calls have
other numbers elsewhere.
"""

import json
import os
import platform
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import zip_longest
from pathlib import Path
from typing import IO, Literal

from rich.progress import track

from tools.errors import UserError

# asm/unistd_64.h of Linux
_REFUSED_CALLS = {
    "clone": 56, "fork": 57, "vfork": 58, "clone3": 435,  # processes and threads
    "shmget": 29, "semget": 64, "msgget": 68, "memfd_create": 319,  # memory that no rlimit counts
    "unshare": 272, "setns": 308,  # a namespace with all rights in it
    # another process: bubblewrap's own, which could be told not to die with its parent
    "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "pidfd_getfd": 438,
    "add_key": 248, "request_key": 249, "keyctl": 250,  # the caller's keys
    # where most holes of the kernel were
    "io_uring_setup": 425, "bpf": 321, "userfaultfd": 323, "perf_event_open": 298,
}  # fmt: skip
_X32_CALLS = 0x40000000  # the same calls again, under other numbers
CONSENT = "--allow-code-execution"  # the option by which a person agrees
_TICK = 0.001  # seconds
GRACE = 0.5  # seconds that the other of a pair has to end, after the one that leads
_CPU_LIMIT_STATUS = 128 + signal.SIGXCPU
_KILLED_STATUS = 128 + signal.SIGKILL

Ended = Literal["itself", "time", "output"]


@dataclass(frozen=True)
class Limits:
    """What one program may use; reaching `seconds`, `cpu_seconds` or `output` ends it."""

    # on the clock, start-up included, without the time for which the machine gave it no CPU
    seconds: float = 10.0
    cpu_seconds: int = 5
    memory: int = 1 << 30  # bytes of address space
    disk: int = 16 << 20  # bytes in /tmp: of each file, and of all together
    open_files: int = 64
    output: int = 1 << 20  # bytes on stdout and stderr together


@dataclass(frozen=True)
class Outcome:
    """What a program did: its text (undecodable bytes replaced), and how it ended."""

    stdout: str
    stderr: str
    status: int  # its exit status; 128 + N where signal N ended it
    timed_out: bool  # at the limit of seconds or of CPU seconds
    output_cut: bool  # ended for too much output; the text up to the limit is kept
    seconds: float


DEFAULT_LIMITS = Limits()


def run_programs(
    sources: Sequence[str],
    *,
    allow_code_execution: bool,
    limits: Limits = DEFAULT_LIMITS,
    hash_seed: int = 0,
) -> list[Outcome]:
    """Run each source in a sandbox of its own, one on each core; outcomes in the same order.

    `hash_seed` orders the sets of the programs (PYTHONHASHSEED). Raises UserError without
    consent, or where the sandbox cannot run; then nothing was run.
    """
    alone = [(source,) for source in sources]
    return [outcome for [outcome] in _run_all(alone, allow_code_execution, limits, hash_seed)]


def run_pairs(
    pairs: Sequence[tuple[str, str]], *, allow_code_execution: bool, limits: Limits = DEFAULT_LIMITS
) -> list[list[Outcome]]:
    """Run the two sources of each pair in two sandboxes that a socket joins, and nothing else.

    `sys.argv[1]` of each is the number of its end's descriptor. The second leads: `limits.seconds`
    begin anew with its first output, and when it ends the first is ended soon after. Raises as
    `run_programs`.
    """
    return _run_all(pairs, allow_code_execution, limits)


def _run_all(
    groups: Sequence[Sequence[str]], allow_code_execution: bool, limits: Limits, hash_seed: int = 0
) -> list[list[Outcome]]:
    refuse_unless_possible(allow_code_execution)
    run = partial(_run, limits=limits, hash_seed=hash_seed)
    show = partial(track, transient=True, disable=len(groups) < 2)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        done = list(show(pool.map(run, groups), "Running programs", total=len(groups)))
    late = [index for index, outcomes in enumerate(done) if any(o.timed_out for o in outcomes)]
    for index in show(late if len(groups) > 1 else [], "Once more, alone, what ran out of time"):
        done[index] = run(groups[index])
    return done


def refuse_unless_possible(allow_code_execution: bool) -> None:
    """Raise UserError without consent, or where the sandbox cannot run."""
    if not allow_code_execution:
        raise UserError(
            "untrusted programs would run here, in a sandbox without network, without your files, "
            f"with limits on time and memory; if you agree, pass {CONSENT}"
        )
    if reason := unavailable():
        raise UserError(f"no program was run: {reason}")


@cache
def unavailable() -> str | None:
    """Say why no program can be run on this machine, or None: one is really run, once."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return f"the sandbox needs Linux on x86_64, not {sys.platform} on {platform.machine()}"
    for tool, package in (("bwrap", "bubblewrap"), ("prlimit", "util-linux")):
        if shutil.which(tool) is None:
            return f"{tool} is not installed: `apt-get install {package}`"
    try:
        [outcome] = _run(["print(6 * 7)"], DEFAULT_LIMITS)
    except UserError as error:
        return str(error)
    return None if outcome.stdout == "42\n" else f"Python fails in the sandbox: {outcome.stderr}"


def _run(sources: Sequence[str], limits: Limits, hash_seed: int = 0) -> list[Outcome]:
    """Run one source, or two that a socket joins; the last leads."""
    with ExitStack() as stack:
        ends = socket.socketpair() if len(sources) == 2 else ()
        runs = [
            _start(stack, source, limits, hash_seed, end)
            for source, end in zip_longest(sources, ends)
        ]
        for end in ends:  # now that both programs have theirs, so that each sees the other's end
            end.close()
        _follow(runs, limits)
    return [_outcome(run, limits) for run in runs]


@dataclass
class _Running:
    """A sandbox at work: what it has written so far, and how it ended."""

    process: subprocess.Popen[bytes]
    report: IO[bytes]  # bubblewrap's own, on the exit
    started: float
    out: bytearray = field(default_factory=bytearray)
    err: bytearray = field(default_factory=bytearray)
    ended: Ended = "itself"
    seconds: float = 0.0


def _start(
    stack: ExitStack, source: str, limits: Limits, hash_seed: int, channel: socket.socket | None
) -> _Running:
    """Start a sandbox, which is killed when the stack closes; `channel` is for the program."""
    started = time.monotonic()
    # a lone surrogate passes here, because Python must refuse the program
    program = stack.enter_context(_nameless(source.encode("utf-8", "surrogatepass")))
    rules = stack.enter_context(_nameless(_seccomp_filter()))
    report = stack.enter_context(_nameless())
    command = _command(program.fileno(), rules.fileno(), report.fileno(), limits, hash_seed)
    given = [channel.fileno()] if channel else []
    process = subprocess.Popen(
        [*command, *map(str, given)],
        pass_fds=[program.fileno(), rules.fileno(), report.fileno(), *given],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
    )
    stack.enter_context(process)
    stack.callback(process.kill)  # all in the sandbox dies with it; nothing happens if it ended
    return _Running(process, report, started)


def _outcome(run: _Running, limits: Limits) -> Outcome:
    status = run.process.returncode if run.ended == "itself" else _KILLED_STATUS
    out_of_cpu = run.ended == "itself" and (
        status == _CPU_LIMIT_STATUS
        # a program that ignores SIGXCPU is killed a second later
        or (status == _KILLED_STATUS and run.seconds > limits.cpu_seconds)
    )
    return Outcome(
        stdout=_text(run.out),
        stderr=_text(run.err),
        status=status,
        timed_out=run.ended == "time" or out_of_cpu,
        output_cut=run.ended == "output",
        seconds=run.seconds,
    )


@contextmanager
def _nameless(content: bytes = b"") -> Iterator[IO[bytes]]:
    """An open file at its start: bubblewrap takes such by the number of its descriptor."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        yield file


def _command(program: int, rules: int, report: int, limits: Limits, hash_seed: int) -> list[str]:
    """The command line; `program`, `rules` and `report` are file descriptors."""
    library = f"/python/{sys.platlibdir}"
    limited = f"""
        --as={limits.memory} --cpu={limits.cpu_seconds}:{limits.cpu_seconds + 1}
        --fsize={limits.disk} --nofile={limits.open_files} --core=0 --"""
    isolated = f"""
        --unshare-all --unshare-user --uid 65534 --gid 65534 --cap-drop ALL
        --new-session --die-with-parent
        --clearenv --setenv PYTHONHASHSEED {hash_seed} --setenv LD_LIBRARY_PATH {library}
        --ro-bind-try /usr/lib /usr/lib --ro-bind-try /usr/lib64 /usr/lib64
        --ro-bind-try /lib /lib --ro-bind-try /lib64 /lib64"""
    return [
        shutil.which("prlimit") or "prlimit",
        *limited.split(),
        shutil.which("bwrap") or "bwrap",
        *isolated.split(),
        *("--ro-bind", f"{sys.base_prefix}/{sys.platlibdir}", library),
        *("--ro-bind", str(Path(sys.executable).resolve()), "/python/bin/python"),
        *f"--ro-bind-data {program} /program.py --size {limits.disk} --tmpfs /tmp".split(),
        *f"--remount-ro / --chdir /tmp --seccomp {rules} --json-status-fd {report} --".split(),
        # no -I, which would ignore the hash seed: there is no other variable, and no home
        *"/python/bin/python -s -P -S -X utf8 /program.py".split(),
    ]


@cache
def _seccomp_filter() -> bytes:
    """The filter as BPF instructions (linux/filter.h, linux/seccomp.h): refused calls fail."""
    load, jump_equal, jump_least, answer = 0x20, 0x15, 0x35, 0x06
    allow, refuse, kill = 0x7FFF0000, 0x00050000 | 1, 0x80000000  # 1: EPERM
    instructions = [
        (load, 0, 0, 4),  # the architecture
        (jump_equal, 1, 0, 0xC000003E),  # x86_64, else 32-bit calls with numbers of their own
        (answer, 0, 0, kill),
        (load, 0, 0, 0),  # the number of the call
        (jump_least, 0, 1, _X32_CALLS),
        (answer, 0, 0, refuse),
    ]
    for number in _REFUSED_CALLS.values():
        instructions += [(jump_equal, 0, 1, number), (answer, 0, 0, refuse)]
    instructions.append((answer, 0, 0, allow))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def _follow(runs: Sequence[_Running], limits: Limits) -> None:
    """Read stdout and stderr of all until the last has ended or must be ended; then end all."""
    *led, leader = runs
    deadline = leader.started + limits.seconds
    queued = 0.0
    with selectors.DefaultSelector() as selector:
        for run in runs:
            assert run.process.stdout and run.process.stderr
            selector.register(run.process.stdout, selectors.EVENT_READ, (run, run.out))
            selector.register(run.process.stderr, selectors.EVENT_READ, (run, run.err))
        while leader.ended == "itself" and any(
            key.data[0] is leader for key in selector.get_map().values()
        ):
            silent = not (leader.out or leader.err)
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            for key, _ in ready:
                _read(selector, key, limits.output)
            if led and silent and (leader.out or leader.err):
                deadline, queued = time.monotonic() + limits.seconds, sum(map(_queued, runs))
            if not ready:
                waited = max(0.0, sum(map(_queued, runs)) - queued)
                deadline, queued = deadline + waited, queued + waited
                if deadline - time.monotonic() < _TICK:
                    leader.ended = "time"
    for run in (leader, *led):
        if run.ended == "itself":
            grace = GRACE if leader.ended == "itself" else 0.0
            until = deadline if run is leader else time.monotonic() + grace
            try:
                run.process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:  # it closed its pipes and went on
                run.ended = "time"
        run.process.kill()
        run.seconds = time.monotonic() - run.started
        _check_that_it_ran(run)


def _queued(run: _Running) -> float:
    """Return for how many seconds the program was ready to run and had no CPU.

    It is 0 where the kernel does not tell (Linux does, in /proc/PID/schedstat).
    """
    try:
        told = os.pread(run.report.fileno(), 4096, 0)  # the report's own place stays
        inner, _ = json.JSONDecoder().raw_decode(told.decode())
        first = inner["child-pid"]  # bubblewrap's; the program is its child
        programs = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        files = [Path(f"/proc/{program}/schedstat") for program in programs]
        return sum(int(file.read_text().split()[1]) for file in files) / 1e9
    except (OSError, ValueError, LookupError):
        return 0.0


def _read(selector: selectors.BaseSelector, key: selectors.SelectorKey, limit: int) -> None:
    """Take what there is of one stream; at the limit the process is ended."""
    run, buffer = key.data
    chunk = os.read(key.fd, min(65_536, limit - len(run.out) - len(run.err)))
    buffer.extend(chunk)
    if not chunk:
        selector.unregister(key.fileobj)
    elif len(run.out) + len(run.err) >= limit:
        run.ended = "output"
        run.process.kill()


def _check_that_it_ran(run: _Running) -> None:
    """Bubblewrap reports an exit only if the program was started."""
    if run.ended != "itself":
        return
    run.report.seek(0)
    if b"exit-code" not in run.report.read():
        raise UserError(
            f"bubblewrap cannot run here: {_text(run.err).strip()} (does a container, or Ubuntu's "
            "AppArmor, forbid user namespaces?)"
        )


def _text(read: bytearray) -> str:
    return read.decode("utf-8", "replace")
