"""Strings: checks, changes, counts, words."""

import re
from collections.abc import Iterator

from tools.code.templates.parts import WORDS, Template, template

_FULL = tuple(text for text in WORDS if text)


def templates() -> Iterator[Template]:
    """Yield the templates of this category."""
    for letter in "aeinst":
        yield from _by_letter(letter)
    for k in (2, 3, 5):
        yield from _by_number(k)
    for sign, name in (
        (",", "commas"),
        ("-", "dashes"),
        ("_", "underscores"),
        ("; ", "semicolons"),
    ):
        yield from _by_separator(sign, name)
    for letter, words in (("q", "the letter q"), ("up", "the text up")):
        yield template(
            f"has_{letter}(text)",
            f"Check whether a text contains {words}.",
            f"return {letter!r} in text",
            lambda s, a=letter: s.find(a) >= 0,
            *WORDS,
        )
    yield from _letters()
    yield from _whole()
    yield from _words()


def _by_letter(letter: str) -> Iterator[Template]:
    yield template(
        f"count_{letter}(text)",
        f"Count the letter {letter} in a text, in either case.",
        f"""
            count = 0
            for character in text:
                if character.lower() == {letter!r}:
                    count += 1
            return count
        """,
        lambda s: s.count(letter) + s.count(letter.upper()),
        *WORDS,
    )
    yield template(
        f"remove_{letter}(text)",
        f"Return a text without the letter {letter}.",
        f"return text.replace({letter!r}, '')",
        lambda s: "".join(x for x in s if x != letter),
        *WORDS,
    )
    yield template(
        f"starts_with_{letter}(text)",
        f"Check whether a text starts with the letter {letter}.",
        f"return text.startswith({letter!r})",
        lambda s: s[:1] == letter,
        letter + "bc",
        *WORDS,
    )
    yield template(
        f"ends_with_{letter}(text)",
        f"Check whether the last character of a text is {letter}.",
        f"return len(text) > 0 and text[-1] == {letter!r}",
        lambda s: s.endswith(letter),
        "xy" + letter,
        *WORDS,
    )
    yield template(
        f"position_of_{letter}(text)",
        f"Return the position of the first letter {letter} in a text, -1 if there is none.",
        f"return text.find({letter!r})",
        lambda s: s.index(letter) if letter in s else -1,
        *WORDS,
    )
    yield template(
        f"words_with_{letter}(text)",
        f"Return the words of a text that contain the letter {letter}.",
        f"return [word for word in text.split() if {letter!r} in word]",
        lambda s: list(filter(lambda w: letter in w, s.split())),
        *WORDS,
    )


def _by_number(k: int) -> Iterator[Template]:
    yield template(
        f"first_{k}_characters(text)",
        f"Return the first {k} characters of a text.",
        f"return text[:{k}]",
        lambda s: "".join(x for i, x in enumerate(s) if i < k),
        *WORDS,
    )
    yield template(
        f"without_last_{k}(text)",
        f"Return a text without its last {k} characters.",
        f"return text[:-{k}]",
        lambda s: s[: max(len(s) - k, 0)],
        *WORDS,
    )
    yield template(
        f"repeat_{k}_times(text)",
        f"Return a text {k} times in a row.",
        f"return text * {k}",
        lambda s: "".join([s for _ in range(k)]),
        *WORDS,
    )
    yield template(
        f"words_longer_than_{k}(text)",
        f"Return the words of a text with more than {k} characters.",
        f"return [word for word in text.split() if len(word) > {k}]",
        lambda s: [w for w in s.split() if w[k:]],
        *WORDS,
    )
    yield template(
        f"count_words_of_{k}(text)",
        f"Count the words of a text that have {k} characters.",
        f"return sum(len(word) == {k} for word in text.split())",
        lambda s: list(map(len, s.split())).count(k),
        *WORDS,
    )
    yield template(
        f"every_{k}_characters(text)",
        f"Cut a text into pieces of {k} characters; the last may be shorter.",
        f"return [text[i:i + {k}] for i in range(0, len(text), {k})]",
        lambda s: re.findall(f"(?s).{{1,{k}}}", s),
        *WORDS,
    )
    yield template(
        f"shift_letters_by_{k}(text)",
        f"Replace each lower-case letter by the one {k} places later in the "
        "alphabet, z being followed by a.",
        f"""
            result = ''
            for character in text:
                if 'a' <= character <= 'z':
                    character = chr((ord(character) - ord('a') + {k}) % 26 + ord('a'))
                result += character
            return result
        """,
        lambda s: s.translate({97 + i: 97 + (i + k) % 26 for i in range(26)}),
        *WORDS,
    )
    yield template(
        f"pad_to_{k + 4}(text)",
        f"Fill a text with spaces on its left to {k + 4} characters at least.",
        f"while len(text) < {k + 4}:\n    text = ' ' + text\nreturn text",
        lambda s: s.rjust(k + 4),
        *WORDS,
    )


def _by_separator(sign: str, name: str) -> Iterator[Template]:
    yield template(
        f"join_with_{name}(words)",
        f"Join words to one text with {name} between them.",
        f"return {sign!r}.join(words)",
        lambda ws: "".join(w + sign for w in ws)[: -len(sign) or None] if ws else "",
        ["one", "two", "three"],
        [],
        ["single"],
        ["a", "", "b"],
    )
    yield template(
        f"spaces_to_{name}(text)",
        f"Replace every space of a text by {name}.",
        f"return text.replace(' ', {sign!r})",
        lambda s: sign.join(s.split(" ")),
        *WORDS,
    )
    samples = tuple(sign.join(text.split()) for text in WORDS)
    yield template(
        f"count_parts_by_{name}(text)",
        f"Count the parts of a text that is divided by {name}.",
        f"return len(text.split({sign!r}))",
        lambda s: s.count(sign) + 1,
        *samples,
    )
    yield template(
        f"before_{name}(text)",
        f"Return what stands before the first of the {name} in a text.",
        f"return text.split({sign!r})[0]",
        lambda s: s.partition(sign)[0],
        *samples,
    )


def _letters() -> Iterator[Template]:
    for kind, test, holds in (
        ("digits", "isdigit", str.isdecimal),
        ("capitals", "isupper", lambda c: c != c.lower()),
        ("small_letters", "islower", lambda c: c != c.upper()),
        ("spaces", "isspace", lambda c: c in " \t\n"),
        ("letters", "isalpha", lambda c: c.lower() != c.upper()),
    ):
        words = kind.replace("_", " ")
        yield template(
            f"number_of_{kind}(text)",
            f"Count the {words} of a text.",
            f"return sum(character.{test}() for character in text)",
            lambda s, h=holds: len(list(filter(h, s))),
            *reversed(WORDS),
        )
        yield template(
            f"only_{kind}(text)",
            f"Return the {words} of a text, and nothing else.",
            f"""
                result = ''
                for character in text:
                    if character.{test}():
                        result += character
                return result
            """,
            lambda s, h=holds: "".join(filter(h, s)),
            *reversed(WORDS),
        )
        yield template(
            f"drop_{kind}(text)",
            f"Return a text without its {words}.",
            f"return ''.join(character for character in text if not character.{test}())",
            lambda s, h=holds: "".join(x for x in s if not h(x)),
            *reversed(WORDS),
        )
    yield template(
        "remove_vowels(text)",
        "Return a text without the vowels a, e, i, o, u in either case.",
        "return ''.join(c for c in text if c.lower() not in 'aeiou')",
        lambda s: re.sub("[aeiouAEIOU]", "", s),
        *WORDS,
    )
    yield template(
        "count_consonants(text)",
        "Count the letters of a text that are no vowels.",
        """
            count = 0
            for letter in text.lower():
                if letter.isalpha() and letter not in 'aeiou':
                    count += 1
            return count
        """,
        lambda s: len(re.findall("(?i)[b-df-hj-np-tv-z]", s)),
        *WORDS,
    )
    yield template(
        "most_common_letter(text)",
        "Return the character that stands most often in a text, of "
        "several the first in the alphabet.",
        """
            best = ''
            for character in sorted(set(text)):
                if text.count(character) > text.count(best) or best == '':
                    best = character
            return best
        """,
        lambda s: min(s, key=lambda c: (-s.count(c), c)),
        "banana",
        "aabb",
        "xyz",
        "hello",
    )
    yield template(
        "different_letters(text)",
        "Count the different characters of a text.",
        "return len(set(text))",
        lambda s: sum(s.index(c) == i for i, c in enumerate(s)),
        *WORDS,
    )
    yield template(
        "has_repeated_letter(text)",
        "Check whether a character stands more than once in a text.",
        "return len(set(text)) < len(text)",
        lambda s: any(s.count(c) > 1 for c in s),
        "abc",
        "abca",
        *WORDS,
    )
    yield template(
        "swap_case(text)",
        "Make small letters of a text capital and capital ones small.",
        """
            result = ''
            for character in text:
                if character.isupper():
                    result += character.lower()
                else:
                    result += character.upper()
            return result
        """,
        str.swapcase,
        *reversed(WORDS),
    )


def _whole() -> Iterator[Template]:
    yield template(
        "text_length(text)",
        "Return the number of characters of a text.",
        "return len(text)",
        lambda s: sum(1 for _ in s),
        *WORDS,
    )
    yield template(
        "shout(text)",
        "Return a text in capital letters with an exclamation mark.",
        "return text.upper() + '!'",
        lambda s: "".join(map(str.upper, [*s, "!"])),
        *WORDS,
    )
    yield template(
        "whisper(text)",
        "Return a text in small letters.",
        "return text.lower()",
        lambda s: "".join(map(str.lower, s)),
        *reversed(WORDS),
    )
    yield template(
        "trim(text)",
        "Return a text without spaces at its two ends.",
        "return text.strip()",
        lambda s: re.sub("^ +| +$", "", s),
        "  hi ",
        "",
        " a b",
        "no",
        "   ",
    )
    yield template(
        "in_brackets(text)",
        "Return a text in square brackets.",
        "return '[' + text + ']'",
        lambda s: f"[{s}]",
        *WORDS,
    )
    yield template(
        "greet(name)",
        "Return a greeting for a name, for an empty one a greeting for a friend.",
        "if name == '':\n    name = 'friend'\nreturn 'Hello, ' + name + '!'",
        lambda s: f"Hello, {s or 'friend'}!",
        "Ada",
        "",
        "Bob",
    )
    yield template(
        "first_and_last(text)",
        "Return the first and the last character of a text together.",
        "return text[0] + text[-1]",
        lambda s: s[0] + s[len(s) - 1],
        *_FULL,
    )
    yield template(
        "double_letters(text)",
        "Return a text with each character twice in a row.",
        "return ''.join(character * 2 for character in text)",
        lambda s: re.sub("(?s)(.)", r"\1\1", s),
        *WORDS,
    )
    yield template(
        "same_letters(first, second)",
        "Check whether two texts have the same characters in another order.",
        "return sorted(first) == sorted(second)",
        lambda a, b: len(a) == len(b) and all(a.count(c) == b.count(c) for c in a),
        ("listen", "silent"),
        ("aab", "abb"),
        ("", ""),
        ("abc", "ab"),
    )
    yield template(
        "common_prefix(first, second)",
        "Return how two texts begin alike.",
        """
            length = 0
            while length < min(len(first), len(second)) and first[length] == second[length]:
                length += 1
            return first[:length]
        """,
        lambda a, b: next(a[:n] for n in range(len(a), -1, -1) if b.startswith(a[:n])),
        ("flower", "flow"),
        ("dog", "cat"),
        ("", "x"),
        ("same", "same"),
    )
    yield template(
        "differing_positions(first, second)",
        "Count the positions at which two texts of the same length differ.",
        "return sum(a != b for a, b in zip(first, second))",
        lambda a, b: len([i for i in range(len(a)) if a[i] != b[i]]),
        ("karolin", "kathrin"),
        ("", ""),
        ("ab", "ba"),
    )
    yield template(
        "run_lengths(text)",
        "Write each run of equal characters as the character and its count.",
        """
            result = ''
            i = 0
            while i < len(text):
                count = 1
                while i + count < len(text) and text[i + count] == text[i]:
                    count += 1
                result += text[i] + str(count)
                i += count
            return result
        """,
        lambda s: re.sub(r"(?s)(.)\1*", lambda m: f"{m[1]}{len(m[0])}", s),
        "aaab",
        "",
        "abc",
        "zzzzzz",
        "aabbaa",
    )


def _words() -> Iterator[Template]:
    yield template(
        "count_words(text)",
        "Count the words of a text.",
        "return len(text.split())",
        lambda s: len(re.findall(r"\S+", s)),
        *WORDS,
    )
    yield template(
        "longest_word(text)",
        "Return the longest word of a text, of several the first.",
        """
            longest = ''
            for word in text.split():
                if len(word) > len(longest):
                    longest = word
            return longest
        """,
        lambda s: max(s.split(), key=len, default=""),
        *WORDS,
    )
    yield template(
        "shortest_word(text)",
        "Return the shortest word of a text that has words, of several the first.",
        "return min(text.split(), key=len)",
        lambda s: sorted(s.split(), key=len)[0],
        *_FULL,
    )
    yield template(
        "initials(text)",
        "Return the first letters of the words of a text, as capitals.",
        "return ''.join(word[0].upper() for word in text.split())",
        lambda s: "".join(re.findall(r"(?<!\S)\S", s)).upper(),
        *WORDS,
    )
    yield template(
        "capitalize_words(text)",
        "Return the words of a text with capital first letters.",
        """
            words = []
            for word in text.split():
                words.append(word[0].upper() + word[1:])
            return ' '.join(words)
        """,
        lambda s: re.sub(r"(^|\s)(\S)", lambda m: m[1] + m[2].upper(), " ".join(s.split())),
        *WORDS,
    )
    yield template(
        "reverse_words(text)",
        "Return the words of a text in reverse order.",
        "return ' '.join(text.split()[::-1])",
        lambda s: " ".join(reversed(s.split())),
        *WORDS,
    )
    yield template(
        "word_lengths(text)",
        "Return the lengths of the words of a text.",
        "return [len(word) for word in text.split()]",
        lambda s: list(map(len, s.split())),
        *WORDS,
    )
    yield template(
        "last_word(text)",
        "Return the last word of a text, an empty text if it has none.",
        "words = text.split()\nif not words:\n    return ''\nreturn words[-1]",
        lambda s: ["", *s.split()].pop(),
        *WORDS,
    )
    yield template(
        "sort_words(text)",
        "Return the words of a text in alphabetical order.",
        "return ' '.join(sorted(text.split()))",
        lambda s: " ".join(min(s.split()) if len(s.split()) == 1 else w for w in sorted(s.split())),
        *WORDS,
    )
    yield template(
        "camel_to_words(text)",
        "Put a space before each capital letter but the first character.",
        """
            result = ''
            for i, character in enumerate(text):
                if character.isupper() and i > 0:
                    result += ' '
                result += character
            return result
        """,
        lambda s: re.sub("(?<!^)(?=[A-Z])", " ", s),
        "camelCaseText",
        "",
        "Already",
        "aB",
    )
