"""The documents name only files, modules, links, options and launch lines that exist."""

import ast
import re
from pathlib import Path

import click
import pytest
import typer

from cogex import app
from tools.recipe_header import read_header

ROOT = Path(__file__).parents[3]
BASES = (ROOT, ROOT / "tests" / "unit")  # docs/fidelity.md names tests of the second
DOCUMENTS = [
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "recipes/README.md"),
    *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md")),
]
ROOMS = "recipes|prompt_strategies|tools|validation|tasks|models|docker|benchmarks|tests|docs"
PATH = re.compile(rf"(?<![\w./-])(?:{ROOMS})/[\w./*-]*[\w*/]")
MODULE = re.compile(r"(?<![\w./-])(?:prompt_strategies|tools|validation|benchmarks)(?:\.\w+)+")
YOURS = re.compile(r"recipes/mine\.yml|models/codebert-python|.*NAME.*")  # a reader makes them

COMMAND = typer.main.get_command(app)

each_document = pytest.mark.parametrize("document", DOCUMENTS)


def missing_names(text: str, folder: Path) -> list[str]:
    """Return what `text`, a document in `folder`, names although it does not exist."""
    links = re.findall(r"\]\(([^)#:]+)[^):]*\)", text)
    globs = re.sub(r"\{[\w,]+\}", "*", text)  # {a,b} stands for several names
    paths = [path for path in PATH.findall(globs) if not YOURS.fullmatch(path)]
    return [
        *(link for link in links if not (folder / link).exists()),
        *(path for path in paths if not any(any(base.glob(path.rstrip("/"))) for base in BASES)),
        *(name for name in MODULE.findall(text) if not (YOURS.fullmatch(name) or defined(name))),
        *(line for line in cogex_lines(text) if not accepted(line)),
    ]


def defined(name: str) -> bool:
    """Whether a dotted name is a module, or a class, function or constant of one."""
    path = ROOT / name.replace(".", "/")
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    if not (source := path.parent.with_suffix(".py")).is_file():
        return False
    statements = ast.parse(source.read_text(encoding="utf-8")).body
    assigned = [t for s in statements if isinstance(s, ast.Assign) for t in s.targets]
    names = {getattr(s, "name", None) for s in statements} | {
        getattr(t, "id", None) for t in assigned
    }
    return path.name in names


def cogex_lines(text: str) -> list[str]:
    """Return the `cogex …` lines of the code blocks, continued lines joined, comments cut off."""
    blocks = "\n".join(re.findall(r"```\w*\n(.*?)```", text.replace("\\\n", " "), re.DOTALL))
    return [line.split(" #")[0] for line in re.findall(r"^ *(cogex .*)$", blocks, re.MULTILINE)]


def accepted(line: str) -> bool:
    """Whether the command has the verbs and the options of a line."""
    command: click.Command = COMMAND
    words = line.split()[1:]
    while isinstance(command, click.Group):
        if not (chosen := command.commands.get(words.pop(0))):
            return False
        command = chosen
    options = {option for parameter in command.params for option in parameter.opts}
    return {word.split("=")[0] for word in words if word.startswith("--")} <= options


@each_document
def test_every_name_in_a_document_exists(document: str) -> None:
    path = ROOT / document
    assert missing_names(path.read_text(encoding="utf-8"), path.parent) == []


@pytest.mark.parametrize(
    "planted",
    [
        "`tools/no_such.py`",
        "[here](no-such.md)",
        "`tools.prepare.no_such`",
        "`tools.errors.NoSuchError`",
        "```\ncogex prepare cogex --no-such x\n```",
        "```\ncogex no-such\n```",
    ],
)
def test_a_name_that_does_not_exist_is_found(planted: str) -> None:
    assert len(missing_names(planted, ROOT)) == 1


def test_the_recipes_page_has_the_launch_line_of_every_recipe() -> None:
    page = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")
    headers = [read_header(path) for path in ROOT.glob("recipes/*.yml")]
    lines = re.findall(r"^accelerate launch .*$", page, re.MULTILINE)
    assert sorted(lines) == sorted(header.fields["Launch"] for header in headers)
