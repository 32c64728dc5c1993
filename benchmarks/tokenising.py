"""Times the tokenising of COGEX rows: ours, Axolotl's built-in `alpaca`, and TRL's SFTTrainer.

    python -m benchmarks.tokenising [--rows 52000] [--json FILE]

Two real vocabularies of the packages at hand: SentencePiece with 32,000 pieces (Llama-2's kind) and
a tiktoken-style one of 128,000 (Llama-3's). The rows are `benchmarks.made_cogex`. Each contestant
runs in a process of its own with all cores, its default way of using them: `axolotl preprocess`
with the recipe's strategy, the same with `type: alpaca`, and the preparation that SFTTrainer does
of a prompt-completion dataset with `dataset_num_proc` at the number of cores.
"""

import json
import sys
import tempfile
from contextlib import chdir
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.child import ROOT, measure
from benchmarks.made_cogex import cogex_rows, write_array
from benchmarks.made_llama import llama3_tokenizer, make_llama
from prompt_strategies.layout import render_completion, render_prompt
from tests import real_tokenizers
from tools.files import write_json, write_jsonl
from tools.prepare.cogex import prepare_cogex
from tools.prepared_rows import read_prepared_rows

TOKENIZERS = {
    "sentencepiece": real_tokenizers.build_llama2_hub,
    "tiktoken": llama3_tokenizer,
}
CONTESTANTS = ("ours", "Axolotl alpaca", "TRL")


def main(
    rows: Annotated[int, typer.Option(help="Rows in all; 52000 is the published size.")] = 5_000,
    json: Annotated[Path | None, typer.Option(help="Also write the figures here.")] = None,
) -> None:
    """Make rows and tokenizers, time the three with each, print the tables."""
    console = Console()
    out, figures = json.resolve() if json else None, {}
    with tempfile.TemporaryDirectory() as name, chdir(name):
        make_data(rows)
        for kind, write_tokenizer in TOKENIZERS.items():
            make_llama(Path(kind), 8, 1, write_tokenizer)
            results = {contestant: run(contestant, kind) for contestant in CONTESTANTS}
            figures[kind] = {**results, "ours beside the faster": beside(results)}
            console.print(show(results, figures[kind]["ours beside the faster"]))
    if out:
        write_json(out, {"figures": figures})


def make_data(rows: int) -> None:
    """Write the rows in the forms that the three read."""
    write_array(Path("data.json"), cogex_rows(rows))
    prepare_cogex(Path("data.json"), Path("data"), val_size=rows // 26)
    for split in ("train", "val"):
        prepared = read_prepared_rows(Path(f"data/{split}.jsonl"))
        alpaca, trl = [], []
        for row in prepared:
            asked = {key: row[key] for key in ("instruction", "input")}
            completion = render_completion(row["code"], row["output"])
            alpaca.append(asked | {"output": completion})
            trl.append({"prompt": render_prompt(**asked), "completion": completion})
        write_jsonl(Path(f"data/{split}-alpaca.jsonl"), alpaca)
        write_jsonl(Path(f"data/{split}-trl.jsonl"), trl)


def beside(results: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return how many times faster this project is than the faster of the others."""
    ours, *others = (results[name] for name in CONTESTANTS)
    return {
        f"{part}, times as fast": min(other[f"{part}, s"] for other in others) / ours[f"{part}, s"]
        for part in ("tokenising", "whole")
    }


def show(results: dict[str, dict[str, float]], times: dict[str, float]) -> Table:
    """Return the table of a vocabulary."""
    table = Table("", *next(iter(results.values())))
    for name, result in results.items():
        table.add_row(name, *(f"{value:,.1f}".removesuffix(".0") for value in result.values()))
    compared = ", ".join(f"{name} {value:.2f}" for name, value in times.items())
    table.caption = f"ours beside the faster of the others: {compared}"
    return table


def run(contestant: str, kind: str) -> dict[str, float]:
    """Run one contestant; return its time for tokenising and for the whole."""
    number, result = CONTESTANTS.index(contestant), Path("result.json")
    command = [sys.executable, "-m", "benchmarks.tokenising_run", str(result)]
    if contestant == "TRL":
        command += ["trl", kind]
    else:
        recipe = Path(f"{kind}-{number}.yml")
        recipe.write_text(yaml.safe_dump(_recipe(contestant, kind, f"prepared-{kind}-{number}")))
        command += ["axolotl", str(recipe)]
    whole = measure(command)
    tokenised = json.loads(result.read_text())
    return {
        "rows": tokenised["rows"],
        "tokenising, s": tokenised["seconds"],
        "rows a second": tokenised["rows"] / tokenised["seconds"],
        "whole, s": whole.seconds,
        "whole, CPU s": whole.cpu_seconds,
        "peak, MiB": whole.peak_mib,
    }


def _recipe(contestant: str, kind: str, prepared: str) -> dict[str, Any]:
    ending, strategy = ("", "prompt_strategies.cogex")
    if contestant == "Axolotl alpaca":
        ending, strategy = ("-alpaca", "alpaca")
    values = yaml.safe_load((ROOT / "recipes" / "cogex-llama2-7b.yml").read_text())
    for key in ("deepspeed", "special_tokens", "tf32", "plugins", "auto_resume_from_checkpoints"):
        values.pop(key)
    values["datasets"][0] |= {"path": f"data/train{ending}.jsonl", "type": strategy}
    values["test_datasets"][0] |= {"path": f"data/val{ending}.jsonl", "type": strategy}
    return values | {
        "base_model": f"./{kind}", "bf16": False, "dataset_prepared_path": prepared,
        "output_dir": f"out-{prepared}", "special_tokens": {"pad_token": "<unk>"}
        if kind == "sentencepiece" else {},
    }  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
