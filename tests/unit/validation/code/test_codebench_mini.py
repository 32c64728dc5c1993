"""The mini suite's tests pass its solutions and fail plausible wrong ones, by hand and by mutation.

All of this code is ours, so one sandbox runs all of it, with a timer for mutants that loop.
"""

import ast
from collections.abc import Iterator

from tests.needs_sandbox import needs_sandbox
from tests.own_programs import passing
from tools.code import near_duplicates
from tools.code.mini import mini_tasks

TASKS = {task.entry_point: task for task in mini_tasks()}
SECONDS = 0.3  # for each program: some mutants loop

WRONG: dict[str, list[str]] = {
    "add": ["return a - b", "return a", "return int(a) + int(b)", "return str(a) + str(b)"],
    "subtract": ["return b - a", "return abs(a - b)", "return a + b"],
    "multiply": ["return a + b", "return a ** b", "return abs(a * b)"],
    "is_even": ["return n % 2", "return n % 2 == 1", "return n > 0", "return n % 4 == 0"],
    "is_positive": ["return x >= 0", "return x", "return x > 1", "return x >= 1"],
    "absolute_value": ["return x", "return -x", "return int(abs(x))", "return x * x"],
    "max_value": [
        "return values[-1]",
        "return min(values)",
        "return values[0]",
        "largest = 0\nfor value in values:\n    if value > largest:\n        largest = value\n"
        "return largest",
        "for i in range(1, len(values)):\n    if values[i] < values[i - 1]:\n"
        "        return values[i - 1]\nreturn values[-1]",
    ],
    "min_value": [
        "return values[0]",
        "return max(values)",
        "return values[-1]",
        "smallest = 0\nfor value in values:\n    if value < smallest:\n        smallest = value\n"
        "return smallest",
    ],
    "sum_list": [
        "return len(numbers)",
        "return sum(set(numbers))",
        "return numbers[0] + numbers[-1]",
        "return sum(numbers[1:])",
        "for number in numbers:\n    return number\nreturn 0",
    ],
    "average": [
        "return sum(numbers) // len(numbers) if numbers else 0",
        "return sum(numbers) / len(numbers)",
        "return sum(numbers)",
        "return sorted(numbers)[len(numbers) // 2] if numbers else 0",
    ],
    "reverse_list": [
        "return items",
        "return items.reverse()",
        "return sorted(items, reverse=True)",
        "return ''.join(items)[::-1]",
        "return list(dict.fromkeys(items[::-1]))",
    ],
    "filter_even": [
        "return [n for n in numbers if n % 2]",
        "return [n for n in numbers if n % 2 == 0 and n > 0]",
        "return sorted(n for n in numbers if n % 2 == 0)",
        "return list({n: 0 for n in numbers if n % 2 == 0})",
        "return numbers[1::2]",
    ],
    "count_occurrences": [
        "return len(items)",
        "return int(item in items)",
        "return items.index(item)",
        "return str(items).count(str(item)) + 1",
        "return len(set(items))",
    ],
    "remove_duplicates": [
        "return list(set(items))",
        "return sorted(set(items))",
        "return items",
        "return [x for x in items if items.count(x) == 1]",
        "return [x for i, x in enumerate(items) if i == 0 or x != items[i - 1]]",
    ],
    "reverse_string": [
        "return text",
        "return list(text[::-1])",
        "return ' '.join(text.split()[::-1])",
        "return text[::-1].lower()",
    ],
    "count_vowels": [
        "return sum(c in 'aeiou' for c in text)",
        "return len(set(text.lower()) & set('aeiou'))",
        "return sum(c in 'aeio' for c in text.lower())",
        "return sum(c not in 'aeiou' for c in text.lower())",
        "return sum(c in 'aeiouy' for c in text.lower())",
    ],
    "is_palindrome": [
        "return text[0] == text[-1]",
        "return len(text) > 0 and text == text[::-1]",
        "return text[:2] == text[::-1][:2]",
        "return True",
        "return len(set(text)) < len(text)",
    ],
    "is_prime": [
        "return n % 2 == 1",
        "return all(n % d for d in range(2, n))",
        "return n > 1 and all(n % d for d in (2, 3, 5, 7) if d < n)",
        "return n > 1 and all(n % d for d in range(2, int(n ** 0.5)))",
        "return n > 2 and all(n % d for d in range(2, n))",
    ],
    "factorial": [
        "return n * (n - 1)",
        "return sum(range(1, n + 1))",
        "return n * factorial(n - 1) if n > 1 else n",
        "return 1.0 if n < 2 else n * factorial(n - 1) + 0.0 if n < 20 else 0",
    ],
    "gcd": [
        "return min(a, b)",
        "return a % b",
        "return max(d for d in range(1, min(a, b)) if a % d == b % d == 0)",
        "return next(d for d in range(2, a + 1) if a % d == b % d == 0)",
        "return a * b",
    ],
}
# mutants that mean the same
EQUIVALENT = {
    ("absolute_value", "<=", "x <= 0"),
    ("max_value", ">=", "value >= largest"),
    ("min_value", "<=", "value <= smallest"),
    ("max_value", "constant", "values[-1]"),  # any item will do to begin with
    ("min_value", "constant", "values[-1]"),
    ("is_prime", "*", "n * 0.5"),  # tries more divisors
    ("factorial", "constant", "range(1, n + 1)"),  # a factor of 1 more
}


def body(name: str, text: str) -> str:
    lines = "".join(f"    {line}\n" for line in text.splitlines())
    return TASKS[name].prompt + lines


SWAPS: dict[type[ast.AST], list[tuple[str, type[ast.AST]]]] = {
    ast.Add: [("-", ast.Sub)], ast.Sub: [("+", ast.Add)], ast.Mult: [("+", ast.Add)],
    ast.Div: [("//", ast.FloorDiv), ("*", ast.Mult)], ast.Mod: [("//", ast.FloorDiv)],
    ast.Pow: [("*", ast.Mult)],
    ast.Lt: [("<=", ast.LtE), (">", ast.Gt)], ast.Gt: [(">=", ast.GtE), ("<", ast.Lt)],
    ast.Eq: [("!=", ast.NotEq), (">", ast.Gt)], ast.In: [("not in", ast.NotIn)],
    ast.NotIn: [("in", ast.In)],
}  # fmt: skip


def mutants(name: str) -> Iterator[tuple[str, str, str]]:
    """Yield operator, changed source and the changed line: one change each."""
    task = TASKS[name]
    source = task.prompt + task.solution
    for index, node in enumerate(ast.walk(ast.parse(source))):
        match node:
            case ast.BinOp(op=op) | ast.AugAssign(op=op) | ast.Compare(ops=[op]):
                kinds = SWAPS.get(type(op), [])
            case ast.Constant(value=bool()):
                kinds = [("not", ast.Not)]
            case ast.Constant(value=int()):
                kinds = [("constant", ast.Add), ("constant", ast.Sub)]
            case ast.If() | ast.While() | ast.IfExp():
                kinds = [("negated", ast.Not)]
            case _:
                continue
        for operator, kind in kinds:
            tree = ast.parse(source)
            change(list(ast.walk(tree))[index], kind)
            changed = ast.unparse(tree)
            yield operator, changed, changed_line(ast.unparse(ast.parse(source)), changed)


def change(node: ast.AST, kind: type[ast.AST]) -> None:
    match node:
        case ast.BinOp() | ast.AugAssign():
            node.op = kind()  # type: ignore[assignment]
        case ast.Compare():
            node.ops = [kind()]  # type: ignore[list-item]
        case ast.Constant(value=bool(value)):
            node.value = not value
        case ast.Constant(value=int(value)):
            node.value = value + (1 if kind is ast.Add else -1)
        case ast.If() | ast.While() | ast.IfExp():
            node.test = ast.UnaryOp(ast.Not(), node.test)


def changed_line(before: str, after: str) -> str:
    return next(
        new for old, new in zip(before.splitlines(), after.splitlines(), strict=True) if old != new
    )


def is_equivalent(name: str, operator: str, line: str) -> bool:
    return any((name, operator) == (task, sign) and part in line for task, sign, part in EQUIVALENT)


def test_suite_is_twenty_tasks_of_one_form() -> None:
    assert len(TASKS) == 20
    for name, task in TASKS.items():
        assert (task.id, task.task_id, task.names) == (f"mini_{name}", f"mini/{name}", (name,))
        assert task.prompt.endswith('    """\n') and task.solution.endswith("\n")
        assert f"    >>> {name}(" in task.prompt
        assert task.tests.count("assert ") >= 4


@needs_sandbox
def test_every_solution_passes_and_so_does_its_docstrings_example() -> None:
    cases = [(task.prompt + task.solution, [task.tests]) for task in TASKS.values()]
    for task in TASKS.values():
        call, value = task.prompt.split(">>> ")[1].splitlines()[:2]
        cases.append((task.prompt + task.solution, [f"assert {call} == {value.strip()}"]))
    assert all(passing(cases, SECONDS))


@needs_sandbox
def test_plausible_wrong_answers_fail() -> None:
    assert WRONG.keys() == TASKS.keys()
    wrong = [(name, text) for name, texts in WRONG.items() for text in texts]
    cases = [(body(name, text), [TASKS[name].tests]) for name, text in wrong]
    survivors = [
        item for item, passes in zip(wrong, passing(cases, SECONDS), strict=True) if passes
    ]
    assert survivors == []
    assert all(ast.parse(program) for program, _ in cases)  # none fails for its syntax


@needs_sandbox
def test_every_mutant_fails() -> None:
    found = [(name, *mutant) for name in TASKS for mutant in mutants(name)]
    wanted = [item for item in found if not is_equivalent(item[0], item[1], item[3])]
    assert len(wanted) > 80
    verdicts = passing([(source, [TASKS[name].tests]) for name, _, source, _ in wanted], SECONDS)
    assert [item for item, passes in zip(wanted, verdicts, strict=True) if passes] == []


def test_no_two_tasks_are_near_duplicates_but_the_reversals() -> None:
    """A list and a text are reversed by the same expression; each stays with its own words."""
    groups = near_duplicates.group([task.row for task in TASKS.values()])
    names = list(TASKS)
    assert [[names[i] for i in group] for group in groups if len(group) > 1] == [
        ["reverse_list", "reverse_string"]
    ]
