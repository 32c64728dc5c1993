"""One contestant of `benchmarks.tokenising`, in a process of its own.

python -m benchmarks.tokenising_run RESULT axolotl RECIPE | trl BASE

RESULT gets, as JSON, the rows and the seconds in which they were tokenised.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Clock:
    """Adds up the seconds inside a function, and the rows of what it returns."""

    def __init__(self) -> None:
        self.seconds, self.rows = 0.0, 0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, timed; what it returns has a length."""

        def timed(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            result = function(*arguments, **named)
            self.seconds += time.perf_counter() - start
            self.rows += len(result)
            return result

        return timed


def axolotl(recipe: str, clock: Clock) -> None:
    """Run `axolotl preprocess`, and time the tokenising within it."""
    from axolotl.cli.args import PreprocessCliArgs
    from axolotl.cli.config import load_cfg
    from axolotl.cli.preprocess import do_preprocess
    from axolotl.datasets import TokenizedPromptDataset

    from prompt_strategies.base import CompletionStrategy

    for owner, name in ((TokenizedPromptDataset, "process"), (CompletionStrategy, "wrap_dataset")):
        setattr(owner, name, clock.around(getattr(owner, name)))
    cfg = load_cfg(recipe)
    cfg.is_preprocess = True
    do_preprocess(cfg, PreprocessCliArgs(prompter=None, download=False))


def trl(base: str, clock: Clock) -> None:
    """Build an SFTTrainer on prompt-completion rows, and time its preparation of them."""
    from datasets import load_dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.unk_token or tokenizer.eos_token
    setattr(SFTTrainer, "_prepare_dataset", clock.around(SFTTrainer._prepare_dataset))  # noqa: B010
    files = {name: f"data/{name}-trl.jsonl" for name in ("train", "val")}
    data = load_dataset("json", data_files=files, cache_dir="trl-cache")
    arguments = SFTConfig(
        "trl-out", max_length=2048, dataset_num_proc=os.cpu_count(), use_cpu=True, bf16=False,
        report_to="none",
    )  # fmt: skip
    SFTTrainer(
        f"./{base}", arguments, train_dataset=data["train"], eval_dataset=data["val"],
        processing_class=tokenizer,
    )  # fmt: skip


if __name__ == "__main__":
    clock = Clock()
    {"axolotl": axolotl, "trl": trl}[sys.argv[2]](sys.argv[3], clock)
    Path(sys.argv[1]).write_text(json.dumps(vars(clock)))
