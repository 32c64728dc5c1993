"""The `cogex` command: it connects each verb to a function and does nothing else.

Exit 0: done, or every check held; 1: a check did not hold; 2: the input cannot be used.
Heavy imports stay inside the verbs, so that `cogex --help` answers at once.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import IO, Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console
from typer.core import TyperArgument

from tools.errors import UserError
from tools.files import NotWritten, write_json
from tools.prepare.command import prepare
from tools.recipe import Recipe, find_recipe, read_recipe
from validation.preflight.cards import CARDS


class _Argument(TyperArgument):
    """An argument that keeps its help: click 8.5 resets what Typer 0.25 has set before."""

    def __init__(self, *, help: str | None = None, **others: Any) -> None:
        super().__init__(**others)
        self.help = help


typer.main.TyperArgument = _Argument  # type: ignore[misc]
app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.add_typer(prepare, name="prepare")
console = Console()


def _show_version(asked: bool) -> None:
    if asked:
        print(f"cogex {version('cogex-recipes')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Recipes that reproduce CoGEX, and the checks around them."""


@cache
def _standard_output() -> IO[str]:
    """Keep standard output for the result alone: all else goes to standard error from here on."""
    sys.stdout.flush()
    kept = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return kept


def _claim_standard_output(path: Path | None) -> Path | None:
    if path == Path("-"):
        _standard_output()
    return path


def recipe_file(path: str) -> Recipe:
    """Read the recipe that an argument names, before anything heavy is imported."""
    return read_recipe(find_recipe(Path(path)))


def recipe_or_folder(path: str) -> Path:
    """Find the recipe that an argument names; a model's folder stays what it is."""
    named = Path(path)
    is_model = any((named / name).is_file() for name in ("config.json", "adapter_config.json"))
    return named if is_model else find_recipe(named)


RecipeArgument = Annotated[
    Recipe,
    typer.Argument(
        parser=recipe_file,
        help="The recipe: recipes/cogex-tiny.yml, or its name alone.",
    ),
]
RunOption = Annotated[
    Path | None,
    typer.Option("--run", help="Another run of the recipe: its --output_dir at the launch."),
]
# of the verbs that write no file of their own
JsonOption = Annotated[
    Path | None,
    typer.Option(
        "--json",
        callback=_claim_standard_output,
        help="Also write the result here; - is standard output, and the rest goes to stderr.",
    ),
]
TemperatureOption = Annotated[float, typer.Option(min=0.0, help="0 is greedy.")]
SeedOption = Annotated[int, typer.Option(help="Seed of all that is drawn at random.")]
NewTokensOption = Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")]
ExecutionOption = Annotated[
    bool, typer.Option("--allow-code-execution", help="Run generated programs, in a sandbox.")
]
RecipeOption = Annotated[
    Path | None,
    typer.Option(parser=recipe_or_folder, help="The model: this recipe's best/."),
]
ModelOption = Annotated[Path | None, typer.Option(help="The model: an adapter or model folder.")]
EndpointOption = Annotated[
    str | None,
    typer.Option(
        help="The model: a server, as http://localhost:8000/v1. With --recipe or --model it gets "
        "the token ids of that tokenizer, else text. Its key, if any: OPENAI_API_KEY."
    ),
]
ServedOption = Annotated[
    str | None, typer.Option(help="The model's name on the server, if it has several.")
]
ConcurrencyOption = Annotated[int, typer.Option(min=1, help="Requests under way at once.")]
InputsOption = Annotated[
    Path | None, typer.Option(help="Answer each line of this file, a JSON object; with --out.")
]
AnswersOption = Annotated[
    Path | None, typer.Option("--out", help="Its lines with answers; a killed call goes on here.")
]
# where the recipe or folder is an argument
ServerOption = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        help="A server whose model writes, as http://localhost:8000/v1; its key, if any: "
        "OPENAI_API_KEY.",
    ),
]


def _check_asked(one: Any, inputs: Path | None, out: Path | None, name: str) -> None:
    """Refuse a call that names no input, or one on the command line and a file."""
    if (inputs is None) != (out is None) or bool(one) == bool(inputs):
        raise UserError(f"give {name}, or --inputs FILE with --out FILE")


def _of_run(recipe: Recipe, run: Path | None) -> Recipe:
    if run is None:
        return recipe
    from tools.training.run_record import of_run

    return of_run(recipe, run)


def _server(url: str | None, model: str | None, concurrency: int = 16) -> Any:
    """Return the server that the options name; None without one."""
    if model and not url:
        raise UserError("--served-model names a model of an --endpoint: give both")
    if url is None:
        return None
    from tools.backend import Server

    return Server(url, model, concurrency)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Of the recipe: recipes/NAME.yml.")],
    base: Annotated[str, typer.Option(help="The base: a local folder, or owner/model.")],
    data: Annotated[Path, typer.Option(help="The folder that `cogex prepare` has written.")],
    template: Annotated[
        Path | None, typer.Option("--from", help="The recipe to follow; else the closest.")
    ] = None,
) -> None:
    """Write a recipe for a base and data of your own."""
    from validation.new_recipe import new_recipe, print_new_recipe

    with console.status("Building the base without weights, and looking at every row"):
        written = new_recipe(name, base, data, template)
    print_new_recipe(written, console)


@app.command()
def preflight(
    recipe: RecipeArgument,
    gpu: Annotated[str | None, typer.Option(help=f"{', '.join(CARDS)}; else the header's.")] = None,
    gpu_memory: Annotated[
        float | None, typer.Option(min=0.1, help="GiB of each GPU, of any kind.")
    ] = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="How many; else the header's.")] = None,
    rows: Annotated[int, typer.Option(min=0, help="Show this many random rows.")] = 5,
    json_path: JsonOption = None,
) -> None:
    """Check recipe, data, tokens, model and plan before launch."""
    from validation.inspect_rows import inspect_rows, print_rows
    from validation.preflight.run import preflight as run
    from validation.preflight.run import print_preflight

    with console.status("Looking at every row; some two minutes for 52,000"):
        result = run(recipe, gpu=gpu, gpu_memory=gpu_memory, gpus=gpus)
    if rows and result["rows"]:
        print_rows(inspect_rows(recipe, rows, 42, "train"), console)
    print_preflight(result, console)
    _end(result, json_path)


@app.command()
def inspect(
    recipe: RecipeArgument,
    rows: Annotated[int, typer.Option("-n", min=1, help="How many random rows.")] = 5,
    split: Annotated[Literal["train", "val"], typer.Option(help="Of which split.")] = "train",
    seed: SeedOption = 42,
    html: Annotated[Path | None, typer.Option(help="Also write a page to look at.")] = None,
) -> None:
    """Show rows as the model sees them: tokens, what is trained, what is masked."""
    from validation.inspect_rows import inspect_rows, print_rows, write_html

    found = inspect_rows(recipe, rows, seed, split)
    print_rows(found, console)
    if html is not None:
        write_html(found, recipe, html)


@app.command()
def curves(
    recipe: RecipeArgument,
    run_folder: RunOption = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Keep watching while training runs.")
    ] = False,
) -> None:
    """Judge a run by what the trainer logged: losses, learning rate, gradients, batch."""
    recipe = _of_run(recipe, run_folder)
    from validation.curves import curves as module

    with _shown_if_not_written(module.print_curves):
        result = module.follow(recipe, console) if follow else module.curves(recipe)
    module.print_curves(result, console)
    _end(result)


@app.command()
def select(
    recipe: RecipeArgument,
    run_folder: RunOption = None,
    logged: Annotated[
        bool,
        typer.Option("--logged", help="Rank by the trainer's eval loss; load no model."),
    ] = False,
) -> None:
    """Pick the checkpoint with the lowest exact validation perplexity; write best/."""
    recipe = _of_run(recipe, run_folder)
    from validation.selection.select import print_selection
    from validation.selection.select import select as run

    with _shown_if_not_written(print_selection):
        result = run(recipe, logged=logged)
    print_selection(result, console)
    raise typer.Exit(0 if result.best else 1)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or check*.json files in them.")],
    json_path: JsonOption = None,
) -> None:
    """Compare runs with the first, row by row: perplexity, check, and what is chance."""
    from validation.compare import compare as run
    from validation.compare import print_compared

    result = run(runs)
    print_compared(result, console)
    _write_json(result, json_path)


@app.command()
def export(
    recipe: RecipeArgument,
    run_folder: RunOption = None,
    adapter_only: Annotated[
        bool, typer.Option("--adapter-only", help="The adapter for PEFT, not merged.")
    ] = False,
    push: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Also upload it to this repository.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="A new repository is public.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Upload without asking.")] = False,
) -> None:
    """Merge best/ into its base, for any server; or pack the adapter; or upload either."""
    recipe = _of_run(recipe, run_folder)
    from validation import export as module

    with console.status("Merging, and scoring what was merged"):
        result = module.export(recipe, adapter_only=adapter_only)
    module.print_exported(result, console)
    if not result.passed:
        raise typer.Exit(1)
    if push:
        seen = "everybody" if public else "you alone"
        console.print(f"To {push}, for {seen} if it is new:", markup=False)
        console.print("\n".join(module.files_of(result.folder)), markup=False)
        if not yes:
            typer.confirm("Upload these files?", abort=True)
        console.print(module.push(result.folder, push, private=not public), markup=False)


@app.command()
def check(
    recipe: RecipeArgument,
    run_folder: RunOption = None,
    model: Annotated[str, typer.Option(help="best, base or checkpoint-N.")] = "best",
    rows: Annotated[
        int | None, typer.Option(min=1, help="Only the first N rows; in files of its own.")
    ] = None,
    min_answer: Annotated[float | None, typer.Option(help="Least share of exact answers.")] = None,
    min_family: Annotated[float | None, typer.Option(help="The same for each family.")] = None,
    temperature: TemperatureOption = 0.0,
    seed: SeedOption = 42,
    mode: Annotated[
        Literal["both", "reasoner"],
        typer.Option(help="Of programs: reasoner leaves the emulator out; in files of its own."),
    ] = "both",
    max_new_tokens: NewTokensOption = 512,
    data: Annotated[
        Path | None, typer.Option(help="Other prepared rows, or the suite's file.")
    ] = None,
    suite: Annotated[
        Literal["cruxeval-o"] | None, typer.Option(help="A public benchmark of emulation.")
    ] = None,
    samples: Annotated[
        Path | None, typer.Option(help="Of the suite: generations made elsewhere.")
    ] = None,
    shots: Annotated[
        int, typer.Option(min=0, help="Training rows before each prompt, for the base.")
    ] = 0,
    endpoint: ServerOption = None,
    served_model: ServedOption = None,
    concurrency: ConcurrencyOption = 16,
    allow_code_execution: ExecutionOption = False,
) -> None:
    """Generate on held-out rows: does the model write what its recipe trains?"""
    recipe = _of_run(recipe, run_folder)
    if samples and not suite:
        raise UserError("--samples belongs to --suite cruxeval-o: give both")
    if suite:
        from validation.code.cruxeval_emulation import check_cruxeval, print_cruxeval

        if data is None:
            raise UserError("--suite cruxeval-o needs --data: the benchmark's cruxeval.jsonl")
        if rows or temperature or min_answer or min_family or endpoint or mode != "both":
            raise UserError(
                "--suite takes --data, --model, --shots, --samples, --max-new-tokens and "
                "--allow-code-execution: leave the other options out"
            )
        found = check_cruxeval(
            recipe,
            data,
            model_name=model,
            shots=shots,
            samples=samples,
            max_new_tokens=max_new_tokens,
            allow_code_execution=allow_code_execution,
        )
        print_cruxeval(found, console)
        return
    from validation.check.check import check as run
    from validation.check.check import print_check

    with _shown_if_not_written(print_check):
        result = run(
            recipe,
            model_name=model,
            limit=rows,
            min_answer=min_answer,
            min_family=min_family,
            temperature=temperature,
            seed=seed,
            mode=mode,
            max_new_tokens=max_new_tokens,
            data=data,
            shots=shots,
            allow_code_execution=allow_code_execution,
            server=_server(endpoint, served_model, concurrency),
        )
    print_check(result, console)
    _end(result)


@app.command()
def report(
    recipe: RecipeArgument,
    run_folder: RunOption = None,
    html: Annotated[Path | None, typer.Option(help="Else report.html in the run folder.")] = None,
) -> None:
    """Show a run on one page: pictures, figures, generations; and a model card in best/."""
    recipe = _of_run(recipe, run_folder)
    from validation.report.report import report as run

    with console.status("Encoding every training row for the picture of lengths"):
        path = run(recipe, html)
    console.print(f"{path}: open it in a browser", markup=False)


@app.command()
def ask(
    recipe: Annotated[
        Path,
        typer.Argument(parser=recipe_or_folder, help="A recipe (its best/), or a model folder."),
    ],
    instruction: Annotated[
        str | None, typer.Argument(help="What to do, in words; or --inputs.")
    ] = None,
    input: Annotated[str, typer.Option(help="The input to work on.")] = "",
    inputs: InputsOption = None,
    out: AnswersOption = None,
    temperature: TemperatureOption = 0.0,
    seed: SeedOption = 42,
    max_new_tokens: NewTokensOption = 512,
    endpoint: ServerOption = None,
    served_model: ServedOption = None,
    json_path: JsonOption = None,
) -> None:
    """Ask a trained model one instruction and show its answer, or those of a file."""
    _check_asked(instruction, inputs, out, "an instruction")
    from tools import ask as module

    asking = module.Asking(temperature, seed, max_new_tokens, _server(endpoint, served_model))
    if inputs and out:
        made = module.ask_file(recipe, inputs, out, asking)
        console.print(f"{out}: {made:,} answers more", markup=False)
        return
    answer = module.ask(recipe, instruction or "", input, asking)
    module.print_answer(answer, console)
    _write_json(answer, json_path)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="cogex, svamp, word_sorting, humaneval or mbpp.")],
) -> None:
    """Download a dataset's or task's original file: a pinned revision, checked by its SHA-256."""
    from tools.prepare.fetch import fetch as run

    console.print(f"{run(name)}: downloaded, as published", markup=False)


@app.command()
def search(
    task: Annotated[Path, typer.Argument(help="The task card, as tasks/coin.yml.")],
    recipe: RecipeOption = None,
    model: ModelOption = None,
    endpoint: EndpointOption = None,
    served_model: ServedOption = None,
    served_base: Annotated[
        str | None, typer.Option(help="The base's name on the server, for the baselines.")
    ] = None,
    served_plan: Annotated[
        str | None, typer.Option(help="The name of the model that was trained on NL plans.")
    ] = None,
    concurrency: ConcurrencyOption = 16,
    unseeded: Annotated[
        bool, typer.Option("--unseeded", help="Send no seed, for a server that fails on it.")
    ] = False,
    strategy: Annotated[
        Literal["race", "exhaustive"],
        typer.Option(help="exhaustive is the paper's: every candidate on every row."),
    ] = "race",
    top: Annotated[int, typer.Option("-k", min=1, help="Programs to keep, for the vote.")] = 3,
    alpha: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Sample again below this training accuracy.")
    ] = 0.1,
    seed: SeedOption = 42,
    max_calls: Annotated[
        int | None, typer.Option(min=1, help="Make no more calls of the model; go on with more.")
    ] = None,
    sweep: Annotated[
        bool,
        typer.Option("--sweep", help="Score every candidate on every row; what would fewer find?"),
    ] = False,
    leaves: Annotated[
        bool, typer.Option("--leaves", help="What do the undefined functions of programs do?")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Else search/TASK in the run folder.")] = None,
) -> None:
    """Fit a task without training: search for a program that solves it (CoTACS)."""
    from tools.search.run import Target, run_search
    from tools.search.scoring import Settings
    from tools.search.shown import print_search

    target = Target(
        recipe, model, endpoint, served_model, served_base, served_plan, concurrency, unseeded
    )
    settings = Settings(strategy=strategy, top=top, alpha=alpha, seed=seed)
    result = run_search(
        task, target, settings, out, sweep=sweep, leaves=leaves, max_calls=max_calls,
        tell=console.print,
    )  # fmt: skip
    print_search(result, console)
    from validation.report.search_pictures import write_pictures  # Matplotlib takes a second

    for path in write_pictures(result):
        console.print(f"{path}: the picture of it", markup=False)


@app.command()
def apply(
    programs: Annotated[Path, typer.Argument(help="The programs.json of a search.")],
    input: Annotated[
        list[str] | None, typer.Option(help="An input to answer; may be repeated.")
    ] = None,
    inputs: InputsOption = None,
    out: AnswersOption = None,
    recipe: RecipeOption = None,
    model: ModelOption = None,
    endpoint: EndpointOption = None,
    served_model: ServedOption = None,
    json_path: JsonOption = None,
) -> None:
    """Answer new inputs with the programs that a search found."""
    from tools.search import apply as module
    from tools.search.run import Target

    named = recipe or model or endpoint
    target = Target(recipe, model, endpoint, served_model) if named else None
    _check_asked(input, inputs, out, "--input")
    if inputs and out:
        made = module.apply_file(programs, inputs, out, target)
        console.print(f"{out}: {made:,} answers more", markup=False)
        return
    answers = module.apply(programs, input or [], target)
    module.print_answers(answers, console)
    _write_json(answers, json_path)


@app.command()
def doctor(json_path: JsonOption = None) -> None:
    """Show what is installed here beside what was tested; exit 1 if a run cannot work."""
    from validation.doctor import doctor as run
    from validation.doctor import print_doctor

    with console.status("Importing the engine"):
        result = run()
    print_doctor(result, console)
    _end(result, json_path)


@app.command()
def codebench(
    target: Annotated[
        Path | None,
        typer.Argument(
            parser=recipe_or_folder, help="A recipe, or a model folder; none with --samples."
        ),
    ] = None,
    suite: Annotated[
        Literal["mini", "humaneval", "mbpp"],
        typer.Option(help="mini: twenty small functions."),
    ] = "mini",
    model: Annotated[
        str, typer.Option(help="Of a recipe: best, base, checkpoint-N, or all for the trend.")
    ] = "best",
    follow: Annotated[
        bool, typer.Option("--follow", help="Each checkpoint as training writes it, to its end.")
    ] = False,
    samples: Annotated[
        Path | None,
        typer.Option(help="Made elsewhere: task_id and completion or solution; or a folder."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="The suite's original file; else the fetched one.")
    ] = None,
    number: Annotated[int, typer.Option("-n", min=1, help="Samples of each task.")] = 1,
    temperature: TemperatureOption = 0.0,
    max_new_tokens: NewTokensOption = 512,
    seed: SeedOption = 42,
    timeout: Annotated[float, typer.Option(help="Seconds of a program with its tests.")] = 3.0,
    out: Annotated[Path | None, typer.Option(help="Folder; else the recipe's run folder.")] = None,
    endpoint: ServerOption = None,
    served_model: ServedOption = None,
    concurrency: ConcurrencyOption = 16,
    allow_code_execution: ExecutionOption = False,
) -> None:
    """Run generated code against the tests of HumanEval, MBPP or twenty small functions.

    Exit 1 where no model meets the plan's aim for the twenty functions; the others have no aim.
    """
    from validation.code.codebench import codebench as run
    from validation.code.codebench import print_codebench
    from validation.code.samples import Sampling

    result = run(
        target,
        suite,
        model_name=model,
        samples=samples,
        data=data,
        sampling=Sampling(number, temperature, max_new_tokens, seed),
        seconds=timeout,
        out=out,
        allow_code_execution=allow_code_execution,
        server=_server(endpoint, served_model, concurrency),
        follow=follow,
        tell=console.print,
    )
    print_codebench(result, console)
    _end(result)


@app.command()
def codescore(
    recipe: Annotated[
        Recipe | None,
        typer.Argument(parser=recipe_file, help="Of ArXivDLInstruct; or --pairs."),
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option(help="Lines of candidate, reference and instruction.")
    ] = None,
    metrics: Annotated[
        str, typer.Option(help="codebertscore, codejudge, or both with a comma.")
    ] = "codebertscore",
    model: Annotated[str, typer.Option(help="base, best, checkpoint-N or all.")] = "all",
    adapter: Annotated[
        str | None, typer.Option(help="In its place: any adapter's folder, or owner/name.")
    ] = None,
    subset_size: Annotated[
        int | None,
        typer.Option(min=1, help="The first N rows; else 200 of a recipe's test rows, or all."),
    ] = None,
    summary: Annotated[
        bool, typer.Option("--summary", help="All that was scored, beside the study's table.")
    ] = False,
    augmented_prompt: Annotated[
        bool, typer.Option("--augmented-prompt", help="With the rest of the function's file.")
    ] = False,
    encoder: Annotated[
        str, typer.Option(help="Folder or hub name, for CodeBERTScore.")
    ] = "neulab/codebert-python",
    encoder_layer: Annotated[int, typer.Option(min=1, help="Its layer that is read.")] = 11,
    base_url: Annotated[
        str, typer.Option(help="The judge's server; its key is read from OPENAI_API_KEY.")
    ] = "https://api.openai.com/v1",
    judge_model: Annotated[str, typer.Option(help="For CodeJudge.")] = "gpt-4o",
    budget: Annotated[
        int, typer.Option(min=0, help="Most tokens, in and out, for the judge.")
    ] = 1_500_000,
    concurrency: ConcurrencyOption = 16,
) -> None:
    """Score generated code against the reference: CodeBERTScore and an LLM as judge."""
    if summary:
        from validation.code.codescore_summary import print_summary, summarise

        print_summary(summarise(), console)
        return
    if (recipe is None) == (pairs is None):
        raise UserError("codescore: name a recipe, or pairs made elsewhere with --pairs")
    from validation.code import codescore as module

    chosen_metrics = module.make_metrics(
        metrics,
        encoder=encoder,
        layer=encoder_layer,
        base_url=base_url,
        judge_model=judge_model,
        budget=budget,
        concurrency=concurrency,
        console=console,
    )
    if recipe is not None:
        result = module.codescore(
            recipe,
            chosen_metrics,
            model=model,
            subset_size=subset_size,
            augmented=augmented_prompt,
            adapter=adapter,
        )
    else:
        assert pairs is not None
        result = module.codescore_pairs(pairs, chosen_metrics, subset_size)
    module.print_codescore(result, console)


@app.command()
def demo(json_path: JsonOption = None) -> None:
    """Run the main job on the CPU with the embedded tiny model: raw data to checked checkpoint."""
    from tools.demo import run_demo

    result = run_demo(console)
    _end(result, json_path)


def _write_json(result: Any, path: Path | None) -> None:
    if path == Path("-"):
        print(json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False),
              file=_standard_output(), flush=True)  # fmt: skip
    elif path is not None:
        write_json(path, result)


@contextmanager
def _shown_if_not_written(show: Callable[[Any, Console], None]) -> Iterator[None]:
    """Show a result whose file cannot be written, before the error ends the command."""
    try:
        yield
    except NotWritten as error:
        if error.result is not None:
            show(error.result, console)
        raise


def _end(result: dict[str, Any], path: Path | None = None) -> NoReturn:
    """Write the result, and exit by its verdict."""
    _write_json(result, path)
    raise typer.Exit(0 if result["passed"] else 1)


def main() -> None:
    """Run the command; a user's mistake is one message and exit 2."""
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # Axolotl uses what TRL warns of
    try:
        app()
    except (UserError, OSError) as error:
        text = str(error)
        if isinstance(error, OSError) and error.strerror:
            text = f"{error.filename or 'a file'}: {error.strerror}; is it there, is it yours "
            text += "(`ls -ld`), and is there room on the disk (`df -h`)?"
        Console(stderr=True).print(f"cogex: {text}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
