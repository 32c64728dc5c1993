"""`cogex prepare DATASET`: wires each dataset to the function that prepares it, nothing else."""

from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from prompt_strategies.arxivdl import ArxivdlStrategy
from prompt_strategies.base import CompletionStrategy, own_strategies
from tools.prepare.schema import help_text

prepare = typer.Typer(
    help="Turn raw data into prepared rows: checked, and split so that no task is on both sides.",
    no_args_is_help=True,
)


def _add_rows_command(strategy: type[CompletionStrategy]) -> None:
    """Add `cogex prepare NAME`, which reads a published file as tools/prepare/NAME.py says."""

    @prepare.command(strategy.dataset, help=help_text(strategy, strategy.published))
    def command(
        source: Annotated[
            Path,
            typer.Option("--input", help="JSON, JSON lines, CSV, Parquet or Arrow; may be packed."),
        ],
        out: Annotated[Path, typer.Option(help="Folder for train.jsonl, val.jsonl and the rest.")],
        val_size: Annotated[int, typer.Option(min=1, help="Validation rows.")] = 2000,
        seed: Annotated[int, typer.Option(help="Seed of the split.")] = 42,
        strict: Annotated[
            bool, typer.Option(help="Reject flagged rows too: docs/data.md.")
        ] = False,
        max_rejected: Annotated[
            float, typer.Option(min=0, max=1, help="Largest share of rejected rows.")
        ] = 0.05,
        sequence_len: Annotated[int, typer.Option(min=1, help="Flag rows of more tokens.")] = 2048,
        tokenizer: Annotated[
            str | None, typer.Option(help="Count tokens with this; else they are estimated.")
        ] = None,
    ) -> None:
        from tools.prepare.pipeline import prepare_rows, print_summary, rejected_share

        manifest = prepare_rows(
            import_module(f"tools.prepare.{strategy.dataset}").FORMAT,
            source,
            out,
            val_size=val_size,
            seed=seed,
            strict=strict,
            sequence_len=sequence_len,
            tokenizer=tokenizer,
        )
        print_summary(manifest, out, max_rejected, Console())
        raise typer.Exit(0 if rejected_share(manifest) <= max_rejected else 1)


for _strategy in {each.dataset: each for each in own_strategies() if each.published}.values():
    _add_rows_command(_strategy)


@prepare.command("python-corpus")
def python_corpus(
    folder: Annotated[Path, typer.Argument(help="Where the Python files are, at any depth.")],
    out: Annotated[Path, typer.Option(help="Folder for train.jsonl, val.jsonl and the rest.")],
    val_share: Annotated[float, typer.Option(help="Share of files for validation.")] = 0.02,
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 42,
    max_chars: Annotated[int, typer.Option(min=1, help="Longest file that is used.")] = 100_000,
    lines: Annotated[
        int | None,
        typer.Option(min=2, help="Functions with a docstring of so many lines, not files."),
    ] = None,
    exclude: Annotated[
        list[Path] | None, typer.Option(help="Problems to keep out: HumanEval's or MBPP's file.")
    ] = None,
) -> None:
    """Documents for a base model: parseable Python files, each once, split by file."""
    from tools.code.corpus import prepare_python_corpus, print_summary

    summary = prepare_python_corpus(
        folder,
        out,
        val_share=val_share,
        seed=seed,
        max_chars=max_chars,
        lines=lines,
        exclude=exclude or [],
    )
    print_summary(summary, Console())


@prepare.command("code-base")
def code_base(
    corpus: Annotated[Path, typer.Option(help="Folder that `python-corpus` has written.")],
    out: Annotated[Path, typer.Option(help="Folder for one folder for each size.")],
) -> None:
    """Tokenizer and architecture of every code base, without weights."""
    from tools.code.bases import print_bases, write_bases

    print_bases(write_bases(corpus, out), out, Console())


ConsentOption = Annotated[
    bool,
    typer.Option(
        "--allow-code-execution",
        help="Run every solution against its tests in a sandbox; no row is kept without.",
    ),
]
TasksOut = Annotated[Path, typer.Option("--out", help="Folder for rows.jsonl and the rest.")]


def _add_tasks_command(
    name: Literal["humaneval", "mbpp", "synthetic"],
    description: str,
    most_lines: int | None,
    difficulty: str,
) -> None:
    """Add `cogex prepare NAME` for a file of code tasks."""

    @prepare.command(name, help=description)
    def command(
        out: TasksOut,
        source: Annotated[
            Path | None,
            typer.Option(
                "--input", help="The file of tasks; else the fetched one, or this project's own."
            ),
        ] = None,
        allow_code_execution: ConsentOption = False,
        max_lines: Annotated[
            int | None, typer.Option(min=1, help="Reject longer programs.")
        ] = most_lines,
        difficulty: Annotated[
            Literal["simple", "any"],
            typer.Option(help="simple: few decisions, not deep, one function."),
        ] = difficulty,  # type: ignore[assignment]
    ) -> None:
        from tools.prepare.code import prepare_tasks, print_summary

        summary = prepare_tasks(
            name,
            source,
            out,
            allow_code_execution=allow_code_execution,
            max_lines=max_lines,
            difficulty=difficulty,
        )
        print_summary(summary, Console())


_add_tasks_command(
    "humaneval", "HumanEval.jsonl.gz: its tasks as rows of prompt and solution.", None, "any"
)
_add_tasks_command(
    "mbpp", "mbpp.jsonl: its programs, split into prompt and solution.", 30, "simple"
)


_add_tasks_command(
    "synthetic", "Small tasks of this project, so that nothing need be downloaded.", None, "any"
)


@prepare.command()
def generated(
    out: TasksOut,
    endpoint: Annotated[str, typer.Option(help="The teacher's server; its key: OPENAI_API_KEY.")],
    model: Annotated[str | None, typer.Option(help="The teacher, if there are several.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Tasks to ask for.")] = 500,
    budget: Annotated[int, typer.Option(min=0, help="Most tokens, in and out.")] = 1_000_000,
    held_out: Annotated[
        list[Path] | None, typer.Option(help="Rows to keep away, with all that resemble them.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests under way at once.")] = 16,
    allow_code_execution: ConsentOption = False,
) -> None:
    """Tasks that a teacher writes, by category and level; kept where their own tests hold."""
    from tools.prepare.generated import prepare_generated, print_summary

    console = Console()
    manifest = prepare_generated(
        out,
        endpoint=endpoint,
        model=model,
        count=count,
        budget=budget,
        allow_code_execution=allow_code_execution,
        held_out=held_out or [],
        concurrency=concurrency,
        tell=console.print,
    )
    print_summary(manifest, console)


SplitOut = Annotated[
    Path, typer.Option("--out", help="Folder for train.jsonl, val.jsonl and the rest.")
]
HeldOut = Annotated[
    list[Path] | None,
    typer.Option(help="Rows (a folder or file) to keep away, with all that resemble them."),
]


@prepare.command()
def code(
    inputs: Annotated[
        list[str],
        typer.Option("--input", help="A folder of prepared tasks, FOLDER:N or FOLDER:all; repeat."),
    ],
    out: SplitOut,
    train_size: Annotated[int, typer.Option(min=1, help="Training rows.")] = 450,
    val_size: Annotated[int, typer.Option(min=0, help="Validation rows.")] = 50,
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 42,
    held_out: HeldOut = None,
    curriculum: Annotated[
        bool, typer.Option("--curriculum", help="Also a folder for each level, 1 to 3.")
    ] = False,
) -> None:
    """Merge and split code tasks; the mini suite and what is held out is never trained on."""
    from tools.code.merge import merge, print_summary

    summary = merge(
        inputs,
        out,
        train_size=train_size,
        val_size=val_size,
        seed=seed,
        held_out=held_out or [],
        curriculum=curriculum,
    )
    print_summary(summary, Console())


@prepare.command(name="verified")
def verified_rows(
    out: SplitOut,
    inputs: Annotated[
        list[Path] | None,
        typer.Option("--input", help="A folder of prepared tasks; more than once."),
    ] = None,
    allow_code_execution: ConsentOption = False,
    calls: Annotated[int, typer.Option(min=1, help="Most rows of one task.")] = 3,
    random_programs: Annotated[
        int, typer.Option(min=0, help="Short random programs that join the tasks.")
    ] = 0,
    val_size: Annotated[int, typer.Option(help="Validation rows.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of programs and split.")] = 42,
    held_out: HeldOut = None,
) -> None:
    """CoGEX rows whose outputs are true: code tasks, executed in the sandbox."""
    from tools.prepare.verified import prepare_verified, print_summary

    summary = prepare_verified(
        inputs or [],
        out,
        allow_code_execution=allow_code_execution,
        calls=calls,
        val_size=val_size,
        seed=seed,
        held_out=held_out or [],
        programs=random_programs,
    )
    print_summary(summary, Console())


@prepare.command()
def knowledge(
    out: SplitOut,
    rows_per_family: Annotated[int, typer.Option(help="Training rows of each family.")] = 60,
    val_per_family: Annotated[int, typer.Option(help="Validation rows of each family.")] = 4,
    unseen_per_family: Annotated[
        int, typer.Option(help="Rows of each family held out of training, in unseen.jsonl.")
    ] = 20,
    seed: Annotated[int, typer.Option(help="Seed of items, wordings and programs.")] = 42,
) -> None:
    """CoGEX rows that need facts, of many families; some families are held out whole."""
    from tools.prepare.knowledge import prepare_knowledge, print_summary

    manifest = prepare_knowledge(
        out,
        rows_per_family=rows_per_family,
        val_per_family=val_per_family,
        unseen_per_family=unseen_per_family,
        seed=seed,
    )
    print_summary(manifest, rows_per_family, Console())


@prepare.command(name="join")
def join_folders(
    inputs: Annotated[
        list[str],
        typer.Option("--input", help="FOLDER, or FOLDER:N for N training rows; more than once."),
    ],
    out: SplitOut,
    seed: Annotated[int, typer.Option(help="Seed of the rows drawn.")] = 42,
) -> None:
    """Join prepared folders of one kind of rows, each whole or with a quota; duplicates go."""
    from tools.prepare.join import join, print_summary

    print_summary(join(inputs, out, seed=seed), Console())


@prepare.command(
    help=help_text(
        ArxivdlStrategy,
        "ArXivDLInstruct: nested training subsets, split by repository, one test set for all.",
    )
)
def arxivdl(
    out: Annotated[Path, typer.Option(help="Folder for one folder for each size.")],
    source: Annotated[
        Path | None,
        typer.Option(
            "--input", help="Parquet, a folder of it or JSON lines; else streamed from the hub."
        ),
    ] = None,
    sizes: Annotated[
        str, typer.Option(help="Training rows of each subset: from 1 to 10000, with a comma.")
    ] = "200,500,1000,5000,10000",
    augmented: Annotated[
        bool, typer.Option("--augmented", help="The rest of the function's file is the input.")
    ] = False,
    max_length: Annotated[int, typer.Option(min=1, help="Longest function.")] = 1000,
    unit: Annotated[
        Literal["characters", "tokens"], typer.Option(help="What --max-length counts.")
    ] = "characters",
    tokenizer: Annotated[str | None, typer.Option(help="Counts tokens.")] = None,
    val_size: Annotated[int, typer.Option(min=1, help="Validation rows.")] = 200,
    test_size: Annotated[int, typer.Option(min=1, help="Most test rows.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of split and order.")] = 42,
) -> None:
    """See the help text above."""
    from tools.prepare.arxivdl import prepare_arxivdl, print_summary, read_sizes
    from tools.prepare.arxivdl_source import open_stream

    asked = read_sizes(sizes)
    manifest = prepare_arxivdl(
        open_stream(source),
        out,
        sizes=asked,
        augmented=augmented,
        max_length=max_length,
        unit=unit,
        tokenizer=tokenizer,
        val_size=val_size,
        test_size=test_size,
        seed=seed,
    )
    print_summary(manifest, asked, out, Console())
