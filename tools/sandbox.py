"""Runs a Python program that nobody has read, under bubblewrap, and brings back what it printed.

Taking builtins away from a program is no boundary: there is always a way back to them. Here the
kernel draws it. What the sandbox covers, each with an attack in `tests/unit/test_sandbox.py`:

- network, processes, shared memory and host name of the machine: own namespaces (`--unshare-all`)
- files: the root holds the system's libraries and Python's `lib` folder, all read-only, and an
  empty `/tmp` of limited size; no home, no repository, no `/etc`, `/proc` or `/dev`
- secrets: no environment, no inherited file, no kernel keyring, no terminal (`--new-session`)
- rights: nobody's user id, no capability, no further namespace
- processes and threads: a seccomp filter refuses to start any. RLIMIT_NPROC would not do: the
  kernel does not hold root to it, and counts all processes of any other user
- memory, CPU time, file size, open files, core dumps: rlimits
- time and output: from outside; at either limit the whole tree is killed, and it dies with us

Not covered: faults of the kernel, of bubblewrap or of the CPU, and timing side channels; memory
that the kernel needs for a program without counting it (the inodes of many empty files); what the
system's libraries and Python's installed packages contain can be read. Whoever needs more puts
a virtual machine around it. Linux on x86_64 alone, for system calls have numbers there.
"""

import os
import platform
import selectors
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from rich.progress import track

from tools.errors import UserError

# asm/unistd_64.h of Linux
_REFUSED_CALLS = {
    "clone": 56, "fork": 57, "vfork": 58, "clone3": 435,  # processes and threads
    "shmget": 29, "semget": 64, "msgget": 68, "memfd_create": 319,  # memory that no rlimit counts
    "unshare": 272, "setns": 308,  # a namespace with all rights in it
    "add_key": 248, "request_key": 249, "keyctl": 250,  # the caller's keys
    # where most holes of the kernel were
    "io_uring_setup": 425, "bpf": 321, "userfaultfd": 323, "perf_event_open": 298,
}  # fmt: skip
_X32_CALLS = 0x40000000  # the same calls again, under other numbers
CONSENT = "--allow-code-execution"  # the option by which a person agrees
_CPU_LIMIT_STATUS = 128 + signal.SIGXCPU
_KILLED_STATUS = 128 + signal.SIGKILL

Ended = Literal["itself", "time", "output"]


@dataclass(frozen=True)
class Limits:
    """What one program may use; reaching `seconds`, `cpu_seconds` or `output` ends it."""

    seconds: float = 10.0  # on the clock, start-up included
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
    if not allow_code_execution:
        raise UserError(
            f"{len(sources)} programs that nobody has read would be run here, in a sandbox without "
            "network, without your files, with limits on time and memory; "
            f"if you agree, pass {CONSENT}"
        )
    if reason := unavailable():
        raise UserError(f"no program was run: {reason}")
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        outcomes = pool.map(lambda source: _run(source, limits, hash_seed), sources)
        return list(
            track(
                outcomes,
                "Running programs",
                total=len(sources),
                transient=True,
                disable=len(sources) < 2,
            )
        )


@cache
def unavailable() -> str | None:
    """Say why no program can be run on this machine, or None: one is really run, once."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return f"the sandbox needs Linux on x86_64, not {sys.platform} on {platform.machine()}"
    for tool, package in (("bwrap", "bubblewrap"), ("prlimit", "util-linux")):
        if shutil.which(tool) is None:
            return f"{tool} is not installed: `apt-get install {package}`"
    try:
        outcome = _run("print(6 * 7)", DEFAULT_LIMITS, 0)
    except UserError as error:
        return str(error)
    return None if outcome.stdout == "42\n" else f"Python fails in the sandbox: {outcome.stderr}"


def _run(source: str, limits: Limits, hash_seed: int) -> Outcome:
    started = time.monotonic()
    with (
        # a lone surrogate passes here, for it is Python that must refuse the program
        _descriptor(source.encode("utf-8", "surrogatepass")) as program,
        _descriptor(_seccomp_filter()) as rules,
        tempfile.TemporaryFile() as report,
    ):
        descriptors = (program, rules, report.fileno())
        process = subprocess.Popen(
            _command(*descriptors, limits, hash_seed),
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
        )
        with process:
            try:
                out, err, ended = _follow(process, started + limits.seconds, limits.output)
            finally:
                process.kill()  # all in the sandbox dies with it; nothing happens if it ended
        report.seek(0)
        if ended == "itself" and b"exit-code" not in report.read():
            raise UserError(
                f"bubblewrap cannot run here: {_text(err).strip()} (does a container, or Ubuntu's "
                "AppArmor, forbid user namespaces?)"
            )
    status = process.returncode if ended == "itself" else _KILLED_STATUS
    return Outcome(
        stdout=_text(out),
        stderr=_text(err),
        status=status,
        timed_out=ended == "time" or status == _CPU_LIMIT_STATUS,
        output_cut=ended == "output",
        seconds=time.monotonic() - started,
    )


@contextmanager
def _descriptor(content: bytes) -> Iterator[int]:
    """A nameless open file at its start: bubblewrap takes such by their numbers."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        yield file.fileno()


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


def _follow(
    process: subprocess.Popen[bytes], deadline: float, limit: int
) -> tuple[bytes, bytes, Ended]:
    """Read stdout and stderr, `limit` bytes at most, until the process ends or must be ended."""
    assert process.stdout and process.stderr
    out, err = bytearray(), bytearray()
    ended: Ended = "itself"
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, out)
        selector.register(process.stderr, selectors.EVENT_READ, err)
        while ended == "itself" and selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            for key, _ in ready:
                chunk = os.read(key.fd, min(65_536, limit - len(out) - len(err)))
                key.data.extend(chunk)
                if not chunk:
                    selector.unregister(key.fileobj)
            if not ready:
                ended = "time"
            elif len(out) + len(err) >= limit:
                ended = "output"
    if ended == "itself":
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:  # it closed its pipes and went on
            ended = "time"
    return bytes(out), bytes(err), ended


def _text(read: bytes) -> str:
    return read.decode("utf-8", "replace")
