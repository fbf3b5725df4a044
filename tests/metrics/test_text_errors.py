"""What is wrong with a generated text: exact values on texts that can be counted by hand."""

import pytest

from hf_monitor.metrics.text_errors import (
    ERROR_KINDS,
    copied,
    has_loop,
    repetition,
    shared_texts,
    text_errors,
    without_blanks,
    words,
)


def test_words_are_lower_case_and_composed():
    assert words("#Person1#: Hello, it's 3.") == ["person1", "hello", "it", "s", "3"]
    assert words("회의는 세 시") == ["회의는", "세", "시"]
    assert words("\u1112\u1161\u11ab") == ["한"]  # the same syllable, decomposed
    assert words("会議は3時、10人") == ["会", "議", "は", "3", "時", "10", "人"]  # no blanks between words


def test_repetition_is_the_share_of_ngrams_that_were_there_before():
    assert repetition("a b c d a b c d") == 0.2  # of 5: abcd bcda cdab dabc abcd
    assert repetition("a a a", n=1) == 2 / 3
    assert repetition("a b c d e") == 0
    assert repetition("a b c") is None


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        ("감사합니다감사합니다감사합니다감사합니다", True),
        ("yes no yes no yes no yes no ", True),
        ("감사합니다감사합니다감사합니다", False),  # three times
        ("ㅋㅋㅋㅋㅋㅋㅋㅋㅋㅋㅋㅋ", False),  # laughter
        ("ㅋㅎㅋㅎㅋㅎㅋㅎ", False),
        ("He said hahahahaha", False),
        ("하하 하하 하하 하하", False),
        ("The debt is 10,000,000,000,000 won", False),
        ("blahblahblahblah", True),
        ("네에네에네에네에", True),
        ("これはこれはこれはこれは", True),
        ("----------------", False),
        ("a b c d e f", False),
        ("", False),
    ],
)
def test_a_loop_is_a_piece_four_times_in_a_row(text, loop):
    assert has_loop(text) is loop


def test_copied_has_coverage_and_density_of_the_paper():
    # Fragments: "the cat" (2) and "on a mat" (3); "lay" is new: 5 of 6 words, (4 + 9) / 6.
    assert copied("The cat lay on a mat", "Today the cat slept on a mat.") == (5 / 6, 13 / 6, 6)
    # The longest fragment at a place counts, not the first: "a b c" and not "a b".
    assert copied("a b c", "a b x a b c") == (1.0, 3.0, 3)
    assert copied("a b c", "c b a") == (1.0, 1.0, 3)
    assert copied("", "a") == (0.0, 0.0, 0)
    assert copied("x y", "a b") == (0.0, 0.0, 2)


def test_copying_from_a_long_text_of_one_word_is_quick():
    assert copied("a " * 10_000, "a " * 10_000) == (1.0, 512.0, 512)


def test_each_kind_is_found_and_none_in_a_good_text():
    dialogue = "A: shall we meet at the station at ten tomorrow B: yes"
    good = {"input": dialogue, "references": ["They will meet at ten."], "ended": True}
    assert text_errors("They meet at ten.", **good) == []
    assert text_errors(" \n", **good) == ["empty"]
    assert text_errors("a b c d a b c d", input="x") == ["repetition"]
    assert text_errors("네에네에네에네에") == ["repetition"]
    assert text_errors("fine", shared=True, ended=False) == ["same text", "at the limit"]
    assert text_errors("shall we meet at the station at ten", input=dialogue) == ["copied"]
    assert text_errors("shall we meet at", input=dialogue) == []  # four words are no copy yet
    assert text_errors("x" * 4, references=["y" * 9]) == ["too short"]
    assert text_errors("v w x y z", references=["y" * 10]) == []  # blanks do not count, half is enough
    assert text_errors("x" * 21, references=["y" * 10]) == ["too long"]
    assert text_errors("x" * 21, references=["y" * 10, "y" * 20]) == []  # one reference that fits
    assert text_errors("x" * 21, references=["", "y" * 10]) == ["too long"]  # an empty reference says nothing
    assert next(iter(ERROR_KINDS)) == "empty"


def test_what_is_near_the_limits_of_length_and_copying():
    def kinds(n):
        return text_errors("x" * n, references=["y" * 100])

    assert [kinds(n) for n in (49, 50, 200, 201)] == [["too short"], [], [], ["too long"]]
    source = "a b c d e f g h i j"
    # Of ten words: one run of 7 has density 4.9 of 10; one of 7 and one of 2 has 5.3.
    assert text_errors("a b c d e f g x y z", input=source) == []
    assert text_errors("a b c d e f g x i j", input=source) == ["copied"]
    assert text_errors("x a b c d y", input=source) == []  # 16 / 6 of 6
    assert text_errors("a b c x e f g", input=source) == []  # 18 / 7 of 7, much more than a tenth


def test_without_blanks_two_characters_stand_for_a_word():
    assert without_blanks("会議は三時に始まります。")
    assert not without_blanks("회의는 세 시 (会議)")
    text = "これは長い文章です。会議は三時に始まります。"
    assert text_errors(text, input=f"前。{text}後。") == ["copied"]
    assert text_errors("会議は三時に始まる", input="会議は三時に始まります。") == []  # nine characters are no copy yet
    assert text_errors("会議は三時に始まります。次の会議は四時に終わります。", input="x") == []
    assert text_errors("会議は三時に始まる。" * 3, input="x") == ["repetition"]


def test_a_text_is_shared_when_three_different_inputs_have_it():
    texts = ["I do not know.", "I do  not know.", "other", "I do not know.", "", "", ""]
    assert shared_texts(texts) == {0, 1, 3}
    assert shared_texts(texts, ["a", "b", "c", "a", "d", "e", "f"]) == set()  # two different inputs
    assert shared_texts(texts, ["a", None, "c", None, "d", "e", "f"]) == {0, 1, 3}
