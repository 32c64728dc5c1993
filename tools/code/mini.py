"""The mini suite: twenty small functions, for models that solve none of HumanEval's.

Each task is a program as a person would write it, its docstring with one example, and assertions
that plausible wrong answers fail (`tests/unit/test_codebench_mini.py` holds them, and mutates the
solutions). `tools.code.merge` keeps the tasks and their near-duplicates out of training.
"""

from functools import cache

from tools.code.tasks import Task

# signature and docstring; body; assertions
_TASKS = '''
def add(a, b):
    """Return the sum of two numbers.
    >>> add(2, 3)
    5
    """
    return a + b
#
assert add(7, 5) == 12
assert add(0, 4) == 4
assert add(-3, 10) == 7
assert add(2.5, 0.25) == 2.75
---
def subtract(a, b):
    """Return the first number minus the second.
    >>> subtract(9, 4)
    5
    """
    return a - b
#
assert subtract(12, 5) == 7
assert subtract(3, 8) == -5
assert subtract(0, -4) == 4
assert subtract(6, 0) == 6
---
def multiply(a, b):
    """Return the product of two numbers.
    >>> multiply(3, 4)
    12
    """
    return a * b
#
assert multiply(6, 7) == 42
assert multiply(5, 0) == 0
assert multiply(-2, 9) == -18
assert multiply(2, 3) == 6
---
def is_even(n):
    """Check whether an integer is even.
    >>> is_even(4)
    True
    """
    return n % 2 == 0
#
assert is_even(10) == True
assert is_even(7) == False
assert is_even(0) == True
assert is_even(-3) == False
assert is_even(-8) == True
assert is_even(6) == True
assert is_even(9) == False
---
def is_positive(x):
    """Check whether a number is greater than zero.
    >>> is_positive(3)
    True
    """
    return x > 0
#
assert is_positive(12) == True
assert is_positive(0) == False
assert is_positive(-5) == False
assert is_positive(0.5) == True
assert is_positive(1) == True
---
def absolute_value(x):
    """Return the distance of a number from zero.
    >>> absolute_value(-3)
    3
    """
    return -x if x < 0 else x
#
assert absolute_value(-8) == 8
assert absolute_value(5) == 5
assert absolute_value(0) == 0
assert absolute_value(-0.5) == 0.5
assert absolute_value(0.25) == 0.25
assert absolute_value(-1) == 1
---
def max_value(values):
    """Return the largest number of a list that is not empty.
    >>> max_value([3, 9, 2])
    9
    """
    largest = values[0]
    for value in values:
        if value > largest:
            largest = value
    return largest
#
assert max_value([4, 1, 7, 3]) == 7
assert max_value([-5, -2, -9]) == -2
assert max_value([6]) == 6
assert max_value([1, 2, 8]) == 8
assert max_value([9, 2, 8]) == 9
assert max_value([0, 0]) == 0
---
def min_value(values):
    """Return the smallest number of a list that is not empty.
    >>> min_value([3, 9, 2])
    2
    """
    smallest = values[0]
    for value in values:
        if value < smallest:
            smallest = value
    return smallest
#
assert min_value([4, 1, 7, 3]) == 1
assert min_value([-5, -2, -9]) == -9
assert min_value([6]) == 6
assert min_value([8, 5, 3]) == 3
assert min_value([2, 9, 8]) == 2
assert min_value([7, 3, 7]) == 3
assert min_value([5, 7]) == 5
---
def sum_list(numbers):
    """Return the sum of all numbers of a list, 0 for an empty one.
    >>> sum_list([1, 2, 3])
    6
    """
    total = 0
    for number in numbers:
        total += number
    return total
#
assert sum_list([4, 5, 6]) == 15
assert sum_list([]) == 0
assert sum_list([-3, 3, 10]) == 10
assert sum_list([7]) == 7
assert sum_list([2, 2, 2]) == 6
assert sum_list([12, 40, 1]) == 53
assert sum_list([13, 2, 30]) == 45
---
def average(numbers):
    """Return the mean of the numbers of a list, 0 for an empty one.
    >>> average([2, 4])
    3.0
    """
    if not numbers:
        return 0
    return sum(numbers) / len(numbers)
#
assert average([1, 2, 3, 6]) == 3
assert average([]) == 0
assert average([5]) == 5
assert average([1, 2]) == 1.5
assert average([-4, 4, 9]) == 3
---
def reverse_list(items):
    """Return the items of a list in reverse order.
    >>> reverse_list([1, 2, 3])
    [3, 2, 1]
    """
    return items[::-1]
#
assert reverse_list([3, 1, 2]) == [2, 1, 3]
assert reverse_list([]) == []
assert reverse_list(["a", "b"]) == ["b", "a"]
assert reverse_list([5, 5, 6, 4]) == [4, 6, 5, 5]
assert reverse_list([9]) == [9]
---
def filter_even(numbers):
    """Return the even numbers of a list, in their order.
    >>> filter_even([1, 2, 3, 4])
    [2, 4]
    """
    return [number for number in numbers if number % 2 == 0]
#
assert filter_even([5, 8, 6, 7]) == [8, 6]
assert filter_even([1, 3]) == []
assert filter_even([]) == []
assert filter_even([0, -2, -1]) == [0, -2]
assert filter_even([4, 2, 2]) == [4, 2, 2]
assert filter_even([3, 6, 9, 10]) == [6, 10]
---
def count_occurrences(items, item):
    """Count how many times an item stands in a list.
    >>> count_occurrences([1, 2, 1], 1)
    2
    """
    count = 0
    for other in items:
        if other == item:
            count += 1
    return count
#
assert count_occurrences([3, 3, 4, 3], 3) == 3
assert count_occurrences([3, 3, 4, 3], 4) == 1
assert count_occurrences([1, 2], 5) == 0
assert count_occurrences([], 1) == 0
assert count_occurrences(["a", "b", "a"], "a") == 2
assert count_occurrences([7, 7], 7) == 2
---
def remove_duplicates(items):
    """Return the items of a list without repetitions, in the order of their first appearance.
    >>> remove_duplicates([2, 1, 2])
    [2, 1]
    """
    unique = []
    for item in items:
        if item not in unique:
            unique.append(item)
    return unique
#
assert remove_duplicates([3, 1, 3, 2, 1]) == [3, 1, 2]
assert remove_duplicates([]) == []
assert remove_duplicates([5, 5, 5]) == [5]
assert remove_duplicates(["b", "a", "b"]) == ["b", "a"]
assert remove_duplicates([9, 8, 7]) == [9, 8, 7]
---
def reverse_string(text):
    """Return a text with its characters in reverse order.
    >>> reverse_string('abc')
    'cba'
    """
    return text[::-1]
#
assert reverse_string('python') == 'nohtyp'
assert reverse_string('') == ''
assert reverse_string('a b') == 'b a'
assert reverse_string('Noon!') == '!nooN'
---
def count_vowels(text):
    """Count the vowels a, e, i, o and u of a text, in upper or lower case.
    >>> count_vowels('hello')
    2
    """
    count = 0
    for letter in text.lower():
        if letter in 'aeiou':
            count += 1
    return count
#
assert count_vowels('banana') == 3
assert count_vowels('AEIOU') == 5
assert count_vowels('rhythm') == 0
assert count_vowels('') == 0
assert count_vowels('Queue up') == 5
assert count_vowels('aeiou xyz') == 5
---
def is_palindrome(text):
    """Check whether a text reads the same backwards.
    >>> is_palindrome('level')
    True
    """
    return text == text[::-1]
#
assert is_palindrome('noon') == True
assert is_palindrome('python') == False
assert is_palindrome('') == True
assert is_palindrome('a') == True
assert is_palindrome('ab') == False
assert is_palindrome('abca') == False
assert is_palindrome('abcdba') == False
---
def is_prime(n):
    """Check whether an integer is a prime number.
    >>> is_prime(7)
    True
    """
    if n < 2:
        return False
    for divisor in range(2, int(n ** 0.5) + 1):
        if n % divisor == 0:
            return False
    return True
#
assert [n for n in range(-3, 60) if is_prime(n)] == [
    2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59]
assert is_prime(97) == True
assert is_prime(91) == False
assert is_prime(121) == False
---
def factorial(n):
    """Return the product of the integers from 1 to n, and 1 for n = 0.
    >>> factorial(4)
    24
    """
    result = 1
    for factor in range(2, n + 1):
        result *= factor
    return result
#
assert factorial(5) == 120
assert factorial(0) == 1
assert factorial(1) == 1
assert factorial(2) == 2
assert factorial(3) == 6
assert factorial(20) == 2432902008176640000
---
def gcd(a, b):
    """Return the greatest common divisor of two positive integers.
    >>> gcd(12, 18)
    6
    """
    while b:
        a, b = b, a % b
    return a
#
assert gcd(48, 36) == 12
assert gcd(36, 48) == 12
assert gcd(7, 5) == 1
assert gcd(9, 3) == 3
assert gcd(100, 100) == 100
assert gcd(270, 192) == 6
assert gcd(17, 51) == 17
'''


@cache
def mini_tasks() -> tuple[Task, ...]:
    """Return the twenty tasks, the easiest first within a kind."""
    return tuple(map(_task, _TASKS.split("---\n")))


def _task(text: str) -> Task:
    program, tests = text.strip("\n").split("\n#\n")
    opening, middle, body = program.split('    """')[0], *program.split('"""')[1:]
    name = opening.removeprefix("def ").split("(")[0]
    return Task(
        id=f"mini_{name}",
        task_id=f"mini/{name}",
        entry_point=name,
        prompt=f'{opening}    """{middle}"""\n',
        solution=f"{body.removeprefix(chr(10))}\n",
        tests=f"{tests}\n",
        names=(name,),
    )
