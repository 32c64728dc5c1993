"""Makes rows with the columns of ArXivDLInstruct and of about its size (3 kB a row)."""

import random
from collections.abc import Iterator
from typing import Any

WORDS = "batch data dim epoch feature grad head input layer loss mask model norm rate step".split()


def made_rows(count: int, seed: int = 42) -> Iterator[dict[str, Any]]:
    """Yield rows with all 13 published columns; five functions come from one repository.

    Two thirds of the functions are within 1,000 characters, and one in fifty is a copy.
    """
    rng = random.Random(seed)
    for index in range(count):
        repo = f"owner/repository-{index // 5}"
        number = index if index % 50 else index // 2
        name = f"{rng.choice(WORDS)}_{rng.choice(WORDS)}_{number}"
        function = made_function(random.Random(number), name if index % 50 else f"copied_{number}")
        before, after = "import torch\n" * rng.randint(1, 40), "\nVALUE = 1\n" * rng.randint(1, 90)
        full_code = f"{before}\n{function}{after}"
        yield {
            "prompt": f"Write a function {name} that combines "
            + " and ".join(rng.choice(WORDS) for _ in range(rng.randint(10, 60))),
            "description": f"Combines values in {name}.",
            "function": function,
            "function_name": name,
            "function_summary": "A function that adds up what it is given.",
            "repo": repo,
            "file": f"src/module_{index % 5}.py",
            "full_code": full_code,
            "file_length": len(full_code),
            "avg_line_length": 20.0,
            "max_line_length": 80,
            "extension_type": "py",
            "file_number": index,
        }


def made_function(rng: random.Random, name: str) -> str:
    """Return a Python function of 2 to 60 lines that runs."""
    lines = [f"def {name}({rng.choice(WORDS)}):", "    total = 0"]
    for step in range(rng.randint(1, 58)):
        lines.append(f"    total += {step} * {rng.randint(2, 999)}  # {rng.choice(WORDS)}")
    return "\n".join([*lines, "    return total"]) + "\n"
