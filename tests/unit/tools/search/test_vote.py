"""The majority's answer; ties by a seed."""

from typing import Any

from tools.search.metrics import Metric, load_metric
from tools.search.vote import Majority, derived_seed, vote

EXACT, NUMERIC = load_metric("exact"), load_metric("numeric")


def winner(answers: list[Any], metric: Metric = EXACT, seed: int = 0) -> Any:
    return vote(answers, metric, seed).answer


def test_the_majority_wins_as_it_was_first_written() -> None:
    assert winner(["no", "Yes", "yes."]) == "Yes"
    assert winner([3, 2, "3.0"], NUMERIC) == 3
    assert vote(["no", "Yes", "yes."], EXACT, 0).votes == (("Yes", 2), ("no", 1))


def test_who_has_no_answer_has_no_vote() -> None:
    assert winner([None, None, "a"]) == "a"
    for silent in ([None, [], ""], []):
        assert vote(silent, EXACT, 0) == Majority(None, (), False)


def test_ties_are_random_repeat_with_the_seed_and_are_told() -> None:
    picks = [winner(["a", "b", "c"], seed=seed) for seed in range(60)]
    assert picks == [winner(["a", "b", "c"], seed=seed) for seed in range(60)]
    assert {picks.count(answer) > 10 for answer in "abc"} == {True}
    assert {winner(["a", "a", "b", "b", "c"], seed=seed) for seed in range(40)} == {"a", "b"}
    ties = [["a", "b"], ["a", "a", "b", "b", "c"], [None, "a", "b"]]
    clear = [["a"], ["a", "A."], ["a", "a", "b"], [None, "a"], [None], []]
    assert [vote(answers, EXACT, 0).tie for answers in (*ties, *clear)] == [True] * 3 + [False] * 6


def test_seed_of_a_request_depends_on_every_part() -> None:
    seeds = [derived_seed("emulate", 1, "p", "q"), derived_seed("emulate", 2, "p", "q"),
             derived_seed("emulate", 1, "pq", ""), derived_seed("solve", 1, "p", "q")]  # fmt: skip
    assert len(set(seeds)) == 4
    assert seeds[0] == derived_seed("emulate", 1, "p", "q")
    assert all(0 <= seed < 2**31 for seed in seeds)
