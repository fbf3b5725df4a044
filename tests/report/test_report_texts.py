"""What the report says of texts: in the verdict, in the tables, beside a processor that others used."""

import re
from pathlib import Path

import pytest
from test_report_predictions import labels, made
from test_report_verdict import BEGIN, END, GONE, evals, material_of, said, tones

from hf_monitor.diagnosis.finding import Finding
from hf_monitor.report.first_evaluation import first_evaluation
from hf_monitor.report.sections.findings import findings
from hf_monitor.report.sections.gaps import gaps
from hf_monitor.report.sections.machine import machine
from hf_monitor.report.sections.predictions import predictions
from hf_monitor.report.word_diff import diff_texts
from hf_monitor.run.process import process_identity
from hf_monitor.run.rows import encode_row

SOUND = {"empty": 0.0, "same": 0.03, "shared": 0.0, "repeated": 0.02}
BLIND, FOLLOWS = {"own": 0.15, "others": 0.15, "z": 0.1}, {"own": 0.6, "others": 0.12, "z": 9.0}
LEARNED = evals(4.0, 3.0, 2.0, 1.5, 1.2, scores=(2.0, 10.0, 20.0, 25.0, 30.0))


def scored(step=100, name="eval", rouge=30.0, fit=FOLLOWS, references=None, **shares):
    texts = {"n": 40, "n_inputs": 40, **SOUND, **shares, "fit": fit, "references": references or SOUND}
    texts["examples"] = {"same": "and and and", "repeated": "and and and"}
    return {"kind": "text_scores", "step": step, "name": name, "rougeL": rouge, "score": rouge, "texts": texts}


RUINED = {
    "the same": (scored(same=0.75, fit=BLIND), "bad", '75 % are one and the same text ("and and and")'),
    "shared": (scored(shared=0.9, fit=BLIND), "bad", "90 % are texts that three or more different inputs share"),
    "empty": (scored(empty=0.9), "bad", "90 % are empty"),
    "repeated": (scored(repeated=0.98), "bad", "98 % repeat themselves"),
    "some repeated": (scored(repeated=0.3), "warn", "30 % repeat themselves"),
    "low": (scored(rouge=1.905, fit=BLIND), "bad", "rougeL is 1.905 of 100"),
    "blind": (scored(fit=BLIND), "warn", "they fit their own references no better than those of other inputs"),
    "another set": (scored(name="test", empty=0.9), "bad", "of 40 texts of test at step 100, 90 % are empty"),
}


@pytest.mark.parametrize("name", RUINED)
def test_texts_of_no_use_are_said_though_the_score_rose(tmp_path, name):
    row, tone, words = RUINED[name]
    material = material_of(tmp_path, [BEGIN, *LEARNED, scored(), row, END])
    _, learned, _, change = said(material)
    assert learned.startswith("It learned, but its texts are ")
    assert words in learned
    assert "rougeL" in learned
    assert "eval_score rose from 2" in learned
    assert tones(material)[0] == tone
    assert tones(material)[2] == "warn"
    assert change.startswith(
        "See why texts are empty" if row["texts"]["empty"] else "Read its texts (Predictions, below)"
    )


FINE = {
    "sound": [scored()],
    "early": [scored(step=20, same=1.0, empty=1.0, rouge=0.0, fit=BLIND)],
    "mended": [scored(step=60, same=1.0, fit=BLIND), scored()],
    "as the references": [scored(same=0.6, shared=0.9, fit=BLIND | {"z": 2.0, "own": 0.3}, references={"same": 0.6})],
    "labels that follow their inputs": [scored(same=0.5, shared=1.0)],
    "too few": [scored(empty=1.0) | {"texts": {**scored(empty=1.0)["texts"], "n_inputs": 4}}],
    "no statistics": [{"kind": "text_scores", "step": 100, "name": "eval", "rougeL": 30.0}],
    "odd": [scored() | {"texts": [1]}, scored(name=None) | {"texts": {"n_inputs": "x"}}],
}


@pytest.mark.parametrize("name", FINE)
def test_sound_texts_and_those_of_the_begin_change_nothing(tmp_path, name):
    material = material_of(tmp_path, [BEGIN, *LEARNED, *FINE[name], END])
    assert said(material)[1].startswith("It learned: ")
    assert tones(material) == ["good", "good", "good"]


def test_of_the_weights_that_were_loaded_the_texts_are_judged(tmp_path):
    saves = [{"kind": "event", "event": "save", "step": s, "checkpoint": f"c-{s}"} for s in (60, 100)]
    config = {"load_best_model_at_end": True, "metric_for_best_model": "score", "greater_is_better": True}
    losses = evals(4.0, 3.0, 2.0, 1.5, 1.6, scores=(2.0, 10.0, 30.0, 25.0, 29.0))
    last = scored(empty=1.0)
    material = material_of(tmp_path, [BEGIN, *losses, scored(step=60), last, *saves, END], arguments=config)
    assert "its texts" not in said(material)[1]


def test_what_predict_gave_is_told(tmp_path):
    row = {"kind": "predict", "step": 100, "test_rougeL": 12.5, "test_loss": 1.25}
    assert said(material_of(tmp_path, [BEGIN, *LEARNED, END, row]))[1].endswith(
        "; predict() gave test_rougeL 12.5 and test_loss 1.25 at step 100."
    )


DUE = [
    ({"eval_strategy": "steps", "eval_steps": 20}, 10, "at step 20"),
    ({"eval_strategy": "steps", "eval_steps": 0.25}, 10, "at step 25"),
    ({"eval_strategy": "steps", "eval_steps": 20, "eval_delay": 50}, 30, "at step 60"),
    ({"eval_strategy": "epoch"}, 10, "at the end of epoch 1"),
    ({"eval_strategy": "steps", "eval_steps": 20}, 30, ""),
    ({"eval_strategy": "steps", "eval_steps": 20, "eval_on_start": True}, 10, ""),
    ({"eval_strategy": "no"}, 10, ""),
]


@pytest.mark.parametrize(("config", "step", "due"), DUE)
def test_when_the_first_evaluation_comes(tmp_path, config, step, due):
    row = {"kind": "train", "step": step, "loss": 2.0, "epoch": 0.2}
    assert first_evaluation(material_of(tmp_path, [BEGIN, row], arguments=config)) == due


def test_before_the_first_evaluation_nobody_is_told_to_evaluate_more(tmp_path):
    config, row = DUE[0][0], {"kind": "train", "step": 10, "loss": 2.0}
    material = material_of(tmp_path, [BEGIN, row], [process_identity()], arguments=config)
    _, learned, _, change = said(material)
    assert learned == "Whether it learned cannot be told: the first evaluation comes at step 20."
    assert change == "Wait for the first evaluation, at step 20."
    assert predictions(material) is None
    told = " ".join(gaps(material).sentences)
    assert "No predictions were recorded: the first evaluation was due at step 20." in told
    assert "No evaluation was made during the training: the first was due at step 20." in told
    assert "TextMetrics" not in told


def test_who_evaluates_by_steps_is_not_told_to(tmp_path):
    config = {"eval_strategy": "steps", "eval_steps": 80}
    change = said(material_of(tmp_path, [BEGIN, *evals(2.0, every=80), END], arguments=config))[3]
    assert "(smaller eval_steps, eval_on_start=True)" in change


def test_rules_that_say_the_same_stand_in_one_row_and_the_gaps_point_to_them(tmp_path):
    material = material_of(tmp_path, [BEGIN, *LEARNED, END])
    lack = {"verdict": "inconclusive", "sentence": "Nothing is known of a GPU.", "reason": "none was sampled"}
    of = {"severity": "info", "value": None, "unit": "", "n_samples": 0, "threshold": None, "evidence": {}}
    material.findings = [Finding(rule=rule, **of, **lack) for rule in ("memory_edge", "other_process")]
    judged = findings(material)
    assert [row[0] for row in judged.unknown.rows] == ["memory edge, other process"]
    assert judged.n_unknown == 2
    assert gaps(material).sentences[-1].startswith("2 rules could tell nothing")


@pytest.mark.parametrize(
    ("own", "machine_busy", "more", "told"),
    [
        (40.0, 100.0, {}, True),
        (190.0, 100.0, {}, False),
        (20.0, 45.0, {}, False),
        (40.0, 100.0, {"arguments": {"dataloader_num_workers": 2}}, False),
        (40.0, 100.0, {"devices": {"world_size": 2}}, False),
    ],
)
def test_a_processor_that_other_programs_used_is_said(tmp_path, own, machine_busy, more, told):
    rows = [
        {"time": 1.79e9 + i, "attempt": 1, "step": i, "phase": "train", "kind": "host"}
        | {"cpu_percent": machine_busy, "process_cpu_percent": own}
        for i in range(8)
    ]
    (tmp_path / "system.jsonl").write_bytes(b"".join(map(encode_row, rows)))
    notes = machine(material_of(tmp_path, [BEGIN, *LEARNED, END], [GONE], cpu_count=2, **more)).notes
    assert bool(notes) is told
    if told:
        assert "busy to 100 %: this process took 20 %, other programs 80 %." in notes[0]


def test_a_collapsed_text_is_shown_once_among_the_best_and_the_worst():
    rows = [
        {"prediction": "and and", "references": [f"ref {i}"], "input": f"in {i}", "rougeL": 50.0 + i} for i in range(30)
    ]
    rows += [{"prediction": f"text {i}", "references": ["r"], "input": "i", "rougeL": float(i)} for i in range(10)]
    best, worst = predictions(made(rows)).evaluations[0].groups
    assert labels(best) == ["29", "39", "38", "37", "36"]
    assert "29 other predictions are the same text" in best.samples[0].notes
    assert labels(worst) == ["30", "31", "32", "33", "34"]
    best, worst = predictions(made(rows[:30])).evaluations[0].groups
    assert (labels(best), labels(worst)) == (["29"], ["0"])


@pytest.mark.parametrize(
    ("left", "right", "marked"),
    [
        ("#Person2.....", "#Person1# is interviewing #Person2# now.", ["#", "...."]),
        ("Person2 left", "#Person2# left", []),
        ("#Person2# left", "#Person2# left", []),
        ("#Person2#", "#Person1#", ["#Person2#"]),
        ("# 1", "# 2", ["1"]),
    ],
)
def test_a_word_without_its_signs_is_the_word_of_the_reference(left, right, marked):
    found = diff_texts(left, right)
    assert [piece.text for piece in found.left if piece.kind == "differs"] == marked
    assert "".join(piece.text for piece in found.left) == left
    assert "".join(piece.text for piece in found.right) == right
    assert (found.shared == 1) is (left == right)


def test_tables_show_that_they_go_on_and_break_no_word():
    css = (Path(__file__).parents[2] / "hf_monitor/report/style.css").read_text()
    assert re.search(r"\.scroll \{[^}]*var\(--shade\), transparent\)[^}]*scroll", css)
    assert css.count("--shade:") == 2
    assert "@media screen { td, th { overflow-wrap: normal; } }" in css
