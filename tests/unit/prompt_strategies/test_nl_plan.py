"""The NL plan: steps in place of the program, whatever the program looks like."""

import io
import json
import time
import tokenize
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompt_strategies import nl_plan_layout
from prompt_strategies.layout import split_code
from prompt_strategies.nl_plan_layout import Plan, PlanCompletion, find_plan, parse_completion

SAMPLE = Path(__file__).parents[3] / "data" / "sample" / "data.json"
CODE = '''def to_plural(nouns):
    """Turn nouns into plurals."""
    # Step 1: Look up the plural of each noun
    pairs = {noun: find_plural(noun) for noun in nouns}
    # Step 2: Keep the plurals
    return {'pairs': pairs, 'answer': list(pairs.values())}

>>> to_plural(['wolf'])'''
OUTPUT = "{'pairs': {'wolf': 'wolves'}, 'answer': ['wolves']}"
PROMPT = "### Instruction\nPluralise.\n### Input\nwolf\n### Plan\n"
STEPS = "# Step 1: Look up the plural of each noun\n# Step 2: Keep the plurals"
COMPLETION = f"{STEPS}\n### Output\n{OUTPUT}"

# pieces that a parser of strings and comments could trip over, and those of the layout
PIECES = [
    *('"""', "'''", '"', "'", "\\", "\\\\", "#", "# Step 1: ", "# step 2)", "# remark", "f'{x}'"),
    *("\n", "\r\n", "    ", "\n>>> f(1)", "\n>>> ", "### Output\n", "\n### Plan\n", "</s>", "🙂"),
]
# SentencePiece writes a space as U+2581, so that character is the one it cannot give back
text = st.text(st.characters(codec="utf-8", exclude_characters="▁"), max_size=8)
hostile = st.lists(st.one_of(st.sampled_from(PIECES), text), max_size=12).map("".join)


def program(body: str) -> str:
    return f"def f(x):\n{body}\n    return g(x)\n\n>>> f(1)"


# --- which steps


@pytest.mark.parametrize(
    ("body", "steps"),
    [
        ("    # Step 1: Look\n    # Step 2: Say", ("Look", "Say")),
        ("    #Step 1:Look\n    ##  STEP 2 : Say  ", ("Look", "Say")),
        ("    # Step 1. Look\n    # Step 2) Say\n    # Step 3 - Go", ("Look", "Say", "Go")),
        ("    # Step 1.2: Look\n    # remark", ("Look",)),
        ("    # Step 1: Look\n    # Step 2:\n    # Step 3 is left out", ("Look",)),
        ("    # Step 1: Use C#\n    # Step 2: Say 'no'", ("Use C#", "Say 'no'")),
        ("    y = '# Step 9: a'  # Step 1: Look", ("Look",)),
        ('    y = "\\"# Step 9: a"\n    # Step 1: Look', ("Look",)),
        ("    '''\n    # Step 9: a\n    '''\n    # Step 1: Look", ("Look",)),
        ('    """\n    \\"""\n    # Step 9: a\n    """\n    # Step 1: Look', ("Look",)),
    ],
)
def test_steps_are_the_comments_that_say_step(body: str, steps: tuple[str, ...]) -> None:
    assert find_plan(program(body)) == Plan(steps, "steps")


@pytest.mark.parametrize(
    "body",
    [
        '    """A docstring that never ends\n    # Step 1: Look',
        "    the word's letters (\n    # Step 1: Look",
        "  if x\n      # Step 1: Look\n y = 'open",
    ],
)
def test_steps_are_found_in_a_program_that_is_not_python(body: str) -> None:
    with pytest.raises(SyntaxError):
        compile(split_code(program(body))[0], "", "exec")
    assert find_plan(program(body)) == Plan(("Look",), "steps")


def test_steps_of_two_functions_are_numbered_through() -> None:
    code = "def g(x):\n    # Step 1: a\n    # Step 3: b\n" + program("    # Step 1: c")
    assert nl_plan_layout.render_plan_section(code) == (
        "# Step 1: a\n# Step 2: b\n# Step 3: c\n### Output\n"
    )


@pytest.mark.parametrize(
    ("code", "plan", "source"),
    [
        (program('    """Doc."""\n    # a remark\n    # Step 1: Look'), ("Look",), "steps"),
        (
            program('    """Doc."""\n    # first\n    # ---\n    y = 1  # then'),
            ("first", "then"),
            "comments",
        ),
        (
            program('    """\n\n    Turn it round. \n    Args: x\n    """'),
            ("Turn it round.",),
            "docstring",
        ),
        (program('    """ """\n    y = """late"""'), ("late",), "docstring"),
        ("def find_city(x):\n    return x\n\n>>> find_city('# a')", ("find city",), "name"),
        ("x\n\n>>> result = _find_it(g(1))", ("find it",), "name"),
        (">>> f(1)\n>>> go_on(\n    2)", ("go on",), "name"),
        (">>> _(1)", ("solve the task",), "name"),
        (">>> 5", ("solve the task",), "name"),
    ],
)
def test_every_program_has_a_plan_and_says_where_it_came_from(
    code: str, plan: tuple[str, ...], source: str
) -> None:
    assert find_plan(code) == Plan(plan, source)


def comments_by_python(source: str) -> list[str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [token.string for token in tokens if token.type == tokenize.COMMENT]


def test_comments_are_those_that_python_finds() -> None:
    programs = [split_code(row["code_prompt"])[0] for row in json.loads(SAMPLE.read_text("utf-8"))]
    programs += [
        "x = r'\\'#a'  # b\ny = f\"{'#c'}\" # d\n#e",
        'z = \'\'\'#a\n\'#b\' \'\'\' + """#c\\"""""" #d',
        "s = 'a\\\n#b' # c\nt = '' \"\" '#' # d\nu = b'#' \\\n  # e",
    ]
    for source in programs:
        found = [
            f"#{match['comment']}"
            for match in nl_plan_layout._TOKEN.finditer(source)
            if match["comment"] is not None
        ]
        assert found == comments_by_python(source)


@given(hostile)
def test_any_code_has_a_plan_of_whole_lines(code: str) -> None:
    steps = find_plan(code).steps
    assert steps
    assert all(step == step.strip() != "" and "\n" not in step for step in steps)


@pytest.mark.parametrize("code", ["\\'" * 20_000, ">>> " + "a" * 20_000])
def test_a_hostile_program_takes_no_longer_than_its_length_says(code: str) -> None:
    start = time.process_time()
    find_plan(code)
    assert time.process_time() - start < 1.0  # 0.01 s; seconds if each mark scans to the end


# --- the text, and the way back


def test_text_of_a_row() -> None:
    prompt = nl_plan_layout.render_prompt("Pluralise.", "wolf")
    assert (prompt, nl_plan_layout.render_completion(CODE, "\n " + OUTPUT)) == (PROMPT, COMPLETION)
    assert nl_plan_layout.render_prompt("Say it.").endswith("\n### Input\n\n### Plan\n")


@given(code=hostile, output=hostile)
def test_parse_is_the_way_back_from_render(code: str, output: str) -> None:
    parts = parse_completion(nl_plan_layout.render_completion(code, output))
    section = nl_plan_layout.render_plan_section(code)
    assert parts == PlanCompletion(section.removesuffix("\n### Output\n"), output.strip())


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", PlanCompletion("", "")),
        ("# Step 1: Lo", PlanCompletion("# Step 1: Lo", "")),
        (f"{STEPS}\n### Output", PlanCompletion(STEPS, "")),
        (f"{STEPS}\n### Output\n{{'a", PlanCompletion(STEPS, "{'a")),
        (f"### Output\n{OUTPUT}", PlanCompletion("", OUTPUT)),
        (f"{STEPS}\n### Output is", PlanCompletion(f"{STEPS}\n### Output is", "")),
    ],
)
def test_parse_takes_what_is_there(text: str, parts: PlanCompletion) -> None:
    assert parse_completion(text) == parts
