"""English ROUGE is rouge_score's, to 1e-9; BLEU is sacrebleu's."""

import random
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU

from hf_monitor.metrics import score_texts
from hf_monitor.metrics.language import split_sentences
from hf_monitor.metrics.rouge import ROUGE_KEYS, lcs_length
from hf_monitor.metrics.tokenizers import english_tokenizer

# References without a-z are among the generated ones; that they are warned about is shown elsewhere.
pytestmark = pytest.mark.filterwarnings("ignore:There are references in which:UserWarning")

PEER = RougeScorer(list(ROUGE_KEYS), use_stemmer=True)
PEER_UNSTEMMED = RougeScorer(list(ROUGE_KEYS), use_stemmer=False)

# Few words, so that texts overlap and repeat; inflected ones, for the stemmer; odd characters between them.
WORDS = (
    "run runs running runner generously generalization ponies pony the The a of 1234 12th is's #Person1# naïve "
    "İstanbul skies dying don't agreed oed U.S. 학교 --"
)
words = st.sampled_from(WORDS.split(" "))
sentences = st.lists(words, max_size=9).map(" ".join)
texts = st.lists(sentences, max_size=4).map("\n".join) | st.text(max_size=40)


def peer_max(references: list[str], prediction: str, peer: RougeScorer = PEER) -> dict[str, float]:
    return {key: 100 * score.fmeasure for key, score in peer.score_multi(references, prediction).items()}


@pytest.mark.no_cover
@settings(max_examples=400, deadline=None)
@given(prediction=texts, reference=texts)
@example(prediction="a b\nb a", reference="b a a\na b")
@example(prediction="the the\nthe", reference="the\nthe the of")
def test_one_reference_equals_rouge_score(prediction, reference):
    ours = score_texts([prediction], [reference], language="en")
    expected = peer_max([reference], prediction)
    for key in ROUGE_KEYS:
        assert ours[key] == pytest.approx(expected[key], abs=1e-9)


@pytest.mark.no_cover
@settings(max_examples=150, deadline=None)
@given(prediction=texts, references=st.lists(texts, min_size=1, max_size=4))
def test_several_references_equal_score_multi(prediction, references):
    ours = score_texts([prediction], [references], language="en")
    expected = peer_max(references, prediction)
    for key in ROUGE_KEYS:
        assert ours[key] == pytest.approx(expected[key], abs=1e-9)


@pytest.mark.no_cover
@settings(max_examples=100, deadline=None)
@given(samples=st.lists(st.tuples(sentences, sentences), min_size=1, max_size=8))
def test_the_corpus_value_is_the_exact_mean(samples):
    predictions, references = map(list, zip(*samples, strict=True))
    ours = score_texts(predictions, references, language="en")
    peers = [peer_max([reference], prediction) for prediction, reference in samples]
    for key in ROUGE_KEYS:
        assert ours[key] == pytest.approx(sum(peer[key] for peer in peers) / len(peers), abs=1e-9)
    assert ours["score"] == pytest.approx((ours["rouge1"] + ours["rouge2"] + ours["rougeL"]) / 3, abs=1e-9)


def test_without_stemming_equals_rouge_score_without_stemming():
    prediction, reference = "he runs and was running", "he run and is running daily"
    ours = score_texts([prediction], [reference], stem=False)
    expected = peer_max([reference], prediction, PEER_UNSTEMMED)
    assert {key: ours[key] for key in ROUGE_KEYS} == pytest.approx(expected, abs=1e-9)
    assert ours["rouge1"] < score_texts([prediction], [reference])["rouge1"]
    assert ours.signature["rouge"]["stemming"] == {"en": "none"}


@pytest.mark.no_cover
@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=60) | sentences)
def test_tokens_are_rouge_scores_tokens(text):
    assert english_tokenizer().rouge_tokens(text) == PEER._tokenizer.tokenize(text)


@pytest.mark.no_cover
@settings(max_examples=150, deadline=None)
@given(first=st.lists(st.sampled_from("abcd"), max_size=80), second=st.lists(st.sampled_from("abcde"), max_size=80))
def test_lcs_length_equals_the_table(first, second):
    row = [0] * (len(second) + 1)
    for left in first:
        above = row
        row = [0]
        for j, right in enumerate(second):
            row.append(above[j] + 1 if left == right else max(above[j + 1], row[j]))
    assert lcs_length(first, second) == row[-1]


def test_split_sentences_gives_the_summarization_examples_rougelsum():
    prediction = "Ms. Dawson takes a memo. Nobody may chat at work! It wastes time."
    reference = "It wastes time to chat. Ms. Dawson takes a memo."
    ours = score_texts([prediction], [reference], split_sentences=True)
    by_hand = PEER.score(
        "It wastes time to chat.\nMs. Dawson takes a memo.",
        "Ms. Dawson takes a memo.\nNobody may chat at work!\nIt wastes time.",
    )
    assert ours["rougeLsum"] == pytest.approx(100 * by_hand["rougeLsum"].fmeasure, abs=1e-9)
    assert ours["rougeLsum"] > ours["rougeL"]
    assert "cut at" in ours.signature["rouge"]["sentences"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ms. Dawson met J. Smith at 3.5 km. He left.", ["Ms. Dawson met J. Smith at 3.5 km.", "He left."]),
        ('"Is it?" Yes... ok', ['"Is it?"', "Yes...", "ok"]),
        ("철수는 갔다. 영희는 왔다.민수는 잤다", ["철수는 갔다.", "영희는 왔다.", "민수는 잤다"]),
        ("one\n\n two ", ["one", "two"]),
        ("", []),
    ],
)
def test_sentences(text, expected):
    assert split_sentences(text) == expected


def random_corpus(n: int) -> tuple[list[str], list[list[str]]]:
    chance = random.Random(3)
    pool = re.findall(r"\S+", "the cat sat on a mat, and dogs ran; it's 3.5 km from U.S. towns .")
    predictions = [" ".join(chance.choices(pool, k=chance.randint(1, 14))) for _ in range(n)]
    references = [[" ".join(chance.choices(pool, k=chance.randint(1, 14))) for _ in range(2)] for _ in range(n)]
    return predictions, references


def test_bleu_equals_sacrebleu_with_its_signature():
    predictions, references = random_corpus(40)
    ours = score_texts(predictions, references)
    peer = BLEU()
    expected = peer.corpus_score(predictions, [[pair[0] for pair in references], [pair[1] for pair in references]])
    assert ours["bleu"] == pytest.approx(expected.score, abs=1e-9)
    assert ours.signature["bleu"] == str(peer.get_signature())


def test_bleu_with_unequal_numbers_of_references():
    predictions, references = random_corpus(30)
    uneven = [pair if position % 3 else pair[:1] for position, pair in enumerate(references)]
    ours = score_texts(predictions, uneven)
    peer = BLEU()
    second = [pair[1] if len(pair) > 1 else None for pair in uneven]
    expected = peer.corpus_score(predictions, [[pair[0] for pair in uneven], second])
    assert ours["bleu"] == pytest.approx(expected.score, abs=1e-9)
    assert ours.signature["bleu"] == str(peer.get_signature())
    assert "nrefs:var" in ours.signature["bleu"]
