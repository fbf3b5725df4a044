"""TextMetrics on everything that a Trainer may hand over."""

import copy
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hf_monitor.errors import InputError
from hf_monitor.metrics import TextMetrics, score_texts

PREDICTIONS = ["#Person1# tells about London.", "They meet. He will bring it.", "agree to meet at the station"]
LABELS = [
    "#Person1# tells #Person2# about London.",
    "They agree to meet. He will bring tickets.",
    "They meet at the station",
]
KOREAN = ["철수는 오늘 학교에 갔다.", "영희는 집에서 책을 읽었다."]
KEYS = ["rouge1", "rouge2", "rougeL", "rougeLsum", "bleu", "gen_len", "score"]


def encode(tokenizer, texts, fill=-100, width=None):
    rows = [[*tokenizer.encode(text), tokenizer.eos_token_id] for text in texts]
    width = width or max(map(len, rows))
    return np.array([row + [fill] * (width - len(row)) for row in rows])


def pair(predictions, labels):
    return SimpleNamespace(predictions=predictions, label_ids=labels)


@pytest.fixture
def whole(tokenizer):
    return pair(encode(tokenizer, PREDICTIONS, fill=tokenizer.pad_token_id), encode(tokenizer, LABELS))


@pytest.fixture
def expected():
    return score_texts(PREDICTIONS, LABELS)


def without_gen_len(result):
    return {key: value for key, value in result.items() if key != "gen_len"}


@pytest.mark.no_cover
def test_keys_values_and_gen_len(tokenizer, whole, expected):
    metrics = TextMetrics(tokenizer)
    assert metrics.signature is None
    assert metrics.last is None
    assert list(metrics.keys) == KEYS
    result = metrics(whole)
    assert list(result) == KEYS == list(metrics.keys)
    assert without_gen_len(result) == pytest.approx(dict(expected), abs=1e-9)
    assert result["gen_len"] == pytest.approx(np.mean([len(tokenizer.encode(text)) + 1 for text in PREDICTIONS]))
    assert metrics.signature == {**expected.signature, "references_from": "decoded labels"}
    assert metrics.last.predictions == PREDICTIONS
    assert metrics.last.references == [[text] for text in LABELS]


def test_the_public_function_gives_the_same_rougelsum(tokenizer):
    texts = ["He will bring tickets. They meet."], ["They meet. He will bring tickets."]
    given = pair(*(encode(tokenizer, side) for side in texts))
    by_lines, by_sentences = score_texts(*texts), score_texts(*texts, split_sentences=True)
    assert by_lines["rougeLsum"] < by_sentences["rougeLsum"] == pytest.approx(100.0)
    for metrics, expected in (
        (TextMetrics(tokenizer), by_lines),
        (TextMetrics(tokenizer, split_sentences=True), by_sentences),
    ):
        assert metrics(given)["rougeLsum"] == pytest.approx(expected["rougeLsum"], abs=1e-9)
        assert metrics.signature["rouge"] == expected.signature["rouge"]


def test_negative_ids_in_predictions_too(tokenizer, whole):
    padded = np.pad(whole.predictions, ((0, 0), (0, 7)), constant_values=-100)
    assert TextMetrics(tokenizer)(pair(padded, whole.label_ids)) == TextMetrics(tokenizer)(whole)


def test_tuples_pairs_lists_and_tensors(tokenizer, whole):
    expected = TextMetrics(tokenizer)(whole)
    predictions, labels = whole.predictions, whole.label_ids
    ragged = [encode(tokenizer, PREDICTIONS[:2]), encode(tokenizer, PREDICTIONS[2:])]
    ragged_labels = [encode(tokenizer, LABELS[:2]), encode(tokenizer, LABELS[2:])]
    assert ragged[0].shape[1] != ragged[1].shape[1]
    rows = [[*tokenizer.encode(text), tokenizer.eos_token_id] for text in PREDICTIONS]
    for shape in (
        pair((predictions, np.zeros((3, 4, 5))), (labels, labels)),
        pair([(ragged[0], None), (ragged[1], None)], ragged_labels),
        pair(ragged, ragged_labels),
        pair(torch.tensor(predictions), torch.tensor(labels)),
        pair(rows, ragged_labels),
        pair([np.array(row) for row in rows], labels),
        (predictions, labels),
        pair(predictions.astype(np.int32), labels.astype(np.int16)),
    ):
        assert TextMetrics(tokenizer)(shape) == expected


def test_batch_by_batch_equals_the_whole(tokenizer, whole):
    metrics = TextMetrics(tokenizer)
    expected = TextMetrics(tokenizer)(whole)
    for _ in range(2):  # the state is reset after the last batch
        first = pair(torch.tensor(whole.predictions[:2]), torch.tensor(whole.label_ids[:2]))
        last = pair(torch.tensor(whole.predictions[2:]), torch.tensor(whole.label_ids[2:]))
        assert metrics(first, compute_result=False) == {}
        assert metrics(last, compute_result=True) == expected


def test_an_evaluation_that_was_broken_off_leaves_nothing_behind(tokenizer, whole):
    expected = TextMetrics(tokenizer)(whole)
    linked = TextMetrics(tokenizer)
    linked.begin_evaluation(n_samples=3)
    linked(whole, compute_result=False)
    linked.begin_evaluation(n_samples=3)
    assert linked(whole, compute_result=True) == expected
    alone = TextMetrics(tokenizer)
    alone(whole, compute_result=False)
    assert alone(whole) == expected
    alone(whole, compute_result=False)
    alone.reset()
    assert alone(whole, compute_result=True) == expected


@pytest.mark.parametrize("wrap", [np.asarray, lambda x: (np.asarray(x), np.zeros((3, 2, 2))), torch.tensor])
def test_logits_are_refused_with_the_remedy(tokenizer, whole, wrap):
    logits = np.zeros((3, 9, 50), dtype=np.float32)
    with pytest.raises(InputError, match=r"\(3, 9, 50\).*logits.*predict_with_generate=True"):
        TextMetrics(tokenizer)(pair(wrap(logits), whole.label_ids))


def test_other_wrong_shapes_are_refused(tokenizer, whole):
    with pytest.raises(InputError, match="float32"):
        TextMetrics(tokenizer)(pair(np.zeros((3, 4), dtype=np.float32), whole.label_ids))
    with pytest.raises(InputError, match=r"shape \(3,\)"):
        TextMetrics(tokenizer)(pair(np.zeros(3, dtype=int), whole.label_ids))
    with pytest.raises(InputError, match="NoneType"):
        TextMetrics(tokenizer)(pair(None, whole.label_ids))


def test_unequal_lengths_and_empty_sets(tokenizer, whole):
    with pytest.raises(InputError, match="3 predictions but references for 2"):
        TextMetrics(tokenizer)(pair(whole.predictions, whole.label_ids[:2]))
    with pytest.raises(InputError, match="empty"):
        TextMetrics(tokenizer)(pair(whole.predictions[:0], whole.label_ids[:0]))
    with pytest.raises(InputError, match="empty"):
        TextMetrics(tokenizer)(pair([], []))


def test_no_pad_token(tokenizer, whole):
    bare = copy.deepcopy(tokenizer)
    bare.pad_token = None
    assert bare.pad_token_id is None
    # So the Trainer pads with the end token; and -100 where it had none.
    padded = pair(encode(tokenizer, PREDICTIONS, fill=tokenizer.eos_token_id), whole.label_ids)
    assert TextMetrics(bare)(padded) == TextMetrics(tokenizer)(whole)
    assert TextMetrics(bare)(pair(encode(tokenizer, PREDICTIONS), whole.label_ids)) == TextMetrics(tokenizer)(whole)


def test_ids_beyond_the_vocabulary_are_counted(tokenizer, whole):
    metrics = TextMetrics(tokenizer)
    expected = without_gen_len(metrics(whole))
    assert "ids_beyond_vocabulary" not in metrics.last.counts
    strange = np.concatenate([whole.predictions, np.full((3, 2), 10**9)], axis=1)
    assert without_gen_len(metrics(pair(strange, whole.label_ids))) == expected
    assert metrics.last.counts["ids_beyond_vocabulary"] == 6


def test_cut_characters_are_counted(tokenizer):
    ids = encode(tokenizer, KOREAN)
    full = tokenizer.encode("갔")
    assert len(full) > 1
    cut = pair(np.array([[*full[:-1], 1], [*full[:-1], 1]]), ids)
    metrics = TextMetrics(tokenizer)
    metrics(cut)
    assert metrics.last.counts["predictions_with_cut_characters"] == 2
    assert "references_with_cut_characters" not in metrics.last.counts


def test_empty_texts_score_0_and_are_counted(tokenizer, whole):
    nothing = np.full_like(whole.predictions, tokenizer.pad_token_id)
    metrics = TextMetrics(tokenizer)
    result = metrics(pair(nothing, whole.label_ids))
    assert result == dict.fromkeys(KEYS, 0.0)
    assert metrics.last.counts["predictions_empty"] == 3


def test_speaker_marks_that_are_special_tokens_survive(tokenizer, whole):
    marked = copy.deepcopy(tokenizer)
    marked.add_special_tokens({"additional_special_tokens": ["#Person1#", "#Person2#"]})
    assert "#Person1#" not in marked.decode(marked.encode("#Person1# tells"), skip_special_tokens=True)
    metrics = TextMetrics(marked)
    metrics(pair(encode(marked, PREDICTIONS), encode(marked, LABELS)))
    assert metrics.last.predictions[0].startswith("#Person1#")
    assert "#Person2#" in metrics.last.references[0][0]
    assert not any("</s>" in text or "<pad>" in text for text in metrics.last.predictions)


def test_duplicates_at_the_end_are_cut(tokenizer, whole):
    expected = TextMetrics(tokenizer)(whole)
    order = [0, 1, 2, 0, 1]
    doubled = pair(whole.predictions[order], whole.label_ids[order])
    metrics = TextMetrics(tokenizer)
    metrics.begin_evaluation(n_samples=3)
    assert metrics(doubled) == expected
    assert metrics.last.counts["duplicates_cut"] == 2
    assert metrics.last.n_samples == 3
    assert metrics(doubled) != expected  # valid for one evaluation only
    metrics.begin_evaluation(n_samples=3)
    metrics(pair(whole.predictions[[0, 1]], whole.label_ids[[0, 1]]), compute_result=False)
    assert metrics(pair(whole.predictions[[2, 0]], whole.label_ids[[2, 0]]), compute_result=True) == expected


def test_references_of_the_link_replace_the_labels(tokenizer, whole):
    references = [["they meet", "tells"], "He will bring it", ["x"]]
    expected = score_texts(PREDICTIONS, [["they meet", "tells"], ["He will bring it"], ["x"]])
    metrics = TextMetrics(tokenizer)
    metrics.begin_evaluation(n_samples=3, references=references)
    assert without_gen_len(metrics(pair(whole.predictions, None))) == pytest.approx(dict(expected))
    assert metrics.signature["references_from"] == "given texts"
    metrics.begin_evaluation(n_samples=3, references=references[:2])
    with pytest.raises(InputError, match="3 predictions but references for 2"):
        metrics(whole)


def test_references_of_the_constructor(tokenizer, whole):
    own = ["tells", "bring", "meet"]
    expected = score_texts(PREDICTIONS, own)["score"]
    by_length = TextMetrics(tokenizer, references=own)
    assert by_length(whole)["score"] == pytest.approx(expected)
    with pytest.raises(InputError, match="has references for 3 samples, but 2 were evaluated"):
        by_length(pair(whole.predictions[:2], whole.label_ids[:2]))
    by_name = TextMetrics(tokenizer, references={"dev": own})
    for name, source in (("dev", "given texts"), ("eval_dev", "given texts"), ("test", "decoded labels")):
        by_name.begin_evaluation(n_samples=3, name=name)
        by_name(whole)
        assert by_name.signature["references_from"] == source
    with pytest.raises(InputError, match="references must be"):
        TextMetrics(tokenizer, references="abc")


def test_bare_references_belong_to_the_first_set_of_their_length(tokenizer, whole, caplog):
    metrics = TextMetrics(tokenizer, references=["tells", "bring", "meet"])
    shorter = pair(whole.predictions[:2], whole.label_ids[:2])
    problems = []
    sources = []
    for _ in range(2):
        for name, given in (("eval", whole), ("eval_short", shorter), ("test", whole)):
            metrics.begin_evaluation(n_samples=None, name=name, on_problem=problems.append)
            metrics(given)
            sources.append((name, metrics.signature["references_from"], metrics.last.references[0]))
    own, labels = ("given texts", ["tells"]), ("decoded labels", [LABELS[0]])
    assert sources == 2 * [("eval", *own), ("eval_short", *labels), ("test", *labels)]
    assert problems == []
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2  # once a set
    assert "for 3 samples, evaluation 'eval_short' has 2" in said[0]
    assert "those of 'eval'" in said[1]
    assert "{'test': [...]}" in said[1]


def test_bare_references_that_fit_no_set_yet_are_refused(tokenizer, whole):
    """Scoring against the labels instead would choose the best model by other references than those asked for."""
    metrics = TextMetrics(tokenizer, references=["tells"])
    problems = []
    metrics.begin_evaluation(n_samples=3, name="eval", on_problem=problems.append)
    assert list(metrics(whole)) == ["gen_len"]
    assert problems == [
        "text metrics of 'eval' are left out: TextMetrics(references=...) has references for 1 samples, but 3 were "
        "evaluated. Give as many in the same order, or a mapping of evaluation names to references."
    ]


def test_references_of_a_name_must_be_as_many_as_its_samples(tokenizer, whole):
    metrics = TextMetrics(tokenizer, references={"dev": ["tells"]})
    problems = []
    metrics.begin_evaluation(n_samples=3, name="eval_dev", on_problem=problems.append)
    assert list(metrics(whole)) == ["gen_len"]
    assert "references['dev'] are for 1 samples, but 3 were evaluated" in problems[0]
    metrics.begin_evaluation(n_samples=3, name="dev")
    with pytest.raises(InputError, match=r"references\['dev'\]"):
        metrics(whole)


def test_the_language_is_frozen(tokenizer, whole):
    metrics = TextMetrics(tokenizer)
    metrics(whole)
    before = metrics.signature["rouge"]["tokenizer"]
    korean = pair(encode(tokenizer, KOREAN), encode(tokenizer, KOREAN))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = metrics(korean)
        metrics(korean)
    messages = [str(warning.message) for warning in caught]
    assert sum("'en' was judged" in message for message in messages) == 1
    assert sum("finds not one word" in message for message in messages) == 1
    assert metrics.signature["rouge"]["tokenizer"] == before
    assert result["rouge1"] == 0.0
    # Another evaluation set, by name, is judged on its own.
    metrics.begin_evaluation(n_samples=2, name="korean")
    assert metrics(korean)["rouge1"] == pytest.approx(100.0)
    assert TextMetrics(tokenizer, language="mixed")(korean)["rouge1"] == pytest.approx(100.0)


def test_inside_a_training_problems_are_reported_once_and_never_raised(tokenizer, whole):
    problems = []
    metrics = TextMetrics(tokenizer, extra={"broken": lambda p, r: 1 / 0, "fine": lambda p, r: 7})
    for _ in range(2):
        metrics.begin_evaluation(n_samples=3, name="dev", on_problem=problems.append)
        assert metrics(pair(np.zeros((3, 9, 50)), whole.label_ids)) == {}
        assert metrics.last is None
    assert len(problems) == 1
    assert "predict_with_generate" in problems[0]
    assert "'dev'" in problems[0]
    metrics.begin_evaluation(n_samples=3, on_problem=problems.append)
    assert list(metrics(pair(whole.predictions, whole.label_ids[:2]))) == ["gen_len"]
    assert len(problems) == 2
    assert "3 predictions but references for 2" in problems[1]
    for _ in range(2):
        metrics.begin_evaluation(n_samples=3, on_problem=problems.append)
        result = metrics(whole)
    assert result["fine"] == 7.0
    assert "broken" not in result
    assert sum("'broken'" in problem for problem in problems) == 1
    with pytest.raises(ZeroDivisionError):
        metrics(whole)


def test_a_problem_is_reported_once_though_its_words_change(tokenizer, whole):
    problems = []
    calls = []

    def broken(predictions, references):
        calls.append(1)
        raise RuntimeError(f"call {len(calls)}, {'x' * len(calls)}")

    metrics = TextMetrics(tokenizer, extra={"broken": broken, "other": lambda p, r: 1 / 0})
    for width in (9, 10, 11):
        metrics.begin_evaluation(n_samples=3, on_problem=problems.append)
        assert "rouge1" in metrics(whole)
        metrics.begin_evaluation(n_samples=3, on_problem=problems.append)
        assert metrics(pair(np.zeros((3, width, 50)), whole.label_ids)) == {}
    assert len(calls) == 3
    assert [sum(word in problem for problem in problems) for word in ("'broken'", "'other'", "logits")] == [1, 1, 1]
    assert "call 1, x" in problems[0]


def test_a_broken_batch_inside_a_training(tokenizer, whole):
    problems = []
    metrics = TextMetrics(tokenizer)
    metrics.begin_evaluation(n_samples=6, on_problem=problems.append)
    assert metrics(pair(np.zeros((3, 9, 50)), whole.label_ids), compute_result=False) == {}
    assert metrics(whole, compute_result=False) == {}
    assert metrics(whole, compute_result=True) == {}  # half an evaluation is none
    assert len(problems) == 1
    metrics.begin_evaluation(n_samples=3, on_problem=problems.append)
    assert list(metrics(whole, compute_result=True)) == KEYS


def test_warnings_as_errors_cost_a_training_no_scores(tokenizer, whole, caplog):
    metrics = TextMetrics(tokenizer, language="en")
    korean = pair(encode(tokenizer, KOREAN), encode(tokenizer, KOREAN))
    problems = []
    metrics.begin_evaluation(n_samples=2, on_problem=problems.append)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metrics(korean)["rouge1"] == 0.0
    assert problems == []
    assert "finds not one word" in caplog.text


def test_rows_with_inputs_and_a_seeded_sample(tokenizer, whole):
    metrics = TextMetrics(tokenizer, max_predictions=2, seed=5)
    chosen = []
    for _ in range(2):
        metrics.begin_evaluation(n_samples=3, inputs=["in 0", "in 1", "in 2"], name="dev")
        metrics(whole)
        rows = list(metrics.last.rows())
        chosen.append([row["index"] for row in rows])
        assert [row["input"] for row in rows] == [f"in {row['index']}" for row in rows]
        assert rows[0]["sampled"] == {"rows": 2, "of": 3, "seed": 5}
        assert "sampled" not in rows[1]
    assert metrics.last.sampled
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == 2
    everything = TextMetrics(tokenizer)
    everything.begin_evaluation(n_samples=3, inputs=lambda index: None if index == 1 else index)
    result = everything(whole)
    rows = list(everything.last.rows())
    assert [row["input"] for row in rows] == ["0", None, "2"]
    assert not everything.last.sampled
    again = score_texts([r["prediction"] for r in rows], [r["references"] for r in rows])
    assert without_gen_len(result) == pytest.approx(dict(again), abs=1e-9)
    for key in ("rouge1", "rouge2", "rougeL", "rougeLsum", "score"):
        assert result[key] == pytest.approx(sum(row[key] for row in rows) / 3, abs=1e-9)


def test_inputs_that_fail_cost_only_the_inputs(tokenizer, whole):
    problems = []
    metrics = TextMetrics(tokenizer)
    metrics.begin_evaluation(n_samples=3, inputs=["only one"], on_problem=problems.append)
    assert list(metrics(whole)) == KEYS
    assert len(problems) == 1
    assert "input texts" in problems[0]
    assert metrics.last.inputs == ["only one", None, None]


def test_several_processes_without_a_link_are_warned_about_once(tokenizer, whole, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    metrics = TextMetrics(tokenizer)
    with pytest.warns(UserWarning, match="scored twice"):
        metrics(whole)
    metrics(whole)  # no second warning: pytest would make an error of it
    linked = TextMetrics(tokenizer)
    linked.begin_evaluation(n_samples=3)
    linked(whole)


def test_intervals_on_request(tokenizer, whole):
    metrics = TextMetrics(tokenizer, confidence=0.9)
    result = metrics(whole)
    low, high = metrics.last.intervals["rouge1"]
    assert low <= result["rouge1"] <= high


def test_wrong_arguments_are_refused_when_made(tokenizer):
    with pytest.raises(InputError, match="batch_decode"):
        TextMetrics(object())
    with pytest.raises(InputError, match="max_predictions"):
        TextMetrics(tokenizer, max_predictions=-1)
    with pytest.raises(InputError, match="language"):
        TextMetrics(tokenizer, language="korean")
    with pytest.raises(InputError, match="extra"):
        TextMetrics(tokenizer, extra=[len])


def test_a_processor_is_as_good_as_its_tokenizer(tokenizer, whole):
    assert TextMetrics(SimpleNamespace(tokenizer=tokenizer))(whole) == TextMetrics(tokenizer)(whole)
