"""Measures what the tiny base can do before any fine-tuning, in a format of its own corpus."""

import random
from pathlib import Path
from typing import Any

from tools.generate import generate
from tools.models import load_base, load_tokenizer
from tools.tiny.corpus import HEADINGS, draw
from tools.tiny.families import ALL_FAMILIES

PER_FAMILY, SEED = 30, 3


def measure_skills(model_folder: Path) -> dict[str, Any]:
    """Let the base emulate given programs on inputs that are not in its corpus.

    Returns for each family how many of 30 output dicts are exactly right.
    """
    rng = random.Random(SEED)
    prompts, expected, names = [], [], []
    for family in ALL_FAMILIES.values():
        for _ in range(PER_FAMILY):
            args, program = draw(family, rng, reserved=True), rng.choice(family.programs)
            text = HEADINGS[0].format(
                instruction=rng.choice(family.base_instructions),
                input=family.text(*args),
                program=program.source,
                call=program.call(args),
                output="",
            )
            prompts.append(text)
            expected.append(repr(program.run(*args)))
            names.append(family.name)
    model, tokenizer = load_base(model_folder), load_tokenizer(model_folder)
    generations = generate(model, tokenizer, prompts, max_length=512)
    right = dict.fromkeys(names, 0)
    for name, generation, want in zip(names, generations, expected, strict=True):
        right[name] += generation.text.strip() == want
    return {"rows_per_family": PER_FAMILY, "exact_output_dicts": right}
