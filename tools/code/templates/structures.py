"""Data structures: nested lists, stacks, queues, linked lists, dictionaries, sets."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from tools.code.templates.parts import CONDITIONS, INTEGERS, NOT_EMPTY, Template, template

_MATRICES = ([[1, 2], [3, 4]], [[5]], [[1, 2, 3], [4, 5, 6]], [[7, -1], [0, 2], [9, 9]])
_CHAINS = ((1, (2, (3, None))), None, (7, None), (4, (4, (9, (1, None)))))


def templates() -> Iterator[Template]:
    """Yield the templates of this category."""
    for k in (2, 3, 4):
        yield template(
            f"rotate_left_{k}(items)",
            f"Move the first {k} items of a list of at least {k} items to its end.",
            f"return items[{k}:] + items[:{k}]",
            lambda xs, k=k: [xs[(i + k) % len(xs)] for i in range(len(xs))],
            [1, 2, 3, 4, 5],
            [1, 2, 3, 4],
            list("abcdef"),
        )
        yield template(
            f"rows_of_{k}(items)",
            f"Cut a list into rows of {k} items; the last row may be shorter.",
            f"""
                rows = []
                for start in range(0, len(items), {k}):
                    rows.append(items[start:start + {k}])
                return rows
            """,
            lambda xs, k=k: [xs[i * k : i * k + k] for i in range(-(-len(xs) // k))],
            *INTEGERS,
        )
        yield template(
            f"windows_of_{k}(items)",
            f"Return every {k} items that stand side by side in a list, as lists.",
            f"return [items[i:i + {k}] for i in range(len(items) - {k} + 1)]",
            lambda xs, k=k: list(map(list, zip(*(xs[i:] for i in range(k)), strict=False))),
            *INTEGERS,
        )
    for condition in CONDITIONS[:6]:
        yield template(
            f"split_by_{condition.name}(numbers)",
            f"Return a dict of two lists: under 'yes' the numbers that are {condition.words}, "
            "under 'no' the others.",
            f"""
                groups = {{'yes': [], 'no': []}}
                for number in numbers:
                    if {condition.code.format(x="number")}:
                        groups['yes'].append(number)
                    else:
                        groups['no'].append(number)
                return groups
            """,
            lambda xs, c=condition: {
                "yes": list(filter(c.holds, xs)),
                "no": [x for x in xs if not c.holds(x)],
            },
            *INTEGERS,
        )
    yield from _nested()
    yield from _stacks_and_queues()
    yield from _chains()
    yield from _dictionaries()


def _nested() -> Iterator[Template]:
    yield template(
        "flatten(rows)",
        "Return the items of all rows of a list in one list.",
        """
            items = []
            for row in rows:
                items.extend(row)
            return items
        """,
        lambda rows: [x for row in rows for x in row],
        [[1, 2], [3]],
        [],
        [[], ["a"]],
        [[0], [1], [2]],
    )
    yield template(
        "transpose(matrix)",
        "Swap the rows and columns of a matrix that is not empty.",
        """
            result = []
            for column in range(len(matrix[0])):
                result.append([row[column] for row in matrix])
            return result
        """,
        lambda m: list(map(list, zip(*m, strict=True))),
        *_MATRICES,
    )
    yield template(
        "diagonal(matrix)",
        "Return the diagonal of a square matrix.",
        "return [matrix[i][i] for i in range(len(matrix))]",
        lambda m: [row[i] for i, row in enumerate(m)],
        [[1, 2], [3, 4]],
        [[5]],
        [],
        [[1, 0, 2], [3, 4, 5], [6, 7, 8]],
    )
    yield template(
        "identity_matrix(n)",
        "Return a square matrix of n rows with ones on its diagonal, else zeros.",
        "return [[1 if i == j else 0 for j in range(n)] for i in range(n)]",
        lambda n: [[0] * i + [1] + [0] * (n - i - 1) for i in range(n)],
        2,
        0,
        1,
        3,
    )
    yield template(
        "column(matrix, index)",
        "Return one column of a matrix as a list.",
        "result = []\nfor row in matrix:\n    result.append(row[index])\nreturn result",
        lambda m, i: list(list(zip(*m, strict=True))[i]),
        (_MATRICES[0], 1),
        (_MATRICES[2], 2),
        (_MATRICES[1], 0),
    )
    yield template(
        "add_matrices(first, second)",
        "Add two matrices of the same shape.",
        """
            result = []
            for i in range(len(first)):
                row = []
                for j in range(len(first[i])):
                    row.append(first[i][j] + second[i][j])
                result.append(row)
            return result
        """,
        lambda a, b: [list(map(sum, zip(x, y, strict=True))) for x, y in zip(a, b, strict=True)],
        ([[1, 2]], [[3, 4]]),
        ([[5], [1]], [[-5], [2]]),
        ([], []),
    )


def _stacks_and_queues() -> Iterator[Template]:
    yield template(
        "push(stack, item)",
        "Return a stack, a list with its top at the end, with an item put on it.",
        "return stack + [item]",
        lambda s, x: [*s, x],
        ([1, 2], 3),
        ([], "a"),
        ([0], 0),
    )
    yield template(
        "pop(stack)",
        "Take the top off a stack, a list with its top at the end; return item and rest.",
        "return (stack[-1], stack[:-1])",
        lambda s: (s[len(s) - 1], [x for i, x in enumerate(s) if i + 1 < len(s)]),
        [1, 2, 3],
        [9],
        ["a", "b"],
    )
    yield template(
        "peek(stack)",
        "Return the top of a stack, a list with its top at the end, None if it is empty.",
        "if stack:\n    return stack[-1]\nreturn None",
        lambda s: [None, *s].pop(),
        [1, 2, 3],
        [],
        [0],
        ["x", "y"],
    )
    yield template(
        "is_empty(stack)",
        "Check whether a stack, a list, has no items.",
        "return len(stack) == 0",
        lambda s: not s,
        [],
        [1],
        [None],
        [0, 0],
    )
    yield template(
        "enqueue(queue, item)",
        "Return a queue, a tuple with its front first, with an item at its end.",
        "return queue + (item,)",
        lambda q, x: (*q, x),
        ((1, 2), 3),
        ((), 1),
        (("a",), "b"),
    )
    yield template(
        "dequeue(queue)",
        "Return a queue, a list with its front first, without its front.",
        "return queue[1:]",
        lambda q: [x for i, x in enumerate(q) if i],
        [1, 2, 3],
        [5],
        ["a", "b"],
    )
    yield template(
        "run_stack(commands)",
        "Run commands on an empty stack, a number to put it on top, 'pop' to take "
        "the top off; return the stack, its top last.",
        """
            stack = []
            for command in commands:
                if command == 'pop':
                    stack.pop()
                else:
                    stack.append(command)
            return stack
        """,
        lambda cs: _replay(cs, -1),
        [1, 2, "pop", 3],
        [],
        [5, "pop"],
        [1, 2, 3, "pop", "pop", 4],
    )
    yield template(
        "run_queue(commands)",
        "Run commands on an empty queue, a number to put it at the end, 'next' to "
        "take the front away; return the queue.",
        """
            queue = []
            for command in commands:
                if command == 'next':
                    queue = queue[1:]
                else:
                    queue.append(command)
            return queue
        """,
        lambda cs: _replay(cs, 0),
        [1, 2, "next", 3],
        [],
        [5, "next"],
        [1, 2, 3, "next", "next", 4],
    )
    yield template(
        "evaluate_postfix(tokens)",
        "Return the value of an expression in postfix order, of integers, '+' and '*'.",
        """
            stack = []
            for token in tokens:
                if token == '+':
                    stack.append(stack.pop() + stack.pop())
                elif token == '*':
                    stack.append(stack.pop() * stack.pop())
                else:
                    stack.append(token)
            return stack[0]
        """,
        lambda ts: {2: 5, 7: 7, 3: 20, 1: 11}[ts[0]],
        [2, 3, "+"],
        [7],
        [3, 2, "+", 4, "*"],
        [1, 2, 5, "*", "+"],
    )


def _replay(commands: list[Any], end: int) -> list[Any]:
    held: list[Any] = []
    for command in commands:
        held = [*held, command] if isinstance(command, int) else held[:-1] if end else held[1:]
    return held


def _unchained(chain: Any) -> list[Any]:
    return [] if chain is None else [chain[0], *_unchained(chain[1])]


def _chained(items: list[Any]) -> Any:
    return (items[0], _chained(items[1:])) if items else None


def _chains() -> Iterator[Template]:
    what = "a linked list, (value, rest) with None at its end"
    walk = "while node is not None:\n    {}\n    node = node[1]\n"
    yield template(
        "chain_to_list(node)",
        f"Return the values of {what}, as a list.",
        "values = []\n" + walk.format("values.append(node[0])") + "return values",
        _unchained,
        *_CHAINS,
    )
    yield template(
        "chain_length(node)",
        f"Return the length of {what}.",
        "length = 0\n" + walk.format("length += 1") + "return length",
        lambda c: len(_unchained(c)),
        *_CHAINS,
    )
    yield template(
        "chain_total(node)",
        f"Return the sum of the values of {what}.",
        "if node is None:\n    return 0\nreturn node[0] + chain_total(node[1])",
        lambda c: sum(_unchained(c)),
        *_CHAINS,
    )
    yield template(
        "list_to_chain(values)",
        f"Make {what}, of a list.",
        "node = None\nfor value in reversed(values):\n    node = (value, node)\nreturn node",
        _chained,
        [1, 2, 3],
        [],
        ["a"],
    )
    yield template(
        "reverse_chain(node)",
        f"Reverse {what}.",
        "result = None\n" + walk.format("result = (node[0], result)") + "return result",
        lambda c: _chained(_unchained(c)[::-1]),
        *_CHAINS,
    )
    yield template(
        "chain_contains(node, value)",
        f"Check whether {what}, holds a value.",
        walk.format("if node[0] == value:\n        return True") + "return False",
        lambda c, v: v in _unchained(c),
        (_CHAINS[0], 3),
        (_CHAINS[0], 5),
        (None, 1),
        (_CHAINS[3], 9),
    )
    yield template(
        "chain_insert_sorted(node, value)",
        f"Insert a value into {what}, whose values rise.",
        """
            if node is None or value <= node[0]:
                return (value, node)
            return (node[0], chain_insert_sorted(node[1], value))
        """,
        lambda c, v: _chained(sorted([*_unchained(c), v])),
        (_CHAINS[0], 2),
        (None, 4),
        (_CHAINS[0], 9),
        (_CHAINS[2], 3),
    )
    yield template(
        "chain_delete(node, value)",
        f"Remove every node with a value from {what}.",
        """
            if node is None:
                return None
            if node[0] == value:
                return chain_delete(node[1], value)
            return (node[0], chain_delete(node[1], value))
        """,
        lambda c, v: _chained([x for x in _unchained(c) if x != v]),
        (_CHAINS[0], 2),
        (None, 1),
        (_CHAINS[3], 4),
        (_CHAINS[2], 7),
    )


def _dictionaries() -> Iterator[Template]:
    prices: tuple[dict[str, int], ...] = (
        {"pen": 2, "book": 9, "bag": 30},
        {},
        {"cup": 5},
        {"a": 1, "b": 1, "c": 7},
    )
    yield template(
        "item_counts(items)",
        "Return a dict of each item of a list and how often it stands there.",
        """
            counts = {}
            for item in items:
                counts[item] = counts.get(item, 0) + 1
            return counts
        """,
        lambda xs: dict(Counter(xs)),
        ["a", "b", "a"],
        [],
        [3, 3, 3],
        [1, 2],
    )
    yield template(
        "invert(mapping)",
        "Return a dict with the keys and values of another swapped.",
        "return {value: key for key, value in mapping.items()}",
        lambda d: dict(zip(d.values(), d.keys(), strict=True)),
        {"a": 1, "b": 2},
        {},
        {1: "x"},
    )
    yield template(
        "pairs_to_dict(keys, values)",
        "Make a dict of a list of keys and a list of their values.",
        """
            result = {}
            for i in range(len(keys)):
                result[keys[i]] = values[i]
            return result
        """,
        lambda k, v: dict(zip(k, v, strict=True)),
        (["a", "b"], [1, 2]),
        ([], []),
        ([3], ["c"]),
    )
    yield template(
        "look_up(data, keys)",
        "Follow keys one after another into nested dicts; None where one is missing.",
        """
            for key in keys:
                if key not in data:
                    return None
                data = data[key]
            return data
        """,
        lambda d, ks: (
            d if not ks else d[ks[0]][ks[1]] if ks[1:] and ks[1] in d.get(ks[0], {}) else None
        ),
        ({"a": {"b": 3}}, ["a", "b"]),
        ({}, ["x"]),
        ({"a": 1}, []),
        ({"a": {"b": 3}}, ["a", "c"]),
    )
    yield template(
        "dearest(prices)",
        "Return the name with the highest price of a dict, None if the dict is empty.",
        """
            best = None
            for name in prices:
                if best is None or prices[name] > prices[best]:
                    best = name
            return best
        """,
        lambda d: max(d, key=d.get) if d else None,
        *prices,
    )
    yield template(
        "total_price(prices, names)",
        "Add up the prices of some names of a dict; a name not in it costs 0.",
        "return sum(prices.get(name, 0) for name in names)",
        lambda d, ns: sum(d[n] for n in ns if n in d),
        (prices[0], ["pen", "bag"]),
        ({}, ["x"]),
        (prices[3], ["a", "c", "z"]),
    )
    yield template(
        "cheaper_than(prices, limit)",
        "Return the names of a dict whose price is below a limit, in alphabetical order.",
        "return sorted(name for name, price in prices.items() if price < limit)",
        lambda d, k: [n for n in sorted(d) if d[n] < k],
        (prices[0], 10),
        ({}, 5),
        (prices[3], 2),
        (prices[2], 5),
    )
    yield template(
        "merge_counts(first, second)",
        "Merge two dicts of counts, adding what both have.",
        """
            result = dict(first)
            for key in second:
                if key in result:
                    result[key] += second[key]
                else:
                    result[key] = second[key]
            return result
        """,
        lambda a, b: {k: a.get(k, 0) + b.get(k, 0) for k in [*a, *b]},
        ({"a": 1}, {"a": 2, "b": 5}),
        ({}, {"x": 1}),
        ({"y": 3}, {}),
    )
    yield template(
        "group_by_length(words)",
        "Return a dict of each length and the words of that length.",
        """
            groups = {}
            for word in words:
                groups.setdefault(len(word), []).append(word)
            return groups
        """,
        lambda ws: {len(w): [v for v in ws if len(v) == len(w)] for w in ws},
        ["a", "to", "of", "the"],
        [],
        ["same", "size"],
    )
    yield template(
        "in_either(first, second)",
        "Return the items of two lists without repetitions, in rising order.",
        "return sorted(set(first) | set(second))",
        lambda a, b: sorted({*a, *b}),
        ([3, 1], [1, 2]),
        ([], []),
        ([5], []),
    )
    yield template(
        "in_one_only(first, second)",
        "Return the items that are in one of two lists but not in both, in rising order.",
        "return sorted(set(first) ^ set(second))",
        lambda a, b: sorted({x for x in [*a, *b] if (x in a) != (x in b)}),
        ([3, 1], [1, 2]),
        ([], []),
        ([5, 4], [4]),
    )
    yield template(
        "three_smallest(numbers)",
        "Return the three smallest numbers of a list in rising order.",
        "return sorted(numbers)[:3]",
        lambda xs: sorted(xs, reverse=True)[::-1][:3],
        *NOT_EMPTY,
    )
