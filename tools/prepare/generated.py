"""Lets a teacher write code tasks: each has a prompt, a solution and tests, which are tried here.

A model behind a server is asked for one task at a time, by category and level:

- level 1: one line of arithmetic, lists, strings or conditionals; level 2: loops and basic logic;
  level 3: recursion and algorithms.

Its answer is a function with a docstring, and assertions below it. Nothing of it is trusted: it is
parsed, and runs in the sandbox alone. Every task is kept, or in rejected.jsonl with its reason:

- `no text: …`: the server gave none; the same call asks again;
- `not a function with a docstring, and assertions`, `fewer than 3 assertions`;
- `assertions name: …`: something else than the function and builtins;
- `uses: …`: a name that is undefined, or what reaches beyond the program; `more than 50 lines`;
- `held out …`, `duplicate …`, `near-duplicate of ID`: see `tools/code/merge.py`;
- `its own solution …`: it does not pass its own tests;
- `its tests pass without a solution`.
"""

import ast
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from tools.code import near_duplicates
from tools.code.difficulty import count_lines, level_of
from tools.code.merge import unwanted
from tools.code.tasks import Task, own_task
from tools.code.trial import VERDICTS, Trial, try_programs
from tools.endpoint import Endpoint, Session, connect
from tools.errors import UserError
from tools.kept import Kept, digest
from tools.prepare.fields import RejectedError
from tools.prepare.folder import (
    check_out,
    commonest_first,
    print_counts,
    rejected_lines,
    write_folder,
)
from tools.programs import BUILTINS, examine
from tools.python_text import parse, take_program
from tools.sandbox import refuse_unless_possible
from tools.server_answer import CHARACTERS_PER_TOKEN, Answer, NoAnswer

CATEGORIES = {
    "arithmetic": "arithmetic and mathematics, on numbers",
    "lists": "list operations: access, aggregation, filtering, transformation, search",
    "strings": "string operations: checking, transformation, counting",
    "algorithms": "algorithms: sorting, searching, two pointers, recursion",
    "structures": "data structures held in lists and dicts: stacks, queues, matrices",
    "conditionals": "logic and conditionals: boolean rules, early returns, edge cases",
    "loops": "loops and iteration: ranges, nested loops, break and continue",
}
LEVELS = {
    1: "very easy: the body is one line",
    2: "easy: a loop or a few conditions",
    3: "harder: recursion or a small algorithm",
}
MOST_LINES = 50
LEAST_TESTS = 3
TEMPERATURE = 0.8
ANSWER_TOKENS = 700

SYSTEM = "You write exercises for people who learn Python. You answer with one code block alone."
ASK = """\
Write exercise number {number} of a series about {subject}. It is {level}.

Answer with one Python code block that holds, in this order:
1. one function with a descriptive name and a docstring that says what it returns, with one example;
2. at least four assert statements that call the function with literal arguments and compare what \
it returns with a literal.

No import but of the standard library, no input, no print. Choose a function that nobody would \
write first for this subject."""

_FORM = "not a function with a docstring, and assertions"


def prepare_generated(
    out: Path,
    *,
    endpoint: str,
    model: str | None,
    count: int,
    budget: int,
    allow_code_execution: bool,
    held_out: Sequence[Path] = (),
    concurrency: int = 16,
    tell: Callable[[str], object] = lambda line: None,
) -> dict[str, Any]:
    """Ask for `count` tasks, and write those that hold into the folder `out`; return the manifest.

    What was answered is kept in asked.jsonl, and not asked again. Raises UserError without
    consent, if the estimate is above the `budget` in tokens (then nothing is asked), if no task
    holds, or as `Endpoint` does.
    """
    refuse_unless_possible(allow_code_execution)
    check_out(out, out / "asked.jsonl", ())
    server, _ = connect(endpoint, model, concurrency=concurrency)
    kept = Kept(out / "asked.jsonl")
    requests = [_request(number) for number in range(count)]
    keys = [digest([server.model, SYSTEM, text, number]) for number, text in enumerate(requests)]
    missing = [number for number, key in enumerate(keys) if kept.get(key) is None]
    most = _most_tokens([requests[number] for number in missing], budget)
    told = f"{len(missing):,} of {count:,} tasks to be asked of {server.model}"
    tell(f"{told}: at most {most:,} tokens")
    asked = {number: requests[number] for number in missing}
    silent = _ask(server, asked, keys, kept, budget)
    answers = [kept.get(key) for key in keys]
    tasks, reasons = _read(answers, silent)
    reasons |= _refused(tasks, held_out)
    reasons |= _failing({number: task for number, task in tasks.items() if number not in reasons})
    rows = [
        tasks[number].row
        | {
            "entry_point": tasks[number].entry_point,
            "tests": tasks[number].tests,
            "category": tasks[number].category,
            "level": str(level_of(tasks[number].prompt + tasks[number].solution)),
        }
        for number in sorted(tasks)
        if number not in reasons
    ]
    counts = commonest_first(
        Counter(reason.split(":")[0].split(" of ")[0] for reason in reasons.values())
    )
    if not rows:
        told = ", ".join(f"{number} {reason}" for reason, number in counts.items())
        raise UserError(f"{server.model}: none of its {count} tasks holds ({told}); ask another")
    manifest = {
        "format": "code/generated",
        "source": {"path": endpoint, "sha256": digest(answers), "rows": count},
        "model": server.model,
        "read": count,
        "kept": len(rows),
        "rejected": len(reasons),
        "reasons": counts,
        "tokens": sum((answer or {}).get("tokens", 0) for answer in answers),
    }
    files = {"rows.jsonl": rows, "rejected.jsonl": rejected_lines(reasons, answers)}
    return write_folder(out, files, manifest, hashed=["rows.jsonl"])


def _category(number: int) -> str:
    return list(CATEGORIES)[number % len(CATEGORIES)]


def _request(number: int) -> str:
    """The request for one task: every category and level in turn."""
    subject = CATEGORIES[_category(number)]
    level = LEVELS[1 + number // len(CATEGORIES) % len(LEVELS)]
    return ASK.format(number=number + 1, subject=subject, level=level)


def _most_tokens(missing: Sequence[str], budget: int) -> int:
    """Return what asking may cost. Raises UserError if that is above the budget."""
    given = sum(len(SYSTEM) + len(text) for text in missing)
    most = -(-given // CHARACTERS_PER_TOKEN) + ANSWER_TOKENS * len(missing)
    if most > budget:
        raise UserError(
            f"asking for {len(missing):,} tasks takes up to {most:,} tokens, the budget is "
            f"{budget:,}: nothing was asked. Give --budget {most}, or a smaller --count"
        )
    return most


def _ask(
    server: Endpoint, missing: dict[int, str], keys: Sequence[str], kept: Kept, budget: int
) -> dict[int, str]:
    """Keep each answer as it comes; return why others have no text: the next call asks again."""

    async def one(session: Session, number: int) -> Answer:
        return await session.chat(SYSTEM, missing[number], ANSWER_TOKENS, temperature=TEMPERATURE,
                                  seed=number)  # fmt: skip

    silent: dict[int, str] = {}
    numbers = list(missing)
    answers = server.run([partial(one, number=number) for number in numbers])
    for place, answer in track(answers, "Asking", total=len(numbers), transient=True):
        number = numbers[place]
        if isinstance(answer, NoAnswer):
            silent[number] = answer.reason
            continue
        tokens = answer.cost(SYSTEM, missing[number])
        kept.put(keys[number], {"text": answer.text, "tokens": tokens, "cut": answer.cut})
        budget -= tokens
        if budget < 0:
            raise UserError(
                "the teacher took more tokens than estimated, and the budget is used up: raise "
                "--budget and run this again; the tasks so far are kept"
            )
    return silent


def _read(answers: Sequence[Any], silent: dict[int, str]) -> tuple[dict[int, Task], dict[int, str]]:
    """Return the tasks by number, and why the others are none."""
    tasks, reasons = {}, {}
    for number, answer in enumerate(answers):
        try:
            if answer is None:
                raise RejectedError(f"no text: {silent[number]}")
            tasks[number] = _task(number, take_program(answer["text"]))
        except RejectedError as reason:
            reasons[number] = str(reason)
    return tasks, reasons


def _task(number: int, source: str) -> Task:
    """Split a teacher's program into prompt, solution and tests. Raises RejectedError."""
    tree = parse(source)
    defined = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    tests = [node for node in tree.body if isinstance(node, ast.Assert)]
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    if len(defined) != 1 or len(defined) + len(tests) + len(imports) != len(tree.body):
        raise RejectedError(_FORM)
    [function] = defined
    if not ast.get_docstring(function) or len(function.body) < 2 or function.decorator_list:
        raise RejectedError(_FORM)
    if len(tests) < LEAST_TESTS:
        raise RejectedError(f"fewer than {LEAST_TESTS} assertions")
    if strange := sorted(set(_names(tests)) - BUILTINS - {function.name}):
        raise RejectedError(f"assertions name: {', '.join(strange)}")
    lines = source.split("\n")
    above = [ast.unparse(node) for node in imports]
    end = function.body[0].end_lineno or 0
    prompt = "\n".join([*above, *[""] * bool(above), *lines[function.lineno - 1 : end]]) + "\n"
    solution = "\n".join(lines[end : function.end_lineno]).strip("\n") + "\n"
    row = {
        "id": f"gen_{_category(number)}_{number + 1:05}",
        "prompt": prompt,
        "solution": solution,
        "tests": "".join(f"{ast.unparse(node)}\n" for node in tests),
        "category": _category(number),
    }
    if not parse(prompt + solution).body:  # a body on the line of its docstring
        raise RejectedError(_FORM)
    status, names = examine(prompt + solution, function.name)
    if status != "complete":
        raise RejectedError(f"uses: {', '.join(names)}")
    if count_lines(prompt + solution) > MOST_LINES:
        raise RejectedError(f"more than {MOST_LINES} lines")
    return own_task(row)


def _names(tests: Sequence[ast.Assert]) -> Iterator[str]:
    for test in tests:
        for node in ast.walk(test):
            if isinstance(node, ast.Name):
                yield node.id


def _refused(tasks: dict[int, Task], held_out: Sequence[Path]) -> dict[int, str]:
    """Return why tasks are not used: a benchmark's, or one that was there before."""
    numbers = list(tasks)
    found = unwanted([tasks[number].row for number in numbers], held_out)
    reasons = {numbers[index]: reason for index, reason in found.items()}
    known: dict[tuple[str, str], str] = {}
    for number in numbers:
        if number in reasons:
            continue
        row = tasks[number].row
        keys = near_duplicates.keys(row)
        if resembled := keys & known.keys():
            reasons[number] = f"near-duplicate: of {min(known[key] for key in resembled)}"
        known |= dict.fromkeys(keys - known.keys(), row["id"])
    return reasons


def _failing(tasks: dict[int, Task]) -> dict[int, str]:
    """Try each solution, and no solution at all, against the task's own tests."""

    def tried(trials: list[Trial]) -> Any:
        return zip(tasks, try_programs(trials, allow_code_execution=True), strict=True)

    reasons = {}
    for number, verdict in tried([t.trial(t.prompt + t.solution) for t in tasks.values()]):
        if not verdict.passed:
            reasons[number] = f"its own solution {VERDICTS[verdict.kind]}: {verdict.detail}"
    for number, verdict in tried([t.trial(f"{t.prompt}    pass\n") for t in tasks.values()]):
        if verdict.passed:
            reasons[number] = "its tests pass without a solution"
    return reasons


def print_summary(manifest: dict[str, Any], console: Console) -> None:
    """Print every count and reason, and what it cost."""
    print_counts("tasks", {name: manifest[name] for name in ("read", "kept")}, manifest, console)
    share = manifest["kept"] / manifest["read"]
    console.print(
        f"{share:.0%} of the tasks hold; {manifest['tokens']:,} tokens of {manifest['model']}"
    )
