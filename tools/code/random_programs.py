"""Makes random programs of a few statements on texts, lists and dicts, each with a call of it.

A model that emulates programs needs many of them. These come from templates with holes (`GRAMMAR`):

- `<kind>` takes a variable of that kind, or a template of it, filled in turn, or a literal;
- `<kind!>` takes a variable, and `<kind=>` a new one;
- `<kind*>` repeats the first variable of that kind in its template.

Some programs fail when they run: whoever runs them leaves those out.
"""

import random
import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

INSTRUCTION = "Emulate the program on the given input."
DEEPEST = 2  # templates within templates
EARLY_RETURNS = 0.1  # a return before a statement: its chance
STEMS = {  # names of variables, by kind
    "text": ("text", "s", "string", "line", "value", "result", "out", "new_text"),
    "nums": ("nums", "array", "numbers", "lst", "values", "counts", "arr"),
    "words": ("words", "items", "names", "parts", "tokens", "strings"),
    "table": ("table", "d", "mapping", "dic", "data"),
    "num": ("n", "num", "k", "size", "total", "index", "x"),
}
WORDS = (
    "apple river Stone cloud winter Paper green seven table mouse Garden north yellow bread "
    "mirror candle train Orange pocket island copper sugar window Rabbit silver"
).split()
SEPARATORS = (" ", ",", "-", "_", ".", "/", ":")

GRAMMAR: dict[str, tuple[str, ...]] = {
    "text": (
        "<text!>.upper()", "<text!>.lower()", "<text!>.swapcase()", "<text!>.title()",
        "<text!>.capitalize()", "<text!>.strip(<char>)", "<text!>.lstrip(<char>)",
        "<text!>.rstrip(<char>)", "<text!>.replace(<char>, <char>)", "<text!>[::-1]",
        "<text!>.replace(<char>, '')", "<text!>.replace(<char>, <char>, 1)", "<text!>[<small>:]",
        "<text!>[:<small>]", "<text!>[-<small>:]", "<text!>[:-<small>]", "<text!>[::<step>]",
        "<text!>[<small>] * <small>", "<text> + <text>", "<text!> + <char>", "<char> + <text!>",
        "<text!> * <step>", "<char>.join(<words>)", "<char>.join(<text!>)", "''.join(<words>)",
        "<text!>.center(<width>, <char>)", "<text!>.ljust(<width>, <char>)",
        "<text!>.rjust(<width>, <char>)", "<text!>.zfill(<width>)", "str(<num>)",
        "<text!>.split(<char>)[0]", "<text!>.split(<char>)[-1]", "<text!>.rsplit(<char>, 1)[0]",
        "<text!>.partition(<char>)[2]", "''.join(sorted(<text!>))", "<words!>[<small>]",
        "''.join(reversed(<text!>))", "''.join(<char_text> for char in <text!>)",
        "''.join(char for char in <text!> if <char_test>)", "max(<words!>, key=len)",
        "f'{<text!>}: {<num!>}'", "f'{<num!>}-{<text!>}'", "<text> if <flag> else <text>",
        "min(<words!>)", "<text!>.removeprefix(<char>)", "<text!>.removesuffix(<char>)",
        "<text!>.expandtabs(<step>)", "''.join(map(str, <nums!>))",
    ),
    "nums": (
        "sorted(<nums!>)", "sorted(<nums!>, reverse=True)", "<nums!>[::-1]", "<nums!>[<small>:]",
        "<nums!>[:<small>]", "<nums!>[-<small>:]", "<nums!>[::<step>]", "<nums> + <nums>",
        "<nums!> * <step>", "[<n_num> for n in <nums!>]", "[n for n in <nums!> if <n_test>]",
        "[<n_num> for n in <nums!> if <n_test>]", "[len(word) for word in <words!>]",
        "list(range(<small>))", "list(<table!>.values())", "[<num>, <num>]", "list(set(<nums!>))",
        "[<text!>.count(char) for char in <text!>]", "[ord(char) for char in <text!>]",
        "[i for i, char in enumerate(<text!>) if <char_test>]", "sorted(<table!>.values())",
        "[i * n for i, n in enumerate(<nums!>)]", "[a + b for a, b in zip(<nums!>, <nums!>)]",
    ),
    "words": (
        "<text!>.split()", "<text!>.split(<char>)", "<text!>.split(<char>, 1)", "list(<text!>)",
        "sorted(<words!>)", "<words!>[::-1]", "<words!>[<small>:]", "sorted(<words!>, key=len)",
        "[<word_text> for word in <words!>]", "[word for word in <words!> if <word_test>]",
        "<words!> + [<text>]", "[<text>, <text>]", "sorted(set(<text!>))", "list(<table!>)",
        "[char for char in <text!> if <char_test>]", "list(<table!>.keys())",
        "<text!>.rsplit(<char>, 1)", "[word for word in <words!> if word != <text!>]",
        "[<text!>[i:i + 2] for i in range(0, len(<text*>), 2)]",
    ),
    "table": (
        "{char: <text!>.count(char) for char in <text!>}", "dict(zip(<words!>, <nums!>))",
        "{word: len(word) for word in <words!>}", "{word: i for i, word in enumerate(<words!>)}",
        "{key: <n_num> for key, n in <table!>.items()}",
        "{key: n for key, n in <table!>.items() if <n_test>}",
        "dict(sorted(<table!>.items()))", "dict.fromkeys(<words!>, <num>)",
    ),
    "num": (
        "len(<text!>)", "len(<nums!>)", "len(<words!>)", "sum(<nums!>)", "max(<nums!>)",
        "min(<nums!>)", "<text!>.count(<char>)", "<text!>.find(<char>)", "<text!>.rfind(<char>)",
        "<nums!>.count(<num>)", "<num!> + <small>", "<num!> - <num>", "<num!> * <small>",
        "<num!> // <step>", "<num!> % <step>", "<nums!>[<small>]", "<nums!>[-1]",
        "<nums!>.index(<nums*>[<small>])", "len(<table!>)", "<table!>.get(<text>, <num>)",
        "sum(1 for char in <text!> if <char_test>)", "sum(n for n in <nums!> if <n_test>)",
        "sum(<table!>.values())", "abs(<num>)", "len(set(<text!>))", "<num> if <flag> else <num>",
        "max(<num>, <num>)", "<text!>.index(<char>)", "<words!>.index(<words*>[<small>])",
    ),
    "flag": (
        "<text!>.isalpha()", "<text!>.isdigit()", "<text!>.isupper()", "<text!>.islower()",
        "<text!>.startswith(<char>)", "<text!>.endswith(<char>)", "<char> in <text!>",
        "<num> > <num>", "<num> == <num>", "<num!> % 2 == 0", "<num> in <nums!>",
        "<text> in <words!>", "<text> in <table!>", "not <nums!>", "len(<text!>) > <small>",
        "len(<nums!>) < <small>", "<text!> == <text*>[::-1]", "<text!>.isalnum()",
        "<nums!> == sorted(<nums*>)", "all(<n_test> for n in <nums!>)", "<text!>.istitle()",
        "any(<char_test> for char in <text!>)", "<flag> and <flag>", "<flag> or <flag>",
    ),
    "char_test": (
        "char.isupper()", "char.islower()", "char.isalpha()", "char.isdigit()", "char != <char>",
        "char in 'aeiou'", "char not in 'aeiou'", "char == <char>", "char not in <text!>",
        "<text!>.count(char) > 1", "<text!>.count(char) == 1", "char > <char>", "char.isalnum()",
    ),
    "char_text": (
        "char.upper()", "char * <step>", "char + <char>", "chr(ord(char) + 1)", "char.swapcase()",
        "char if <char_test> else <char>",
    ),
    "n_test": (
        "n > <num>", "n < <num>", "n % 2 == 0", "n % <step> == 1", "n != <num>", "n in <nums!>",
        "n >= <small>",
    ),
    "n_num": (
        "n * <small>", "n + <num>", "n - <small>", "n % <step>", "n // <step>", "-n", "n * n",
        "abs(n)",
    ),
    "word_test": (
        "len(word) > <small>", "word.startswith(<char>)", "<char> in word", "word.islower()",
        "word[0] not in 'aeiou'", "word.isalpha()", "len(word) % 2 == 0",
    ),
    "word_text": (
        "word[::-1]", "word.upper()", "word[0]", "word + <char>", "word[:<small>]", "word[1:]",
        "word.replace(<char>, '')", "word.capitalize()", "word * <step>",
    ),
    "statement": (
        "<text=> = <text>", "<nums=> = <nums>", "<words=> = <words>", "<num=> = <num>",
        "<table=> = <table>", "<text!> = <text>", "<nums!> = <nums>", "<words!> = <words>",
        "<text!> += <text>", "<num!> += <num>", "<nums!>.append(<num>)", "<nums!>.pop()",
        "<nums!>.pop(0)", "<nums!>.insert(<small>, <num>)", "<nums!>.reverse()", "<nums!>.sort()",
        "<nums!>.extend(<nums>)", "<nums!>.remove(<nums*>[<small>])", "<nums!>[<small>] = <num>",
        "<words!>.append(<text>)", "<words!>.insert(<small>, <text>)", "<words!>.sort()",
        "<words!>.reverse()", "<words!>.pop()", "<table!>[<text>] = <num>", "del <nums!>[<small>]",
        "<table!>.update(<table>)", "<table!>.pop(<text>, None)", "<words!>.remove(<words*>[0])",
        "if <flag>:\n    <text!> = <text>\nelse:\n    <text!> = <text>",
        "if <flag>:\n    <nums!>.append(<num>)", "if <flag>:\n    <num!> += <small>",
        "<text=> = ''\nfor char in <text!>:\n    if <char_test>:\n        <text*> += <char_text>",
        "<text=> = ''\nfor char in <text!>:\n    if <char_test>:\n        <text*> += char\n"
        "    else:\n        <text*> += <char_text>",
        "<text=> = ''\nfor char in <text!>:\n    <text*> = char + <text*>",
        "<text=> = ''\nfor i, char in enumerate(<text!>):\n    if i % <step> == 0:\n"
        "        <text*> += <char_text>\n    else:\n        <text*> += char",
        "for char in <text!>:\n    if <char_test>:\n"
        "        <text*> = <text*>.replace(char, <char>)",
        "<nums=> = []\nfor n in <nums!>:\n    if <n_test>:\n        <nums*>.append(<n_num>)",
        "<nums=> = []\nfor n in <nums!>:\n    if <n_test>:\n        <nums*>.append(n)\n"
        "    else:\n        <nums*>.insert(0, n)",
        "<num=> = 0\nfor n in <nums!>:\n    if <n_test>:\n        <num*> += <n_num>",
        "<num=> = 0\nfor char in <text!>:\n    if <char_test>:\n        <num*> += 1",
        "<num=> = <num>\nfor n in <nums!>:\n    if n > <num*>:\n        <num*> = n",
        "<words=> = []\nfor word in <words!>:\n    if <word_test>:\n"
        "        <words*>.append(<word_text>)",
        "<table=> = {}\nfor char in <text!>:\n    <table*>[char] = <table*>.get(char, 0) + 1",
        "<table=> = {}\nfor word in <words!>:\n    <table*>[word] = <num>",
        "for i in range(<small>):\n    <nums!>.append(i * <small>)",
        "for i in range(<small>):\n    <text!> += <char>",
        "for i in range(len(<nums!>)):\n    <nums*>[i] += <num>",
        "while len(<nums!>) > <small>:\n    <nums*>.pop()",
        "while len(<text!>) < <width>:\n    <text*> += <char>",
        "while <num!> > <small>:\n    <num*> -= <step>",
        "for key in list(<table!>):\n    if <table*>[key] > <num>:\n        <table*>[key] -= 1",
    ),
    "return": (
        "return <text>", "return <text!>", "return <text!>", "return <text>", "return <text>",
        "return <nums>", "return <nums!>", "return <words>", "return <words!>", "return <num>",
        "return <num!>", "return <table!>", "return <flag>", "return (<num!>, <text!>)",
    ),
}  # fmt: skip


class _NoVariableError(Exception):
    """A template asks for a variable of a kind that is not there."""


def random_programs(count: int, seed: int) -> list[dict[str, str]]:
    """Return `count` tasks with the same fields as `cogex prepare mbpp`'s, and an instruction.

    Each defines a function of its own name, whose tests are the one call.
    """
    return [_task(number, random.Random(f"{seed} {number}")) for number in range(count)]


def _task(number: int, rng: random.Random) -> dict[str, str]:
    name = f"f{number:05}"
    while (written := _Writer(rng).write(name)) is None:
        pass
    program, arguments = written
    return {
        "id": f"random-{number:05}",
        "prompt": "",
        "solution": program,
        "entry_point": name,
        "tests": f"{name}({', '.join(arguments)})\n",
        "instruction": INSTRUCTION,
    }


class _Writer:
    """Writes one program; it knows the variables that exist so far, by kind."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.known: dict[str, list[str]] = {kind: [] for kind in STEMS}
        self.characters = "".join(SEPARATORS)  # and those of the arguments

    def write(self, name: str) -> tuple[str, list[str]] | None:
        """Return the program, and the arguments of its call as literals.

        None is for a program with a variable that it does not use, or which assigns a variable to
        itself, or returns nothing that its last statement is about.
        """
        kinds = self.rng.choices(list(STEMS), weights=(5, 3, 2, 1, 2), k=self.rng.randint(1, 3))
        parameters = []
        for kind in kinds:
            parameters.append(self._new(kind))
            self.known[kind].append(parameters[-1])
        arguments = [self._literal(kind) for kind in kinds]
        self.characters += "".join(filter(str.isalpha, "".join(arguments)))
        lines = []
        for _ in range(self.rng.choice((1, 1, 2, 2, 3, 4))):
            if self.rng.random() < EARLY_RETURNS:
                lines.append(f"if {self._fill('flag')}:\n    {self._fill('return')}")
            lines.append(self._fill("statement"))
        returned = self._fill("return")
        body = "\n".join([*lines, returned])
        names = {name for each in self.known.values() for name in each}
        uses = Counter(re.findall(r"\w+", ", ".join(parameters) + "\n" + body))
        linked = names & set(re.findall(r"\w+", lines[-1])) & set(re.findall(r"\w+", returned))
        idle = re.search(r"\b(\w+) = \1$", body, re.MULTILINE)
        if idle or not linked or any(uses[each] < 2 for each in names):
            return None
        indented = body.replace("\n", "\n    ")
        return f"def {name}({', '.join(parameters)}):\n    {indented}\n", arguments

    def _fill(self, kind: str, depth: int = 0) -> str:
        """Return one of the kind's templates with its holes filled, whose variables exist."""
        while True:
            with suppress(_NoVariableError):
                return self._filled(self.rng.choice(GRAMMAR[kind]), depth)

    def _filled(self, template: str, depth: int) -> str:
        first: dict[str, str] = {}
        new: dict[str, str] = {}

        def fill(hole: re.Match[str]) -> str:
            kind, mark = hole.groups()
            if mark == "*":
                return first[kind]
            if mark == "=":
                new[kind] = self._new(kind)
                return first.setdefault(kind, new[kind])
            if mark == "!":
                name = self._variable(kind)
                first.setdefault(kind, name)
                return name
            return self._value(kind, depth)

        filled = re.sub(r"<(\w+)([!=*]?)>", fill, template)
        for kind, name in new.items():  # what stands in the template cannot use it
            self.known[kind].append(name)
        return filled

    def _value(self, kind: str, depth: int) -> str:
        if self.known.get(kind) and self.rng.random() < 0.5:
            return self._variable(kind)
        if kind not in GRAMMAR or (depth >= DEEPEST and kind in STEMS):
            return self._literal(kind)
        try:
            return self._filled(self.rng.choice(GRAMMAR[kind]), depth + 1)
        except _NoVariableError:
            return self._literal(kind) if kind in STEMS else self._fill(kind, depth + 1)

    def _variable(self, kind: str) -> str:
        if not self.known[kind]:
            raise _NoVariableError
        return self.rng.choice(self.known[kind][-2:])

    def _new(self, kind: str) -> str:
        taken = {name for names in self.known.values() for name in names}
        free = [stem for stem in STEMS[kind] if stem not in taken]
        return self.rng.choice(free) if free else f"{STEMS[kind][0]}{len(taken)}"

    def _literal(self, kind: str) -> str:
        """Return a random literal of a kind: also those that no variable has."""
        rng = self.rng
        values: dict[str, Callable[[], Any]] = {
            "text": self._text,
            "nums": lambda: [rng.randint(-9, 30) for _ in range(rng.randint(0, 6))],
            "words": lambda: [self._text() for _ in range(rng.randint(1, 4))],
            "table": lambda: {rng.choice(WORDS): rng.randint(0, 9) for _ in range(3)},
            "num": lambda: rng.randint(-3, 20),
            "char": lambda: rng.choice(self.characters),
            "small": lambda: rng.randint(1, 4),
            "step": lambda: rng.randint(2, 3),
            "width": lambda: rng.randint(5, 15),
        }
        return repr(values[kind]())

    def _text(self) -> str:
        rng = self.rng
        match rng.randrange(4):
            case 0:
                return rng.choice(WORDS)
            case 1:
                return rng.choice(SEPARATORS).join(rng.choices(WORDS, k=rng.randint(2, 3)))
            case 2:
                return "".join(rng.choices("abcdefgxyzABXY0123", k=rng.randint(2, 9)))
            case _:
                return "".join(rng.choices("abcdeABC 123,.-", k=rng.randint(1, 10)))
