"""`cogex apply`: answers new inputs with the programs that a search has found."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prompt_strategies.layout import Completion, parse_completion
from tools.errors import UserError
from tools.search.backend import Request
from tools.search.candidates import PROGRAM
from tools.search.run import Target
from tools.search.vote import derived_seed, vote
from tools.task_metrics import load_metric


def apply(path: Path, inputs: Sequence[str], target: Target | None = None) -> list[dict[str, Any]]:
    """Return for each input the majority answer of the kept programs, and each one's own output.

    The model is the one that the search was made with, unless `target` names it otherwise. Raises
    UserError if the file is no result of a search, or if the model is not the same any more.
    """
    found = _read(path)
    settings, task = found["settings"], found["task"]
    backend, _ = (target or _recorded(found)).open()
    _check_same_model(path, found, backend.identity)
    metric = load_metric(task["metric"], task["tolerance"])
    programs = [item["program"] for item in found["programs"]]
    requests = [
        Request(
            PROGRAM.emulator_prompt(task["instruction"], text, program),
            settings["emulator_temperature"],
            derived_seed("emulate", settings["seed"], program, text),
            settings["emulator_tokens"],
        )
        for text in inputs
        for program in programs
    ]
    made = {index: generation for batch in backend.run(requests) for index, generation in batch}
    results = []
    for number, text in enumerate(inputs):
        first = number * len(programs)
        texts = [made[index].text for index in range(first, first + len(programs))]
        answers = [PROGRAM.answer(generated) for generated in texts]
        seed = derived_seed("vote", settings["seed"], text)
        outputs = [_shown(parse_completion(generated)) for generated in texts]
        results.append({"input": text, "answer": vote(answers, metric, seed), "programs": outputs})
    return results


def _shown(completion: Completion) -> dict[str, str]:
    return {"call": completion.call, "output": completion.output}


def _recorded(found: dict[str, Any]) -> Target:
    named = found["model"]["target"]
    values: dict[str, Any] = {
        key: Path(name) if key in ("recipe", "model") else name for key, name in named.items()
    }
    return Target(**values)


def _check_same_model(path: Path, found: dict[str, Any], identity: dict[str, Any]) -> None:
    before = {key: value for key, value in found["model"].items() if key != "target"}
    # programs found in fp32 may be used in bf16, and the other way round
    if {**before, "dtype": None} != {**identity, "dtype": None}:
        raise UserError(
            f"{path}: was found with another model than this one ({identity} now, {before} then); "
            "search again"
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        assert all(found[key] for key in ("programs", "settings", "task"))
        assert found["model"]["target"]
    except FileNotFoundError:
        raise UserError(f"{path}: is not there; run `cogex search` first") from None
    except (OSError, ValueError, KeyError, TypeError, AssertionError, RecursionError):
        raise UserError(f"{path}: is no result of `cogex search`") from None
    return found
