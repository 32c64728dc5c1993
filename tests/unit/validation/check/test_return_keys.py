"""The keys that a function returns are found, and none is ruled out that a run may return."""

import ast
from textwrap import indent
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.backend import Generation
from validation.check.measures import judge
from validation.check.return_keys import returns_keys

OUTPUT = "{'n': 1, 'answer': 2}"  # the keys that are asked for
RIGHT = "return {'n': 1, 'answer': x}"


def keys_agree(body: str, before: str = "", call: str = "f(1)", output: str = OUTPUT) -> Any:
    """Whether the output has the keys that `f` returns, its body given."""
    program = f"{before}\ndef f(x, **more):\n{indent(body, '    ')}"
    text = f"{program}\n\n>>> {call}\n### Output\n{output}"
    return judge({"id": "1", "output": output}, Generation(text, 1, True)).holds["keys_agree"]


FOUND = [
    RIGHT,
    "out = {'n': 1, 'answer': x}\nreturn out",
    "out: dict = {'n': 1}\nout['answer'] = out['n']\nreturn out",
    "out = {}\nout['n'] = 1\nout['answer'] = 2\nout['n'] = 3\nreturn out",
    f"if x:\n    return {{'m': 1}}\n{RIGHT}",
    f"for y in x:\n    with y:\n        {RIGHT}",
    f"def g():\n    return {{'m': 1}}\n{RIGHT}",
]
RULED_OUT = [
    "return {'answer': x, 'n': 1}",  # another order
    "out = {'n': 1, 'answer': x}\nout['m'] = 1\nreturn out",
    "out = {'n': 1, 'answer': x}\nout = {'m': 1}\nreturn out",
    "out = {}\nif x:\n    return out\nout['n'] = 1\nout['answer'] = 1\nreturn {}",
    f"def g():\n    {RIGHT}\nreturn {{'m': g()}}",
    "return [{'n': 1, 'answer': x}]",
    "out = ''\nreturn out",
    "pass",
]
NOT_KNOWN = [
    "return x",
    "return helper(x)",
    "return {**more, 'm': x}",
    "return {x: 1, 'answer': 2}",
    "out = {}\nout[x] = 1\nreturn out",
    "out = {}\nfill(out)\nreturn out",
    "out = {}\nother = out\nother['n'] = 1\nreturn out",
    "out = {}\nif x:\n    out['n'] = 1\nreturn out",
    "out = {}\ntry:\n    return out\nfinally:\n    out['n'] = 1",
    "out = {'m': 1}\ndel out['m']\nreturn out",
    "out = {}\ndef g(key):\n    out[key] = 1\ng('n')\nreturn out",
    "out = {}\ndef g():\n    return out\ng()['n'] = 1\nreturn out",
    "global out\nout = {}\ng()\nreturn out",
    "out = {}\nwith x as out:\n    return out",
    "out = {}\ntry:\n    g()\nexcept Bad as out:\n    return out",
    "out = {}\nimport g as out\nreturn out",
    "yield {'m': 1}",
]


@pytest.mark.parametrize(
    ("bodies", "expected"), [(FOUND, True), (RULED_OUT, False), (NOT_KNOWN, None)]
)
def test_return_keys_are_found_ruled_out_or_not_known(bodies: list[str], expected: Any) -> None:
    assert [body for body in bodies if keys_agree(body) is not expected] == []


def test_what_is_called_is_what_is_read() -> None:
    body = "return {'m': 1}"
    assert keys_agree(body, f"def g(x):\n    {RIGHT}", "g(1)")
    assert keys_agree(body, "g = lambda x: {'n': 1, 'answer': x}", "g(1)")
    assert keys_agree(RIGHT, "@cached") is None  # a decorator may return anything
    for call in ("g(1)", "print(f(1))", "f(1)['n']", "Class().f(1)"):
        assert keys_agree(body, "g = f", call) is None
    for call in ("other(1)", "f", "f(1"):
        assert keys_agree(RIGHT, call=call) is False
    assert keys_agree(RIGHT, output="[1]") is False


# ------------------------------------------------------------------------------ run beside it

NAME = st.sampled_from(["one", "two"])
KEY = st.sampled_from(["'a'", "'b'"])
VALUE = st.sampled_from(["{}", "{'a': 1}", "{'b': 1, 'a': 2}", "{**two}", "two", "[one]", "None"])
SIMPLE = st.one_of(
    st.builds("{} = {}".format, NAME, VALUE),
    st.builds("{}[{}] = 1".format, NAME, KEY),
    st.builds("return {}".format, VALUE),
    st.sampled_from(["add(one)", "one.pop('a', 0)", "rows.append(two)", "rows[0]['b'] = 1",
                     "one, two = two, one", "def inner(): two['b'] = 4", "inner()", "break"]),
)  # fmt: skip
BLOCK = st.lists(SIMPLE, min_size=1, max_size=3).map(lambda lines: indent("\n".join(lines), "    "))
NESTED = st.one_of(
    st.builds("if p:\n{}\nelse:\n{}".format, BLOCK, BLOCK),
    st.builds("for p in (True, False):\n{}".format, BLOCK),
    st.builds("try:\n{}\nfinally:\n{}".format, BLOCK, BLOCK),
)
BODY = st.lists(SIMPLE | NESTED, min_size=1, max_size=6).map("\n".join)
AROUND = """
def add(thing): thing['b'] = 0
def f(p):
    rows, one = [{}], {}
    two = {}
"""


@settings(max_examples=300, deadline=None)
@given(body=BODY)
def test_no_keys_are_ruled_out_that_a_run_returns(body: str) -> None:
    """The programs are those of this file alone, so they may run here."""
    source = f"{AROUND}{indent(body, '    ')}\n    return one"
    names: dict[str, Any] = {}
    try:
        exec(source, names)
    except SyntaxError:  # a `break` outside of a loop
        return
    function = ast.parse(source).body[1]
    assert isinstance(function, ast.FunctionDef)
    for p in (True, False):
        try:
            value = names["f"](p)
        except Exception:
            continue
        assert not isinstance(value, dict) or returns_keys(function, (*value,)) is not False, source
