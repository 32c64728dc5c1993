"""`cogex apply`: answers new inputs with the programs that a search found."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, PositiveInt, TypeAdapter, ValidationError

from prompt_strategies.layout import parse_completion
from tools.errors import UserError
from tools.generate import Generation
from tools.search.candidates import PROGRAM
from tools.search.metrics import load_metric
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
    """Return for each input the programs' majority answer, and each program's own output.

    The model is the one of the search; `target` may name it in another way. Raises UserError if
    the file is not the result of a search, or if the model is another one.
    """
    found = _read(path)
    settings, task = found.settings, found.task
    backend, _ = (target or _recorded(path, found)).open()
    _check_same_model(path, found.model, backend.identity)
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
        texts = [made[index].text for index in range(first, first + len(programs))]
        answers = [PROGRAM.answer(generated) for generated in texts]
        seed = derived_seed("vote", settings.seed, text)
        outputs = [_shown(made[index]) for index in range(first, first + len(programs))]
        results.append({"input": text, "answer": vote(answers, metric, seed), "programs": outputs})
    return results


def _shown(generation: Generation) -> dict[str, str]:
    completion = parse_completion(generation.text)
    shown = {"call": completion.call, "output": completion.output}
    reason = getattr(generation, "reason", "")
    return shown | ({"no_text": reason} if reason else {})


def _recorded(path: Path, found: _Found) -> Target:
    try:
        return TypeAdapter(Target).validate_python(found.model["target"])
    except (KeyError, ValidationError):
        raise UserError(
            f"{path}: names no model; give it by --recipe, --model or --endpoint"
        ) from None


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
        raise UserError(f"{path}: does not exist; run `cogex search` first") from None
    except (OSError, ValueError):  # pydantic's is a ValueError
        raise UserError(
            f"{path}: is not the whole result of a `cogex search`; search again"
        ) from None
