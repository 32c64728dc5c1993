"""The `cogex` command: it wires verbs to functions and does nothing else.

Exit 0: done, or every check held; 1: a check did not hold; 2: the input cannot be used.
Heavy imports stay inside the verbs, so that `cogex --help` answers at once.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from tools.errors import UserError
from tools.files import write_json
from tools.prepare_command import prepare
from tools.recipe import read_recipe

app = typer.Typer(
    help="Recipes that reproduce CoGEX, and the checks around them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(prepare, name="prepare")
console = Console()

RecipeArgument = Annotated[Path, typer.Argument(help="The recipe, as recipes/cogex-tiny.yml.")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Also write the result here.")]


@app.command()
def preflight(
    recipe: RecipeArgument,
    gpu: Annotated[
        str | None,
        typer.Option(help="a6000, a100-80g, h100, h200, rtx4090 or rtx5090; else the header's."),
    ] = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="How many; else the header's.")] = None,
    rows: Annotated[int, typer.Option(min=0, help="Show this many random rows.")] = 5,
    json_path: JsonOption = None,
) -> None:
    """Check recipe, data, tokens, model and plan before any GPU hour is spent."""
    chosen = read_recipe(recipe)  # before anything heavy is imported
    from validation.inspect_rows import inspect_rows, print_rows
    from validation.preflight.run import preflight as run
    from validation.preflight.run import print_preflight

    with console.status("Looking at every row; some two minutes for 52,000"):
        result = run(chosen, gpu=gpu, gpus=gpus)
    if rows and result["rows"]:
        print_rows(inspect_rows(chosen, rows, 42, "train"), console)
    print_preflight(result, console)
    _write_result(json_path, result)
    raise typer.Exit(0 if result["passed"] else 1)


@app.command()
def inspect(
    recipe: RecipeArgument,
    rows: Annotated[int, typer.Option("-n", min=1, help="How many random rows.")] = 5,
    split: Annotated[Literal["train", "val"], typer.Option(help="Of which split.")] = "train",
    seed: Annotated[int, typer.Option(help="Seed of the choice.")] = 42,
    html: Annotated[Path | None, typer.Option(help="Also write a page to look at.")] = None,
) -> None:
    """Show rows as the model sees them: tokens, what is trained, what is masked."""
    chosen = read_recipe(recipe)  # before anything heavy is imported
    from validation.inspect_rows import inspect_rows, print_rows, write_html

    found = inspect_rows(chosen, rows, seed, split)
    print_rows(found, console)
    if html is not None:
        write_html(found, chosen, html)


@app.command()
def curves(
    recipe: RecipeArgument,
    follow: Annotated[
        bool, typer.Option("--follow", help="Look on while training runs, until it ends.")
    ] = False,
    json_path: JsonOption = None,
) -> None:
    """Judge a run by the trainer's own state: losses, learning rate, gradients, batch."""
    chosen = read_recipe(recipe)  # before anything heavy is imported
    from validation import curves as module

    result = module.follow(chosen, console) if follow else module.curves(chosen)
    module.print_curves(result, console)
    _write_result(json_path, result)
    raise typer.Exit(0 if result["passed"] else 1)


@app.command()
def select(
    recipe: RecipeArgument,
    logged: Annotated[
        bool, typer.Option("--logged", help="Rank by the trainer's own eval loss, at once.")
    ] = False,
    json_path: JsonOption = None,
) -> None:
    """Pick the checkpoint with the lowest exact validation perplexity; write best/."""
    chosen = read_recipe(recipe)  # before anything heavy is imported
    from validation.select import print_selection
    from validation.select import select as run

    result = run(chosen, logged=logged)
    print_selection(result, console)
    _write_result(json_path, result)
    raise typer.Exit(0 if result["best"] else 1)


@app.command()
def check(
    recipe: RecipeArgument,
    model: Annotated[str, typer.Option(help="best, base or checkpoint-N.")] = "best",
    rows: Annotated[int | None, typer.Option(min=1, help="Use only the first N rows.")] = None,
    min_answer: Annotated[float | None, typer.Option(help="Least share of exact answers.")] = None,
    min_family: Annotated[float | None, typer.Option(help="The same for each family.")] = None,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of sampling.")] = 42,
    mode: Annotated[
        Literal["both", "reasoner"],
        typer.Option(help="reasoner leaves the emulator out: half the time."),
    ] = "both",
    allow_code_execution: Annotated[
        bool,
        typer.Option(
            "--allow-code-execution",
            help="Run complete programs in a sandbox, to verify their emulation.",
        ),
    ] = False,
    json_path: JsonOption = None,
) -> None:
    """Generate on held-out rows: does the model write, call and emulate programs?"""
    chosen = read_recipe(recipe)  # before anything heavy is imported
    from validation.check import check as run
    from validation.check import print_check

    result = run(
        chosen,
        model_name=model,
        limit=rows,
        min_answer=min_answer,
        min_family=min_family,
        temperature=temperature,
        seed=seed,
        mode=mode,
        allow_code_execution=allow_code_execution,
    )
    print_check(result, console)
    _write_result(json_path, result)
    raise typer.Exit(0 if result["passed"] else 1)


@app.command()
def report(
    recipe: RecipeArgument,
    html: Annotated[Path | None, typer.Option(help="Else report.html in the run folder.")] = None,
) -> None:
    """Show a run on one page: pictures, figures, generations; and a model card in best/."""
    chosen = read_recipe(recipe)  # before anything heavy is imported
    from validation.report import report as run

    with console.status("Encoding every training row for the picture of lengths"):
        path = run(chosen, html)
    console.print(f"{path}: open it in a browser", markup=False)


@app.command()
def ask(
    model: Annotated[Path, typer.Argument(help="A recipe (its best/), or a model folder.")],
    instruction: Annotated[str, typer.Argument(help="What to do, in words.")],
    input: Annotated[str, typer.Option(help="What to do it to.")] = "",
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of sampling.")] = 42,
    json_path: JsonOption = None,
) -> None:
    """Ask a trained model one instruction; show program, call and output."""
    from tools.ask import ask as run
    from tools.ask import print_completion

    completion = run(model, instruction, input, temperature=temperature, seed=seed)
    print_completion(completion, console)
    _write_result(json_path, vars(completion))


@app.command()
def demo(json_path: JsonOption = None) -> None:
    """Run the main job on the CPU with the embedded tiny model: raw data to checked checkpoint."""
    from tools.demo import run_demo

    result = run_demo(console)
    _write_result(json_path, result)
    raise typer.Exit(0 if result["passed"] else 1)


def _write_result(path: Path | None, result: dict[str, Any]) -> None:
    if path is not None:
        write_json(path, result)


def main() -> None:
    """Run the command; a user's mistake is one message and exit 2."""
    os.environ.setdefault("AXOLOTL_DO_NOT_TRACK", "1")
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # Axolotl uses what TRL warns of
    try:
        app()
    except UserError as error:
        Console(stderr=True).print(f"cogex: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)
    except OSError as error:  # a full disk, a folder that may not be written
        Console(stderr=True).print(f"cogex: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
