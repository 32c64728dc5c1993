"""`cogex apply`: answers new inputs with the programs that a search found."""

import ast
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, PositiveInt, TypeAdapter, ValidationError
from rich.console import Console

from prompt_strategies.layout import parse_completion
from tools.answered_file import answer_file
from tools.backend import NOTHING, Backend, Generation
from tools.errors import UserError, remedy
from tools.python_text import parse, take_literal, take_program
from tools.search.candidates import PROGRAM
from tools.search.metrics import Metric, load_metric
from tools.search.run import Target
from tools.search.scoring import emulator_request
from tools.search.vote import derived_seed, vote


class _Program(BaseModel):
    program: Annotated[str, Field(min_length=1)]


class _Settings(BaseModel):
    seed: int
    emulator_temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    emulator_tokens: PositiveInt


class _Task(BaseModel):
    instruction: str
    metric: str
    tolerance: float


class _Found(BaseModel):
    """The parts of a programs.json that are used here."""

    programs: Annotated[list[_Program], Field(min_length=1)]
    settings: _Settings
    task: _Task
    model: dict[str, Any]


def apply(path: Path, inputs: Sequence[str], target: Target | None = None) -> list[dict[str, Any]]:
    """Return for each input the programs' majority answer, the votes, and each program's output.

    `tie` says that the answer was drawn at random between equals, and `fault` what is wrong with
    how a program was called or emulated; its answer has a vote all the same. The model is the one
    of the search; `target` may name it in another way. Raises UserError if the file is not the
    result of a search, or if the model is another one.
    """
    found = _read(path)
    return _answers(found, _open(path, found, target), inputs)


def apply_file(path: Path, inputs: Path, out: Path, target: Target | None = None) -> int:
    """Answer each line of a file (see `tools.answered_file`); return how many were answered now."""
    found = _read(path)
    opened = cache(partial(_open, path, found, target))

    def answer(rows: list[dict[str, str]]) -> list[dict[str, Any]]:
        return _answers(found, opened(), [row["input"] for row in rows])

    return answer_file(inputs, out, ("input",), answer)


def _open(path: Path, found: _Found, target: Target | None) -> Backend:
    backend, _ = (target or _recorded(path, found)).open()
    _check_same_model(path, found.model, backend.identity)
    return backend


def _answers(found: _Found, backend: Backend, inputs: Sequence[str]) -> list[dict[str, Any]]:
    settings, task = found.settings, found.task
    metric = load_metric(task.metric, task.tolerance)
    programs = [item.program for item in found.programs]
    inputs = [text.strip() for text in inputs]  # as the inputs of a task card are
    requests = [
        emulator_request(PROGRAM, task.instruction, text, program, settings)
        for text in inputs
        for program in programs
    ]
    made = {index: generation for batch in backend.run(requests) for index, generation in batch}
    results = []
    for number, text in enumerate(inputs):
        first = number * len(programs)
        outputs = [
            _output(program, made[index], metric) for index, program in enumerate(programs, first)
        ]
        answers = [item["answer"] for item in outputs]
        voted = vote(answers, metric, derived_seed("vote", settings.seed, text))
        votes = [{"answer": answer, "votes": count} for answer, count in voted.votes]
        result = {"input": text, "answer": voted.answer, "tie": voted.tie, "votes": votes}
        results.append(result | {"programs": outputs})
    return results


def _output(program: str, generation: Generation, metric: Metric) -> dict[str, Any]:
    """What the model made of one program."""
    completion, answer = parse_completion(generation.text), PROGRAM.answer(generation.text)
    return {
        "call": completion.call,
        "output": completion.output,
        "answer": answer,
        "has_vote": metric.vote_key(answer) is not None,
        "fault": _fault(program, generation),
    }


def _fault(program: str, generation: Generation) -> str:
    """Say what is wrong with an emulation; empty where it has the form that was trained."""
    if reason := getattr(generation, "reason", ""):  # a server's
        return str(reason)
    if generation == NOTHING:
        return "the input fills what the model takes"
    written = parse_completion(generation.text)
    functions = [node.name for node in parse(program).body if isinstance(node, ast.FunctionDef)]
    match parse(written.call.removeprefix(">>> ")).body:
        case _ if parse(take_program(written.program)).body:
            return "it wrote another program in place of the call"
        case _ if not written.call:
            return "it wrote no call"
        case [ast.Expr(value=ast.Call(func=ast.Name(id=name)))] if name in functions:
            pass
        case [ast.Expr(value=ast.Call())]:
            return "it calls another function than the program's"
        case _:
            return "its call is no Python"
    output = take_literal(written.output)
    if not generation.ended:
        return f"it was cut off after {generation.tokens} tokens"
    if not isinstance(output, dict):
        return "its output is no dict"
    return "" if "answer" in output else "its output has no key `answer`"


def print_answers(results: Sequence[dict[str, Any]], console: Console) -> None:
    """Show each input with its answer, the votes, and what each program gave."""
    for item in results:
        answer = "no program gives an answer" if item["answer"] is None else item["answer"]
        votes = [f"{vote['votes']} for {vote['answer']!r}" for vote in item["votes"]]
        silent = sum(not output["has_vote"] for output in item["programs"])
        votes += [f"{silent} without an answer"] if silent else []
        chance = "; a tie, decided at random" if item["tie"] else ""
        lines = [item["input"], f"  {answer}", f"  votes: {', '.join(votes)}{chance}"]
        for number, output in enumerate(item["programs"], 1):
            called = " ".join(output["call"].split()) or "no call"
            lines.append(f"  program {number}: {called}")
            lines.append(f"    {' '.join(output['output'].split()) or 'no output'}")
            lines += [f"    broken: {output['fault']}"] if output["fault"] else []
        console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _recorded(path: Path, found: _Found) -> Target:
    try:
        return TypeAdapter(Target).validate_python(found.model["target"])
    except (KeyError, ValidationError):
        what = "names no model; give it by --recipe, --model or --endpoint"
        raise UserError(f"{path}: {what}") from None


def _check_same_model(path: Path, recorded: dict[str, Any], identity: dict[str, Any]) -> None:
    now, then = dict(identity), {key: recorded[key] for key in recorded if key != "target"}
    now["dtype"] = then["dtype"] = None  # programs found in fp32 may be used in bf16
    if other := sorted(key for key in {*now, *then} if now.get(key) != then.get(key)):
        raise UserError(
            f"{path}: was found with another model than this one, which differs in "
            f"{', '.join(other)}; name that model, or search again"
        )


def _read(path: Path) -> _Found:
    try:
        return _Found.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        todo = remedy(path, "run `cogex search TASK --recipe RECIPE` first, which writes it")
        raise UserError(f"{path}: does not exist; {todo}") from None
    except (OSError, ValueError):  # pydantic's is a ValueError
        what = "is not the whole result of a `cogex search`; search again"
        raise UserError(f"{path}: {what}") from None
