"""Real tokenizers, made on the spot, on Korean and English: what they lack, what they lose, what a character costs."""

import pytest

from hf_monitor.preflight.coverage import cover, round_trip, script_of
from hf_monitor.preflight.data import read_part
from hf_monitor.preflight.tokenizing import check_coverage, check_tokenizer

ENGLISH = ["#Person1#: Hello. The meeting is at three.", "They will go to eat.", "Did you eat? Not yet, let us go."]
KOREAN = ["안녕하세요. 내일 회의는 세 시입니다.", "점심 먹었어요? 아직 안 먹었어요.", "회의 시간을 알린다."]


def make(texts, *, byte_level=False, special=()):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE(unk_token=None if byte_level else "<unk>", fuse_unk=not byte_level))
    alphabet = []
    if byte_level:
        raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        raw.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:  # as T5's: words with the blank before them
        raw.pre_tokenizer = pre_tokenizers.Metaspace()
        raw.decoder = decoders.Metaspace()
    names = ["<pad>", "</s>"] + ([] if byte_level else ["<unk>"])
    raw.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=350, special_tokens=names, initial_alphabet=alphabet, show_progress=False)
    )
    named = {} if byte_level else {"unk_token": "<unk>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="</s>", additional_special_tokens=list(special), **named
    )


@pytest.fixture(scope="module")
def without_korean():
    return make(ENGLISH)


def rows(texts, summaries=None):
    return [{"dialogue": a, "summary": b} for a, b in zip(texts, summaries or texts, strict=True)]


def states(tokenizer, data, **more):
    return {check.name: check for check in check_tokenizer(tokenizer, read_part("training data", data, **more))}


def test_a_tokenizer_without_korean_fails_on_korean_and_says_which_characters(without_korean):
    found = states(without_korean, rows(KOREAN))
    assert {name: check.state for name, check in found.items()} == {
        "tokenizer: inputs": "failed", "tokenizer: targets": "failed", "tokenizer: round trip": "failed",
    }  # fmt: skip
    inputs = found["tokenizer: inputs"]
    hangul = sum(script_of(character) == "Hangul" for text in KOREAN for character in text)
    assert inputs.evidence["scripts"]["Hangul"]["characters"] == hangul
    assert inputs.evidence["scripts"]["Hangul"]["unknown"] == hangul
    assert "Hangul 100%" in inputs.sentence
    assert "knows Hangul" in inputs.suggestion
    assert inputs.evidence["unknown"]["요"] == 3
    # A whole word is one unknown token: the share of the tokens says too little.
    assert inputs.evidence["share_unknown_tokens"] < inputs.evidence["share_unknown_characters"]


def test_the_same_tokenizer_is_well_on_english(without_korean):
    assert {check.state for check in states(without_korean, rows(ENGLISH)).values()} == {"ok"}


def test_a_language_that_is_a_part_of_the_data_fails_too(without_korean):
    mixed = ENGLISH * 3 + KOREAN[:1]
    found = check_coverage("tokenizer: inputs", cover(without_korean, mixed))
    assert found.evidence["share_unknown_characters"] < 0.1
    assert found.state == "failed"
    assert "knows Hangul (" in found.suggestion


@pytest.mark.parametrize("meta", [True, False])
def test_a_tokenizer_that_leaves_characters_out_in_silence_fails_on_the_inputs_too(meta):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())  # without an unknown token
    raw.pre_tokenizer = pre_tokenizers.Metaspace() if meta else pre_tokenizers.Whitespace()
    if meta:
        raw.decoder = decoders.Metaspace()
    raw.train_from_iterator(
        ENGLISH, trainers.BpeTrainer(vocab_size=200, special_tokens=["<pad>", "</s>"], show_progress=False)
    )
    silent = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="</s>")
    found = states(silent, rows([f"{text} Hello {text}" for text in KOREAN], ENGLISH))
    assert (found["tokenizer: inputs"].state, found["tokenizer: targets"].state) == ("failed", "ok")
    evidence = found["tokenizer: inputs"].evidence
    hangul = sum(script_of(character) == "Hangul" for text in KOREAN for character in text)
    assert evidence["scripts"]["Hangul"]["unknown"] == evidence["scripts"]["Hangul"]["characters"] == 2 * hangul
    assert evidence["unknown"]["요"] == 6
    assert "are left out without a token" in found["tokenizer: inputs"].sentence


def test_a_few_texts_that_lose_their_language_are_a_warning_that_names_it(without_korean):
    texts = ENGLISH * 70 + KOREAN
    found = check_coverage("tokenizer: inputs", cover(without_korean, texts))
    assert found.evidence["share_unknown_characters"] < 0.01
    assert (found.state, found.evidence["texts_without"]) == ("warning", {"Hangul": 3})
    assert "3 texts lose most of their Hangul" in found.sentence
    name = [f"{text * 4} 민지" for text in ENGLISH]  # a name in a text is no language of it
    assert cover(without_korean, name).texts_without == {}


def test_words_that_are_unknown_whole_are_listed_as_words():
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.WordLevel(unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.train_from_iterator(ENGLISH, trainers.WordLevelTrainer(special_tokens=["<pad>", "<unk>"], show_progress=False))
    words = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", unk_token="<unk>")
    found = check_coverage("tokenizer: inputs", cover(words, [*ENGLISH * 3, "They will meet the 민지."]))
    assert found.evidence["unknown_words"] == {"meet": 1, "the": 1}  # The is a word of it, the is none
    assert set(found.evidence["unknown"]) == {"민", "지"}
    assert "most often meet (1), the (1)" in found.sentence
    assert "in pieces" in found.suggestion


def test_some_strange_characters_are_a_warning(without_korean):
    found = check_coverage("tokenizer: inputs", cover(without_korean, [*ENGLISH, "eat 🍜🍜"]))
    assert found.state == "warning"
    assert found.evidence["unknown"] == {"🍜": 2}


def test_bytes_for_a_syllable_are_a_warning_with_their_price():
    found = states(make(ENGLISH, byte_level=True), rows(KOREAN))
    inputs = found["tokenizer: inputs"]
    assert inputs.state == "warning"
    assert "the tokenizer has no unknown token" in inputs.sentence
    assert inputs.evidence["scripts"]["Hangul"]["tokens"] >= 2 * inputs.evidence["scripts"]["Hangul"]["characters"]
    assert found["tokenizer: round trip"].state == "ok"


def test_a_tokenizer_made_with_korean_is_well(tokenizer, dialogues):
    found = states(tokenizer, rows(*map(list, zip(*dialogues, strict=True))))
    assert {check.state for check in found.values()} == {"ok"}


def test_a_tokenizer_that_does_not_say_what_its_tokens_stand_for(without_korean):
    class Slow:
        is_fast = False

        def __getattr__(self, name):
            return getattr(without_korean, name)

        def __call__(self, *args, **kw):
            return without_korean(*args, **kw)

    fast, slow = cover(without_korean, KOREAN), cover(Slow(), KOREAN)
    assert (slow.n_unknown, slow.n_unknown_tokens, dict(slow.unknown)) == (
        fast.n_unknown, fast.n_unknown_tokens, dict(fast.unknown),
    )  # fmt: skip
    assert slow.scripts["Hangul"].n_tokens is None
    assert check_coverage("x", slow).state == "failed"


def test_special_tokens_in_the_texts_are_lost_in_decoding():
    tokenizer = make(ENGLISH, special=["#Person1#"])
    found = states(tokenizer, rows(ENGLISH))["tokenizer: round trip"]
    assert found.state == "warning"
    assert found.evidence["special_in_texts"] == ["#Person1#"]
    assert "tokenizer.add_tokens" in found.suggestion


def test_line_breaks_and_capitals_are_noted(without_korean):
    found = round_trip(without_korean, ["Hello.\nThe meeting is at three."])
    assert not found.case_lost
    assert found.n_lost == 0
    lower = make([text.lower() for text in ENGLISH])
    lower.backend_tokenizer.normalizer = __import__("tokenizers").normalizers.Lowercase()
    assert round_trip(lower, ["Hello. The meeting"]).case_lost


def test_ids_alone_tell_unknown_tokens_foreign_ids_and_missing_ends(without_korean):
    eos = without_korean.eos_token_id
    unknown = without_korean(KOREAN)["input_ids"]
    found = states(without_korean, [{"input_ids": ids, "labels": [*ids, -100]} for ids in unknown])
    assert found["tokenizer: inputs"].state == "failed"
    assert found["tokenizer: ends"].state == "warning"
    good = without_korean(ENGLISH)["input_ids"]
    found = states(without_korean, [{"input_ids": ids, "labels": [*ids, eos, -100]} for ids in good])
    assert {check.state for check in found.values()} == {"ok"}
    padded_with_the_end = make(ENGLISH)
    padded_with_the_end.pad_token = "</s>"
    found = states(padded_with_the_end, [{"input_ids": ids, "labels": [*ids, eos, -100]} for ids in good])
    assert found["tokenizer: ends"].state == "ok"
    found = states(without_korean, [{"input_ids": [9999], "labels": [eos]}])
    assert "token id 9999 is none of the tokenizer's" in found["tokenizer: inputs"].sentence


def test_the_sample_is_bounded_seeded_and_leaves_the_global_random_numbers_alone():
    import random

    part = read_part("training data", rows(ENGLISH) * 1000)
    before = random.getstate()
    first = part.sample(100, seed=1)
    assert random.getstate() == before
    assert len(set(first)) == 100
    assert first == part.sample(100, seed=1) != part.sample(100, seed=2)
