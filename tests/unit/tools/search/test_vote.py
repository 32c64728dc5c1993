"""The majority's answer; ties by a seed."""

from tools.search.metrics import load_metric
from tools.search.vote import derived_seed, vote

EXACT, NUMERIC = load_metric("exact"), load_metric("numeric")


def test_the_majority_wins_as_it_was_first_written() -> None:
    assert vote(["no", "Yes", "yes."], EXACT, 0) == "Yes"
    assert vote([3, 2, "3.0"], NUMERIC, 0) == 3


def test_who_has_no_answer_has_no_vote() -> None:
    assert vote([None, None, "a"], EXACT, 0) == "a"
    assert vote([None, [], ""], EXACT, 0) is None
    assert vote([], EXACT, 0) is None


def test_ties_are_random_and_repeat_with_the_seed() -> None:
    picks = [vote(["a", "b", "c"], EXACT, seed) for seed in range(60)]
    assert picks == [vote(["a", "b", "c"], EXACT, seed) for seed in range(60)]
    assert {picks.count(answer) > 10 for answer in "abc"} == {True}
    assert {vote(["a", "a", "b", "b", "c"], EXACT, seed) for seed in range(40)} == {"a", "b"}


def test_seed_of_a_request_depends_on_every_part() -> None:
    seeds = [derived_seed("emulate", 1, "p", "q"), derived_seed("emulate", 2, "p", "q"),
             derived_seed("emulate", 1, "pq", ""), derived_seed("solve", 1, "p", "q")]  # fmt: skip
    assert len(set(seeds)) == 4
    assert seeds[0] == derived_seed("emulate", 1, "p", "q")
    assert all(0 <= seed < 2**31 for seed in seeds)
