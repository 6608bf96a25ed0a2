from __future__ import annotations

from anabranch.core.nearest import hint, meant, nearest


def test_the_word_that_is_most_like_another_is_found() -> None:
    assert nearest("retires", ["name", "retries", "retry"]) == "retries"
    assert nearest("walrus", ["name", "retries"]) == ""
    assert nearest(7, {"7a": 1}) == "7a"  # whatever a reader of YAML has given


def test_a_sentence_ends_with_the_nearest_word_or_as_it_is() -> None:
    assert meant("pol", ["pool"]) == "; did you mean 'pool'?"
    assert meant("walrus", ["pool"]) == ""


def test_a_hint_names_the_nearest_word_or_all() -> None:
    assert hint("pol", iter(["pool", "queue"])) == "did you mean 'pool'?"
    assert hint("walrus", ["pool", "queue"]) == "there are: pool, queue"
    assert hint("walrus", []) == "there is none"
