"""The keys that a function returns are found, and none is ruled out that a run may return."""

import ast
from textwrap import indent
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.generate import Generation
from validation.check.measures import judge
from validation.check.return_keys import returned_dicts

OUTPUT = "{'n': 1, 'answer': 2}"  # the keys that are asked for


def keys_agree(body: str, before: str = "", call: str = "f(1)", output: str = OUTPUT) -> Any:
    """Whether the output has the keys that `f` returns, its body given."""
    program = f"{before}\ndef f(x, **more):\n{indent(body, '    ')}"
    text = f"{program}\n\n>>> {call}\n### Output\n{output}"
    return judge({"id": "1", "output": output}, Generation(text, 1, True)).holds["keys_agree"]


FOUND = [
    "return {'n': 1, 'answer': x}",
    "out = {'n': 1, 'answer': x}\nreturn out",
    "out: dict[str, int] = {'n': 1, 'answer': x}\nreturn out",
    "out: dict\nout = {'n': 1}\nout['answer'] = x\nreturn out",
    "return dict(n=1, answer=x)",
    "out = dict([('n', 1), ('answer', 2)])\nreturn out",
    "out = dict(n=1)\nout['answer'] = x\nout['answer'] += 1\nreturn out",
    "base = {'n': 1}\nreturn {**base, 'answer': x}",
    "base = {'n': 1}\nreturn base | {'answer': x}",
    "base = {'n': 1}\nout = base.copy()\nout['answer'] = base['n']\nreturn out",
    "out = {}\nout.update({'n': 1}, answer=x)\nreturn out",
    "out = {'n': 1}\nout |= {'answer': x}\nreturn out",
    "out, rest = {'n': 1, 'answer': x}, 3\nreturn out",
    "return (out := {'n': 1, 'answer': x})",
    "if (out := {'n': 1, 'answer': x}):\n    return out",
    "if x:\n    return {'m': 1}\nreturn {'n': 1, 'answer': x}",
    "if x:\n    out = {'n': 1}\nelse:\n    out = {'m': 1}\nout['answer'] = x\nreturn out",
    "return {'n': 1, 'answer': x} if x else {'answer': x}",
    "return x and {'n': 1, 'answer': x}",
    "out = {}\nfor y in x:\n    out['n'] = y\nout['answer'] = x\nreturn out",
    "try:\n    out = {'n': 1, 'answer': x}\n    return out\nexcept Bad:\n    return {'m': 1}",
    "match x:\n case 1:\n  return {'m': 1}\n case _:\n  return {'n': 1, 'answer': x}",
    "with thing as y:\n    out = {'n': y, 'answer': x}\nreturn out",
    "def g():\n    return {'m': 1}\nout = {'n': g(), 'answer': x}\nreturn out",
    "out = {'n': 1, 'answer': x}\nprint(out, len(out))\nlog(out['n'], f'{out}')\nreturn out",
    "out = {'n': 1, 'answer': x}\nfill(out)\nreturn out",  # open, and likely
]
RULED_OUT = [
    "return {'answer': x}",
    "return {'answer': x, 'n': 1}",  # another order
    "out = {'n': 1, 'm': 2, 'answer': x}\nreturn out",
    "out = {'n': 1, 'answer': x}\nout['m'] = 1\nreturn out",
    "out = {'n': 1, 'answer': x}\nout = {'m': 1}\nreturn out",
    "out = dict(answer=x)\nreturn out",
    "base = {'m': 1}\nreturn {**base, 'answer': x}",
    "if x:\n    out = {'n': 1}\n    return out\nreturn {'answer': x}",
    "def g():\n    return {'n': 1, 'answer': x}\nreturn {'m': g()}",
    "g = lambda: {'n': 1, 'answer': x}\nreturn {'m': g()}",
    "def out():\n    return {'n': 1, 'answer': x}\nreturn 5",
    "return [{'n': 1, 'answer': x}]",
    "return 'text'",
    "pass",
]
NOT_KNOWN = [
    "return x",
    "return more",
    "return helper(x)",
    "return TABLE[x]",
    "return {**more, 'm': x}",
    "return {key: x for key in more}",
    "return {x: 1, 'answer': 2}",
    "return dict(zip(names, x))",
    "return dict(**more)",
    "out = {}\nout[x] = 1\nreturn out",
    "out = {}\nfill(out)\nreturn out",
    "out = {}\nother = out\nother['n'] = 1\nreturn out",
    "base = {}\nout = base\nbase['n'] = 1\nreturn out",
    "out = {}\nrows = [out]\nrows[0]['n'] = 1\nreturn out",
    "out = {}\nout.setdefault('n', 1)\nreturn out",
    "out = {'n': 1, 'm': 2, 'answer': x}\ndel out['m']\nreturn out",
    "out = {'n': 1, 'm': 2, 'answer': x}\nout.pop('m')\nreturn out",
    "out = {}\ndef g(key):\n    out[key] = 1\ng('n')\nreturn out",
    "out = {}\n(lambda: out.update(n=1))()\nreturn out",
    "global out\nout = {}\ng()\nreturn out",
    "out = {}\nexec(x)\nreturn out",
    "out = {}\nfor y in x:\n if y:\n  out['answer'] = y\n else:\n  out['n'] = y\nreturn out",
    "out = {}\ntry:\n    return out\nfinally:\n    out['n'] = 1",
    "for y in x:\n    if y:\n        return out\n    out = {'n': 1, 'answer': y}",
    "yield {'m': 1}",
]


@pytest.mark.parametrize(
    ("bodies", "expected"), [(FOUND, True), (RULED_OUT, False), (NOT_KNOWN, None)]
)
def test_return_keys_are_found_ruled_out_or_not_known(bodies: list[str], expected: Any) -> None:
    assert [body for body in bodies if keys_agree(body) is not expected] == []


def test_what_is_called_is_what_is_read() -> None:
    body, right = "return {'m': 1}", "return {'n': 1, 'answer': 2}"
    assert keys_agree(body, f"def g(x):\n    {right}", "g(1)")
    assert keys_agree(body, "g = lambda x: {'n': 1, 'answer': x}", "g(1)")
    assert keys_agree(right, "@cached", "f(1)") is None  # a decorator may return anything
    assert keys_agree(right, "def print(x):\n    x['m'] = 1\n") is True
    for call in ("g(1)", "print(f(1))", "f(1)['n']", "Class().f(1)"):
        assert keys_agree(body, "g = f", call) is None
    for call in ("other(1)", "f", "f(1"):
        assert keys_agree(right, call=call) is False
    shadowed = "out = {'m': 1}\nprint(out)\nreturn out"
    assert keys_agree(shadowed) is False
    assert keys_agree(shadowed, "def print(x):\n    x['n'] = 1\n") is None
    assert keys_agree(right, output="[1]") is False


# ------------------------------------------------------------------------------ run beside it

KEYS = st.sampled_from(["'a'", "'b'", "'c'"])
DISPLAY = st.lists(KEYS, max_size=2).map(
    lambda keys: "{" + ", ".join(f"{k}: 1" for k in keys) + "}"
)
VALUE = st.one_of(
    DISPLAY,
    st.builds("{{**{}, {}: 2}}".format, st.sampled_from(["one", "two"]), KEYS),
    st.sampled_from(["one", "two", "one.copy()", "dict(two)", "one | two", "one if p else two",
                     "(two := {'c': 3})", "dict(a=1, b=2)", "one or two", "None"]),
)  # fmt: skip
NAME = st.sampled_from(["one", "two"])
SIMPLE = st.one_of(
    st.builds("{} = {}".format, NAME, VALUE),
    st.builds("{}[{}] = 1".format, NAME, KEYS),
    st.builds("{}.update({})".format, NAME, VALUE),
    st.builds("{} |= {}".format, NAME, VALUE),
    st.builds("{}.pop({}, None)".format, NAME, KEYS),
    st.builds("one, two = {}, {}".format, VALUE, VALUE),
    st.builds("return {}".format, VALUE),
    st.sampled_from(["add(one)", "inner()", "print(one)", "rows.append(two)", "rows[0]['c'] = 1",
                     "break", "continue", "raise Bad", "del two['a']",
                     "def inner(): two['c'] = 4"]),
)  # fmt: skip


def nested(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    block = st.lists(inner, min_size=1, max_size=3).map(
        lambda lines: indent("\n".join(lines), "    ")
    )
    return st.one_of(
        st.builds("if p:\n{}".format, block),
        st.builds("if q:\n{}\nelse:\n{}".format, block, block),
        st.builds("for p in (True, False):\n{}".format, block),
        st.builds("try:\n{}\nexcept Exception:\n{}".format, block, block),
        st.builds("try:\n{}\nfinally:\n{}".format, block, block),
        st.builds(
            "match p:\n    case True:\n{}".format, block.map(lambda text: indent(text, "    "))
        ),
    )


BODY = st.lists(st.recursive(SIMPLE, nested, max_leaves=6), min_size=1, max_size=6).map("\n".join)
AROUND = """
class Bad(Exception): ...
def print(*things): ...
def add(thing): thing['c'] = 0
def f(p, q):
    rows, one, two = [{}], {}, {}
"""


@settings(max_examples=1500, deadline=None)
@given(body=BODY)
def test_no_keys_are_ruled_out_that_a_run_returns(body: str) -> None:
    """The programs are those of this file alone, so they may run here."""
    source = f"{AROUND}{indent(body, '    ')}\n    return one"
    try:
        code = compile(source, "<test>", "exec")
    except SyntaxError:  # a `break` outside of a loop
        return
    program = ast.parse(source)
    [function] = [node for node in program.body if getattr(node, "name", "") == "f"]
    assert isinstance(function, ast.FunctionDef)
    found = returned_dicts(function, program)
    names: dict[str, Any] = {}
    exec(code, names)
    for p in (True, False):
        for q in (True, False):
            try:
                value = names["f"](p, q)
            except Exception:
                continue
            assert found.open or not isinstance(value, dict) or tuple(value) in found.keys, source
