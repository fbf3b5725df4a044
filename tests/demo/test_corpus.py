"""The demo corpus: made again byte for byte, disjoint, balanced, rich, and in correct Korean."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import hf_monitor.demo
from hf_monitor.demo import SPLITS, load_demo, patterns_en, patterns_ko
from hf_monitor.demo.generate import MAX_TURNS, MIN_TURNS, PATTERNS, build_corpus, main, write_corpus
from hf_monitor.demo.templates import fill, has_final_consonant, slots_of, with_particle
from hf_monitor.errors import InputError

DATA = Path(hf_monitor.demo.__file__).parent / "data"
LANGUAGES = ("ko", "en")
MODULES = {"ko": patterns_ko, "en": patterns_en}
EDGE_PUNCTUATION = re.compile(r"^\W+|\W+$")


@pytest.fixture(scope="module")
def records():
    return {split: load_demo(split) for split in SPLITS}


@pytest.fixture(scope="module")
def samples():
    return build_corpus()


def templates_of(language):
    """Every template of a language, small talk included."""
    module = MODULES[language]
    for pattern in module.PATTERNS:
        yield from (text for turn in pattern.turns for text in turn[1:])
        for ending in pattern.endings:
            yield from (text for turn in ending.turns for text in turn[1:])
            yield ending.summary
    yield from (text for ways in module.OPENINGS.values() for way in ways for turn in way for text in turn[1:])
    yield from (text for by_speaker in module.CLOSINGS.values() for texts in by_speaker.values() for text in texts)


# --- the files -------------------------------------------------------------------------------------------------------


def test_the_generator_makes_the_files_again_byte_for_byte(tmp_path, capsys):
    main(["--folder", str(tmp_path / "new")])
    assert "1400 train, 100 validation, 100 test" in capsys.readouterr().out
    assert sorted(path.name for path in DATA.iterdir()) == sorted(f"{split}.jsonl" for split in SPLITS)
    for path in DATA.iterdir():
        assert (tmp_path / "new" / path.name).read_bytes() == path.read_bytes()


def test_another_seed_makes_another_corpus(tmp_path):
    write_corpus(tmp_path, seed=12)
    assert (tmp_path / "train.jsonl").read_bytes() != (DATA / "train.jsonl").read_bytes()


def test_the_hash_seed_does_not_change_the_corpus(tmp_path):
    command = [sys.executable, "-m", "hf_monitor.demo.generate", "--folder", str(tmp_path)]
    subprocess.run(command, check=True, env={"PYTHONHASHSEED": "7", "PATH": ""}, capture_output=True, timeout=60)
    assert (tmp_path / "validation.jsonl").read_bytes() == (DATA / "validation.jsonl").read_bytes()


def test_the_files_are_small_and_strict_json(records):
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 600_000
    for split in SPLITS:
        for record in records[split]:
            assert list(record) == ["id", "language", "dialogue", "summary"]
            assert all(isinstance(value, str) and value for value in record.values())
    ids = [record["id"] for split in SPLITS for record in records[split]]
    assert len(set(ids)) == len(ids)


def test_an_unknown_part_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"'dev'.*train, validation, test"):
        load_demo("dev")


def test_loading_needs_no_heavy_package():
    code = (
        "import sys; from hf_monitor.demo import load_demo; load_demo('test'); "
        "print([m for m in ('torch', 'transformers', 'datasets', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


# --- what is in it ---------------------------------------------------------------------------------------------------


def test_the_parts_hold_half_korean_half_english(records):
    for split, count in {"train": 1400, "validation": 100, "test": 100}.items():
        assert Counter(record["language"] for record in records[split]) == {"ko": count // 2, "en": count // 2}


@pytest.mark.no_cover
@pytest.mark.parametrize("language", LANGUAGES)
def test_there_are_at_least_15_patterns_and_each_is_in_train(language, samples):
    names = [pattern.name for pattern in PATTERNS[language]]
    assert len(set(names)) == len(names) >= 15
    used = Counter(sample.pattern for sample in samples["train"] if sample.language == language)
    assert set(used) == set(names)
    assert len(set(used.values())) == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_there_are_at_least_250_distinct_words(language, records):
    words = {
        EDGE_PUNCTUATION.sub("", word)
        for split in SPLITS
        for record in records[split]
        if record["language"] == language
        for word in f"{record['dialogue']} {record['summary']}".split()
    }
    assert len(words - {""}) >= 250


def test_no_dialogue_is_in_two_parts_nor_twice_in_one(records):
    seen = Counter(" ".join(record["dialogue"].split()) for split in SPLITS for record in records[split])
    assert seen.most_common(1)[0][1] == 1


def test_held_out_combinations_and_summaries_are_never_in_train(samples):
    def combinations(split):
        return {(s.language, s.pattern, frozenset(s.values)) for s in samples[split]}

    held_out = samples["validation"] + samples["test"]
    assert not combinations("train") & (combinations("validation") | combinations("test"))
    assert not combinations("validation") & combinations("test")
    assert not {s.summary for s in samples["train"]} & {s.summary for s in held_out}


def test_dialogues_are_lines_of_two_speakers_in_turn(records):
    for split in SPLITS:
        for record in records[split]:
            lines = record["dialogue"].split("\n")
            assert MIN_TURNS <= len(lines) <= MAX_TURNS
            for number, line in enumerate(lines):
                assert re.fullmatch(rf"#Person{number % 2 + 1}#: \S.*\S", line), record


def test_nothing_of_a_template_is_left_over(records):
    for split in SPLITS:
        for record in records[split]:
            text = record["dialogue"] + record["summary"]
            assert not re.search(r"[{}]|  |\.\.| [.,?!]", text), record


def test_all_that_a_summary_tells_is_said_in_the_dialogue(samples):
    patterns = {(language, pattern.name): pattern for language in LANGUAGES for pattern in PATTERNS[language]}
    marks = ({"A": "#Person1#", "B": "#Person2#"}, {"A": "#Person2#", "B": "#Person1#"})
    for sample in (sample for split in SPLITS for sample in samples[split]):
        values = dict(sample.values)
        summaries = [ending.summary for ending in patterns[sample.language, sample.pattern].endings]
        template = next(
            summary
            for summary in summaries
            if set(slots_of(summary)) <= set(values)
            and sample.summary in [fill(summary, {**values, **mark}) for mark in marks]
        )
        for slot in slots_of(template):
            assert values[slot].lower() in sample.dialogue.lower(), sample


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_first_utterance_is_mostly_small_talk_and_the_wish_may_be_either_speakers(language, records):
    rows = [record for record in records["train"] if record["language"] == language]
    first = Counter(record["dialogue"].split("\n")[0] for record in rows)
    assert sum(count for _, count in first.most_common(40)) > len(rows) * 0.3
    begins = Counter(record["summary"][:9] for record in rows)
    assert min(begins["#Person1#"], begins["#Person2#"]) > 0.2 * len(rows)


# --- templates -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "particle", "expected"),
    [
        ("지훈", "은", "지훈은"),
        ("민지", "은", "민지는"),
        ("지훈", "이", "지훈이"),
        ("민지", "이", "민지가"),
        ("가방", "을", "가방을"),
        ("시계", "을", "시계를"),
        ("부산", "과", "부산과"),
        ("여수", "과", "여수와"),
        ("강릉", "으로", "강릉으로"),
        ("광주", "으로", "광주로"),
        ("서울", "으로", "서울로"),  # after ㄹ as after a vowel
        ("서울", "은", "서울은"),
        ("월요일", "으로", "월요일로"),
        ("지훈", "이랑", "지훈이랑"),
        ("민지", "이랑", "민지랑"),
        ("유진", "이한테", "유진이한테"),
        ("#Person1#", "은", "#Person1#은"),
        ("#Person2#", "은", "#Person2#는"),
        ("#Person2#", "과", "#Person2#와"),
        ("#Person3#", "이", "#Person3#가"),
        ("10", "은", "10은"),
        ("2", "이", "2가"),
        ("7", "으로", "7로"),
        ("3", "으로", "3으로"),
        ("민지", "의", "민지의"),
        ("힣", "을", "힣을"),
        ("가", "을", "가를"),
    ],
)
def test_particles_follow_the_last_sound(word, particle, expected):
    assert with_particle(word, particle) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [("밥", True), ("뷁", True), ("소", False), ("#Person1#", True), ("#Person4#", False), ("6", True)],
)
def test_final_consonants(word, expected):
    assert has_final_consonant(word) is expected


@pytest.mark.parametrize("word", ["", "Tom", "지훈.", "#Person9#"])
def test_a_last_sound_that_is_not_known_is_refused(word):
    with pytest.raises(InputError, match="No Korean particle"):
        with_particle(word, "은")


def test_an_unknown_particle_and_a_missing_value_are_refused():
    with pytest.raises(InputError, match="Unknown Korean particle '까지는'"):
        with_particle("지훈", "까지는")
    with pytest.raises(InputError, match="No value for the slot 'day'"):
        fill("on {day}", {"time": "noon"})


def test_english_forms():
    values = {"item": "umbrella", "pet": "cat", "time": "half past six"}
    assert fill("{item:a} and {pet:a}. {time:cap}!", values) == "an umbrella and a cat. Half past six!"
    assert slots_of("{A} {time2} {item:a}", "{time2} {B:은} {pet}") == ["time2", "item", "pet"]


def test_a_particle_written_out_after_a_slot_is_right_for_all_its_words():
    """`{day}은` is only right because every day ends in a consonant."""
    written_out = re.compile(r"\{(\w+)\}(으로|로|은|는|이에요|예요|이|가|을|를|과|와)(?=[^가-힣]|$)")
    forms = {"으로": "으로", "로": "으로", "은": "은", "는": "은", "이": "이", "가": "이", "을": "을", "를": "을"}
    forms |= {"과": "과", "와": "과"}
    checked = 0
    for template in templates_of("ko"):
        for slot, particle in written_out.findall(template):
            for word in patterns_ko.VOCABULARY[slot.rstrip("0123456789")]:
                if particle in forms:
                    assert with_particle(word, forms[particle]) == word + particle, (template, word)
                else:
                    assert has_final_consonant(word) == (particle == "이에요"), (template, word)
                checked += 1
    assert checked > 20


@pytest.mark.parametrize("language", LANGUAGES)
def test_patterns_have_speakers_in_turn_known_settings_and_known_slots(language):
    module = MODULES[language]
    for pattern in module.PATTERNS:
        assert pattern.setting in module.OPENINGS
        assert pattern.setting in module.CLOSINGS
        for ending in pattern.endings:
            assert [turn[0] for turn in (*pattern.turns, *ending.turns)] == ["A", "B", "A", "B"][
                : 1 + len(ending.turns)
            ]
            assert MIN_TURNS <= 1 + len(ending.turns) <= MAX_TURNS
    assert len({ending.summary for pattern in module.PATTERNS for ending in pattern.endings}) >= 40
    used = {slot.rstrip("0123456789") for slot in slots_of(*templates_of(language))}
    assert used == set(module.VOCABULARY)
    for words in module.VOCABULARY.values():
        assert len(set(words)) == len(words)
