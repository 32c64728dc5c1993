"""Keeps every generation of a search, so that a killed search resumes.

`generations.jsonl` is only appended to. Each line is one generation; its key is the SHA-256 of
everything that it depends on: model, prompt, temperature, seed and limits. A batch is written at
once and counts only if it is complete. A resumed search therefore makes exactly the missing batches
and ends with the same bytes. (Each row has its own sample, but the other rows of a batch change how
logits are rounded.) A generation for which a server gave no text has a `reason`; the next search
makes it again.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from prompt_strategies import tokenise
from tools.backend import Backend, Batch, FromServer, Generation, Request
from tools.errors import UserError

NAME = "generations.jsonl"


class Store:
    """The generations of one folder; no more than `most` are made.

    `plan` says how many calls each part of the work may take, in order, and `best` what the best
    program so far is; the progress bar tells both.
    """

    def __init__(self, folder: Path, most: int | None = None) -> None:
        """Read the file, if there is one. Raises UserError if it holds anything else."""
        self.path = folder / NAME
        self.made, self.most = 0, most
        self.plan: dict[str, int] = {}
        self.best = ""
        self._left = 0  # calls of the part that is under way, at most
        self._kept = _read(self.path)
        self._asked: set[str] = set()

    def enter(self, part: str, most: int) -> None:
        """Begin a part of the plan, of which `most` is now known; those before it are done."""
        names = list(self.plan)
        done = names[: names.index(part) + 1] if part in names else []
        for name in done:
            self.plan[name] = 0
        self._left = most

    @property
    def left(self) -> int:
        """How many calls may follow, at most."""
        return self._left + sum(self.plan.values())

    @property
    def calls(self) -> int:
        """The number of different requests so far."""
        return len(self._asked)

    @property
    def without_text(self) -> list[str]:
        """Why a server gave no text, for each such request so far."""
        return [item.reason for item in self._from_servers() if item.reason]

    @property
    def not_taken(self) -> list[str]:
        """The parts of requests that a server did not take, such as the temperature."""
        return sorted({name for item in self._from_servers() for name in item.without})

    def _from_servers(self) -> Iterator[FromServer]:
        found = (self._kept[key] for key in sorted(self._asked) if key in self._kept)
        return (item for item in found if isinstance(item, FromServer))

    def complete(
        self, backend: Backend, requests: Sequence[Request], what: str
    ) -> list[Generation]:
        """Return the generation of each request; make and keep those that are missing.

        `what` names the work in the progress bar and in the file. Raises UserError where more
        would be made than may be.
        """
        keys = [_key(backend, request) for request in requests]
        before = self.calls
        self._asked.update(keys)
        self._left = max(0, self._left - (self.calls - before))
        missing = {
            key: request
            for key, request in zip(keys, requests, strict=True)
            if key not in self._kept
        }
        if self.most is not None and self.made + len(missing) > self.most:
            raise UserError(
                f"--max-calls {self.most}: {self.made:,} were made, and {what} needs "
                f"{len(missing):,} more; what was made is kept: give more, and run this again"
            )
        if missing:
            self._make(backend, missing, what)
        return [self._kept[key] for key in keys]

    def _make(self, backend: Backend, missing: dict[str, Request], what: str) -> None:
        keys, requests = list(missing), list(missing.values())
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[told]}"),
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file, Progress(*columns, transient=True) as progress:
            task = progress.add_task(what, total=len(keys), told=self._told())
            for batch in backend.run(requests):
                file.write(_lines(batch, keys, requests, what))
                file.flush()
                os.fsync(file.fileno())
                self._kept |= {keys[index]: generation for index, generation in batch}
                self.made += len(batch)
                progress.update(task, advance=len(batch), told=self._told())

    def _told(self) -> str:
        best = f"; best so far: {escape(self.best)}" if self.best else ""
        return f"{self.made:,} calls made, then at most {self.left:,}{best}"


def _key(backend: Backend, request: Request) -> str:
    deciding = {
        "model": backend.identity,
        "tokenise_version": tokenise.VERSION,
        **vars(request),
    }
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()


def _lines(batch: Batch, keys: list[str], requests: list[Request], what: str) -> bytes:
    lines = [
        {
            "key": keys[index],
            "what": what,
            "left": len(batch) - place,  # lines of this batch that follow
            "prompt": requests[index].prompt,
            "temperature": requests[index].temperature,
            "seed": requests[index].seed,
            **vars(generation),
        }
        for place, (index, generation) in enumerate(batch, 1)
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    return text.encode("utf-8", "replace")  # a prompt may hold half a character


def _read(path: Path) -> dict[str, Generation]:
    """Read the complete batches of a file; cut off a batch that a killed search broke off."""
    if not path.is_file():
        return {}
    kept: dict[str, Generation] = {}
    batch: dict[str, Generation] = {}
    whole = size = 0
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        size += len(line)
        if not line.endswith(b"\n"):
            break  # the last line of a killed search
        key, left, generation = _parse(path, number, line)
        batch[key] = generation
        if left == 0:
            # what has no text is asked for again
            kept |= {k: made for k, made in batch.items() if not getattr(made, "reason", "")}
            batch, whole = {}, size
    with path.open("r+b") as file:
        file.truncate(whole)
    return kept


def _parse(path: Path, number: int, line: bytes) -> tuple[str, int, Generation]:
    try:
        values: dict[str, Any] = json.loads(line)
        generation = Generation(str(values["text"]), int(values["tokens"]), bool(values["ended"]))
        reason, without = str(values.get("reason", "")), tuple(values.get("without", ()))
        if reason or without:
            generation = FromServer(**vars(generation), reason=reason, without=without)
        return str(values["key"]), int(values["left"]), generation
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UserError(
            f"{path}, line {number}: is not a generation of a search; "
            "remove the file to search again from the start"
        ) from None
