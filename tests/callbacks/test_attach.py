import functools
import gc
import json
import math
import sys

import orjson
import pytest
from transformers import TrainerCallback

from hf_monitor import FileLoggingCallback, TextMetrics, attach, default_callbacks, load_run
from hf_monitor.errors import InputError, RunFolderError
from hf_monitor.metrics import score_texts


def strip(row):
    return {key: value for key, value in row.items() if key not in ("time", "attempt", "kind")}


def test_one_line_and_the_run_records_itself(make_trainer, tokenizer, tmp_path):
    trainer = make_trainer(
        compute_metrics=TextMetrics(tokenizer), eval_on_start=True, save_strategy="steps", save_steps=4
    )
    monitor = attach(trainer)
    result = trainer.train()

    assert monitor.run_dir == tmp_path / "out" / "monitor"
    run = load_run(tmp_path / "out")
    assert run.status == "finished"
    # Every value that the Trainer logged, once, in order, with the value it had.
    logged = [row for row in run.rows if row["kind"] in ("train", "eval", "train_summary")]
    assert [strip(row) for row in logged] == trainer.state.log_history
    assert [row["step"] for row in run.rows.of("eval")] == [0, 2, 4]
    assert run.rows.of("train_summary")[0]["train_loss"] == result.training_loss
    events = [row["event"] for row in run.events]
    assert events == ["train_begin", "data_overlap", "save", "checkpoint", "train_end"]

    facts = run.facts
    assert facts["seed"] == 7
    assert facts["precision"] == "fp32"
    assert facts["model"]["class"] == "T5ForConditionalGeneration"
    assert facts["model"]["n_parameters"] == sum(p.numel() for p in trainer.model.parameters())
    assert facts["data"]["train"]["n_samples"] == 8
    assert len(facts["data"]["eval"]["fingerprint"]) == 16
    assert facts["arguments"]["per_device_train_batch_size"] == 2
    assert facts["text_metrics"]

    assert sorted(path.name for path in (monitor.run_dir / "plots").iterdir()) == [
        "06_training_history.png",
        "07_loss_comparison.png",
    ]
    log = (monitor.run_dir / "train.log").read_text(encoding="utf-8")
    for text in ("training begins", "step 1/4  loss ", "step 4/4  evaluation  eval_loss", "checkpoint saved", "ended"):
        assert text in log
    assert "{'loss'" not in log  # the Trainer's own print of the same values is not there a second time


@pytest.mark.no_cover
def test_predictions_are_those_that_were_scored(make_trainer, tokenizer):
    trainer = make_trainer(compute_metrics=TextMetrics(tokenizer))
    monitor = attach(trainer)
    trainer.train()
    run = monitor.run()
    last = [row for row in run.predictions if row["step"] == 4]
    assert [row["index"] for row in last] == list(range(5))
    assert {row["name"] for row in last} == {"eval"}
    assert last[0]["input"].startswith("#Person1#: 안녕하세요.")
    again = score_texts([row["prediction"] for row in last], [row["references"] for row in last])
    (evaluation,) = [row for row in run.rows.of("eval") if row["step"] == 4]
    for key in ("rouge1", "rouge2", "rougeL", "rougeLsum", "bleu", "score"):
        assert evaluation[f"eval_{key}"] == pytest.approx(again[key], abs=1e-9)
    scores = run.rows.of("text_scores")
    assert [row["n_samples"] for row in scores] == [5, 5]
    assert scores[-1]["best"]["value"] == max(row["score"] for row in scores)
    texts = scores[-1]["texts"]
    assert (texts["n"], texts["n_distinct"]) == (5, len({" ".join(row["prediction"].split()) for row in last}))
    assert texts["at_limit"] == 1.0  # a model without training does not end a text in 20 tokens
    assert texts["references"]["at_limit"] == 0.0


@pytest.mark.no_cover
def test_the_result_of_the_training_is_the_same_bit_for_bit(make_trainer, make_model, tokenizer, tmp_path):
    import torch

    weights = []
    for name, record in (("plain", False), ("recorded", True)):
        trainer = make_trainer(
            model=make_model(3), compute_metrics=TextMetrics(tokenizer), output_dir=tmp_path / name, max_steps=6
        )
        if record:
            attach(trainer)
        trainer.train()
        weights.append(
            (
                trainer.model.state_dict(),
                [{k: v for k, v in row.items() if "loss" in k or "rouge" in k} for row in trainer.state.log_history],
            )
        )
    assert weights[0][1] == weights[1][1]
    assert all(torch.equal(weights[0][0][key], weights[1][0][key]) for key in weights[0][0])


def test_evaluate_alone_and_predict_alone(make_trainer, make_dataset, tokenizer):
    trainer = make_trainer(compute_metrics=TextMetrics(tokenizer))
    monitor = attach(trainer)
    metrics = trainer.evaluate()
    trainer.predict(make_dataset(3))
    run = monitor.run()
    assert [row["kind"] for row in run.rows] == ["eval", "text_scores", "predict", "text_scores"]
    assert run.rows[0]["eval_rougeL"] == metrics["eval_rougeL"]
    assert "test_rougeL" in run.rows[2]
    assert [(row["name"], row["index"]) for row in run.predictions] == [("eval", i) for i in range(5)] + [
        ("test", i) for i in range(3)
    ]
    assert run.facts["arguments"]["seed"] == 7
    assert len(run.attempts) == 1


@pytest.mark.no_cover
@pytest.mark.usefixtures("no_pictures")
def test_several_evaluation_sets_and_a_prefix_of_the_users(make_trainer, make_dataset, tokenizer):
    trainer = make_trainer(
        compute_metrics=TextMetrics(tokenizer), evaluation={"ko": make_dataset(2), "en": make_dataset(3)}
    )
    monitor = attach(trainer)
    trainer.train()
    trainer.evaluate(make_dataset(4), metric_key_prefix="final")
    run = monitor.run()
    (merged,) = [row for row in run.metrics.of("eval") if row["step"] == 2]
    assert {"eval_ko_rougeL", "eval_en_rougeL"} <= merged.keys()
    names = [(row["step"], row["name"]) for row in run.predictions]
    assert names.count((4, "eval_ko")) == 2
    assert names.count((4, "eval_en")) == 3
    assert names.count((4, "final")) == 4
    assert {row["best"]["name"] for row in run.rows.of("text_scores") if row["step"] == 2} == {"eval_ko"}


@pytest.mark.no_cover
@pytest.mark.usefixtures("no_pictures")
def test_training_twice_is_two_attempts(make_trainer, tokenizer):
    trainer = make_trainer(compute_metrics=TextMetrics(tokenizer))
    monitor = attach(trainer)
    trainer.evaluate()
    trainer.train()
    trainer.evaluate()
    trainer.train()
    run = monitor.run()
    once = ["train_begin", "data_overlap", "train_end"]
    assert [(row["attempt"], row["event"]) for row in run.events] == [(n, event) for n in (1, 2) for event in once]
    assert run.status == "finished"
    assert len(run.attempts) == 2
    second = [strip(row) for row in run.metrics if row["kind"] in ("train", "train_summary")]
    assert second == [row for row in trainer.state.log_history if "loss" in row or "train_loss" in row]


@pytest.mark.no_cover
def test_auto_find_batch_size_begins_again_in_a_new_attempt(make_trainer, make_model):
    model = make_model()
    forward = model.forward

    @functools.wraps(forward)
    def small_card(input_ids=None, **kwargs):
        if input_ids.shape[0] > 3:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(input_ids=input_ids, **kwargs)

    model.forward = small_card
    write = sys.stdout.write
    trainer = make_trainer(
        model=model, per_device_train_batch_size=8, auto_find_batch_size=True, eval_strategy="no", max_steps=2
    )
    monitor = attach(trainer)
    trainer.train()
    run = monitor.run()
    assert run.status == "finished"
    begins = [row for row in run.events if row["event"] == "train_begin"]
    assert len(begins) >= 2
    assert run.rows[-1]["attempt"] == len(begins)
    log = (monitor.run_dir / "train.log").read_text(encoding="utf-8")
    assert log.count("step 1/2  loss") == 1
    assert sys.stdout.write == write  # however often it began, the console is given back


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("bad batch 7"), "crashed"), (KeyboardInterrupt(), "interrupted")]
)
def test_an_error_is_recorded_and_goes_on_to_the_user(make_trainer, make_model, error, status, capsys):
    model = make_model()
    forward, calls = model.forward, []

    @functools.wraps(forward)  # the Trainer reads the names of its arguments
    def failing(*args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            raise error
        return forward(*args, **kwargs)

    model.forward = failing
    trainer = make_trainer(model=model, eval_strategy="no")
    monitor = attach(trainer)
    write = sys.stdout.write
    with pytest.raises(type(error)):
        trainer.train()
    assert sys.stdout.write == write  # the console is given back
    run = monitor.run()
    assert run.status == status
    assert [row["step"] for row in run.rows.of("train")] == [1, 2, 3]
    (event,) = [row for row in run.events if row["event"] == "error"]
    assert event["type"] == type(error).__name__
    assert event["step"] == 3
    assert "failing" in event["traceback"]
    log = (monitor.run_dir / "train.log").read_text(encoding="utf-8")
    assert "training stopped at step 3" in log
    assert ("Traceback" in log) == (status == "crashed")
    assert not log.endswith("ERROR\n")  # no empty line behind the traceback
    assert (monitor.run_dir / "plots" / "06_training_history.png").exists()


@pytest.mark.usefixtures("no_pictures")
def test_an_evaluation_of_the_best_weights_after_the_training_says_so(make_trainer, make_model, tokenizer):
    falling = iter((3, 2, 1))
    trainer = make_trainer(
        compute_metrics=TextMetrics(tokenizer, extra={"falls": lambda predictions, references: next(falling)}),
        learning_rate=0.1,
        save_strategy="steps",
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="falls",
        greater_is_better=True,
    )
    monitor = attach(trainer)
    trainer.train()
    measured = [row["eval_loss"] for row in trainer.state.log_history if "eval_loss" in row]
    assert trainer.state.best_global_step == 2
    trainer.evaluate()
    run = monitor.run()
    rows = [(row["step"], row.get("weights_step"), row["eval_loss"]) for row in run.metrics.of("eval")]
    assert rows == [(2, None, measured[0]), (4, None, measured[1]), (4, 2, pytest.approx(measured[0]))]
    assert run.best("eval_falls") == (3, 2, 1)
    assert {(row["step"], row.get("weights_step")) for row in run.predictions} == {(2, None), (4, None), (4, 2)}
    assert "step 4/4  evaluation (weights of step 2)  eval_loss" in (monitor.run_dir / "train.log").read_text()


def test_within_the_monitor_all_of_the_console_is_in_the_log(make_trainer, capsys):
    trainer = make_trainer(max_steps=1, eval_strategy="no")
    write = sys.stdout.write
    with attach(trainer) as monitor:
        print("before the training")
        trainer.train()
        trainer.evaluate()
        print("after it")
    print("not mine any more")
    assert sys.stdout.write == write
    log = (monitor.run_dir / "train.log").read_text()
    for line in ("before the training", "after it"):
        assert log.count(line) == 1
    assert "not mine" not in log
    assert log.count("eval_loss") == 1  # the Trainer's own print of the same values is no second line
    assert len(monitor.run().attempts) == 1


def test_secrets_in_console_output_and_errors_do_not_reach_the_log(make_trainer, make_model):
    secret = "hf_" + "aB3" * 11
    trainer = make_trainer(eval_strategy="no")

    class Chatty(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            print("logged in with", secret)
            raise RuntimeError(f"refused: {secret}")

    trainer.add_callback(Chatty())
    monitor = attach(trainer)
    with pytest.raises(RuntimeError):
        trainer.train()
    written = b"".join(path.read_bytes() for path in monitor.run_dir.rglob("*") if path.is_file())
    assert b"logged in with ***" in written
    assert secret.encode() not in written


def test_a_subclass_of_ours_is_taken_for_ours(make_trainer, tmp_path):
    class Mine(FileLoggingCallback):
        pass

    trainer = make_trainer(callbacks=[Mine(tmp_path / "run")], eval_strategy="no")
    monitor = attach(trainer)
    trainer.train()
    assert (monitor.run_dir / "train.log").read_text().count("step 1/4  loss") == 1


@pytest.mark.no_cover
@pytest.mark.usefixtures("no_pictures")
def test_facts_tell_the_weights_type_and_no_token_where_there_is_none(make_trainer, make_model):
    import torch

    trainer = make_trainer(model=make_model().to(torch.bfloat16), eval_strategy="no", max_steps=1)
    monitor = attach(trainer)
    trainer.train()
    facts = monitor.run().facts
    assert facts["precision"] == "bf16"
    assert facts["arguments"]["hub_token"] is None
    trainer = make_trainer(eval_strategy="no", max_steps=1, hub_token="correct-horse")
    assert attach(trainer).run_dir == monitor.run_dir
    trainer.train()
    facts = monitor.run().facts
    assert (facts["precision"], facts["arguments"]["hub_token"]) == ("fp32", "***")


def test_facts_tell_the_optimizer_that_steps_and_the_rate_that_it_warms_up_to(make_trainer):
    import torch

    trainer = make_trainer(eval_strategy="no", max_steps=1, warmup_steps=5)
    first, second, *others = trainer.model.parameters()
    groups = [{"params": weights, "lr": rate} for weights, rate in (([first], 0.1), ([second], 0.2), (others, 0.1))]
    trainer.optimizer = torch.optim.SGD(groups)
    monitor = attach(trainer)
    trainer.train()
    assert monitor.run().facts["optimizer"] == {"class": "SGD", "learning_rates": [0.1, 0.2]}


def test_the_precision_of_accelerate_launch_is_recorded_and_an_overflow_is_no_alarm(tmp_path, monkeypatch):
    import math

    from transformers import TrainingArguments

    from hf_monitor.callbacks._facts import training_facts
    from hf_monitor.diagnosis.watcher import Watcher

    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    facts = training_facts(TrainingArguments(str(tmp_path), report_to="none", use_cpu=True), None, None, None)
    assert (facts["precision"], facts["mixed_precision"], facts["arguments"]["fp16"]) == ("fp16", "fp16", False)
    overflow = {"kind": "train", "step": 1, "loss": 2.0, "grad_norm": math.inf}
    assert Watcher(facts).see(overflow) == []
    assert [finding.rule for finding in Watcher(facts | {"mixed_precision": "bf16"}).see(overflow)] == ["nan"]


def test_secrets_that_came_after_the_first_training(make_trainer, monkeypatch, tmp_path):
    class Careless(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            print("logged in as", args.hub_token, "with next-environment-secret")

    monkeypatch.setenv("FOLDER_SECRET", "secret-of-a-folder")
    settings = {"eval_strategy": "no", "save_strategy": "steps", "save_steps": 1, "max_steps": 1}
    folder = tmp_path / "with-secret-of-a-folder"
    trainer = make_trainer(**settings, hub_token="first-argument-secret", output_dir=folder)
    monitor = attach(trainer)
    trainer.add_callback(Careless())
    trainer.train()
    trainer.args.hub_token = "next-argument-secret"
    monkeypatch.setenv("MY_TOKEN", "next-environment-secret")
    trainer.train()
    log = (monitor.run_dir / "train.log").read_text()
    assert "logged in as *** with next-environment-secret" in log  # no secret yet
    assert "logged in as *** with ***" in log
    assert "argument-secret" not in log
    assert "secret-of-a-folder" not in (folder / "checkpoint-1" / "hf_monitor.json").read_text()


def test_one_changed_sample_changes_the_fingerprint():
    from datasets import Dataset

    from hf_monitor.callbacks._facts import data_facts

    rows = [{"text": f"대화 {i}", "input_ids": [i, i + 1], "score": i / 7 if i % 3 else None} for i in range(3000)]
    known = data_facts(Dataset.from_list(rows))["fingerprint"]
    assert data_facts(Dataset.from_list(rows))["fingerprint"] == known
    assert data_facts(Dataset.from_list(rows + rows).select(range(3000)))["fingerprint"] == known
    assert data_facts(Dataset.from_list(rows[::-1]).select(range(2999, -1, -1)))["fingerprint"] == known
    for column, value in (("text", "x"), ("input_ids", [1]), ("input_ids", [1234, 5]), ("score", 0.5), ("score", 0.0)):
        changed = [dict(row) for row in rows]
        changed[1500][column] = value
        assert data_facts(Dataset.from_list(changed))["fingerprint"] != known
    assert data_facts(rows)["fingerprint"] != data_facts(rows[:-1] + rows[:1])["fingerprint"]


def test_the_fingerprint_sees_every_type_of_column():
    import datetime

    from datasets import Array2D, ClassLabel, Dataset, Features, Value
    from datasets import Sequence as Many

    from hf_monitor.callbacks._facts import data_facts

    columns = {
        "label": (ClassLabel(names=["a", "b"]), 0, 1),
        "struct": ({"a": Value("int32"), "b": Value("string")}, {"a": 1, "b": "x"}, {"a": 1, "b": "y"}),
        "fixed": (Many(Value("float32"), length=2), [1, 2], [1, 3]),
        "matrix": (Array2D((2, 2), "float32"), [[1, 2], [3, 4]], [[1, 2], [3, 5]]),
        "time": (Value("timestamp[s]"), datetime.datetime(2020, 1, 1), datetime.datetime(2021, 1, 1)),
        "bytes": (Value("binary"), b"\xff\x81", b"\xfe\x82"),
        "flag": (Value("bool"), True, False),
        "nothing": (Value("null"), None, None),
    }
    features = Features({name: column[0] for name, column in columns.items()})
    rows = [{name: column[1] for name, column in columns.items()} for _ in range(3)]
    known = data_facts(Dataset.from_list(rows, features=features))["fingerprint"]
    for name, (_, _, other) in columns.items():
        changed = [*rows[:2], {**rows[2], name: other}]
        same = data_facts(Dataset.from_list(changed, features=features))["fingerprint"] == known
        assert same == (name == "nothing"), name


@pytest.mark.no_cover
def test_the_fingerprint_of_what_is_large_is_of_a_part_and_says_so(monkeypatch):
    from datasets import Dataset

    from hf_monitor.callbacks import _fingerprint
    from hf_monitor.callbacks._facts import data_facts

    tensors = [{"x": [0.5] * 100_000} for _ in range(50)]
    assert data_facts(tensors)["fingerprint_samples"] < 50
    monkeypatch.setattr(_fingerprint, "_WHOLE_BYTES", 40_000)
    large = Dataset.from_dict({"x": list(range(10_000))})
    assert data_facts(large)["fingerprint_samples"] == 1000
    alone = data_facts(Dataset.from_dict({"x": list(range(0, 10_000, 5))}))
    assert "fingerprint_samples" not in alone
    assert data_facts(large.select(range(0, 10_000, 5))) == alone  # a selection is what it holds


@pytest.mark.no_cover
@pytest.mark.usefixtures("no_pictures")
def test_other_data_in_the_folder_of_an_earlier_run_is_said(make_trainer, make_dataset):
    for n_samples, said in ((8, 0), (8, 0), (6, 1)):
        trainer = make_trainer(train=make_dataset(n_samples), eval_strategy="no", max_steps=1)
        monitor = attach(trainer)
        trainer.train()
        log = (monitor.run_dir / "train.log").read_text()
        assert log.count("holds an earlier run with other data: this is attempt 3 of the same run") == said


@pytest.mark.usefixtures("no_pictures")
def test_an_evaluation_before_the_training_does_not_hide_that_the_data_are_others(make_trainer, make_dataset):
    first = make_trainer(eval_strategy="no", max_steps=1)
    attach(first)
    first.train()
    del first  # as if in a process of its own: nothing is known but what is on disk
    gc.collect()
    trainer = make_trainer(train=make_dataset(6), eval_strategy="no", max_steps=1)
    monitor = attach(trainer)
    trainer.evaluate()
    trainer.train()
    run = monitor.run()
    assert [entry.get("facts", {}).get("data", {}).get("train", {}).get("n_samples") for entry in run.attempts] == [
        8,
        None,
    ]
    assert run.facts["data"]["train"]["n_samples"] == 6
    assert "earlier run with other data" in (monitor.run_dir / "train.log").read_text()


@pytest.mark.no_cover
def test_another_trainer_in_the_same_folder_has_weights_of_its_own(make_trainer):
    trained = make_trainer(eval_strategy="no")
    attach(trained)
    trained.train()
    fresh = make_trainer()
    monitor = attach(fresh)
    fresh.evaluate()
    trained.evaluate()
    rows = [(row["step"], row["standalone"], row.get("weights_step")) for row in monitor.run().rows.of("eval")]
    assert rows == [(0, True, None), (4, True, 4)]


@pytest.mark.no_cover
def test_a_training_within_another_leaves_that_ones_log_alone(make_trainer, tmp_path):
    inner = make_trainer(eval_strategy="no", max_steps=1, output_dir=tmp_path / "inner")
    attach(inner)

    class Teaches(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 1:
                inner.train()
            print(f"outer step {state.global_step} done")

    outer = make_trainer(eval_strategy="no", max_steps=3, callbacks=[Teaches()])
    monitor = attach(outer)
    outer.train()
    log = (monitor.run_dir / "train.log").read_text()
    assert [log.count(f"outer step {step} done") for step in (1, 2, 3)] == [1, 1, 1]


def test_a_run_folder_deleted_between_two_trainings_is_made_anew(make_trainer, tokenizer):
    import shutil

    keep = []
    for _ in range(2):
        trainer = make_trainer(compute_metrics=TextMetrics(tokenizer), max_steps=2)
        monitor = attach(trainer)
        trainer.train()
        run = monitor.run()
        assert [row["step"] for row in run.rows.of("train")] == [1, 2]
        assert len(run.predictions) == 5
        assert (len(run.attempts), run.status) == (1, "finished")
        assert "step 2/2  loss" in (monitor.run_dir / "train.log").read_text()
        keep.append(monitor)  # as a notebook does
        shutil.rmtree(monitor.run_dir)


def test_references_of_the_data_set_take_the_place_of_the_labels(make_trainer, make_dataset, tokenizer):
    references = [["first text", "second text"], ["only one"], ["a", "b", "c"]]
    trainer = make_trainer(compute_metrics=TextMetrics(tokenizer), evaluation=make_dataset(3, references=references))
    monitor = attach(trainer)
    trainer.evaluate()
    assert [row["references"] for row in monitor.run().predictions] == references


def test_references_given_by_hand_count_more_than_a_column(make_trainer, make_dataset, tokenizer):
    mine = ["one", "two", "three"]
    trainer = make_trainer(
        compute_metrics=TextMetrics(tokenizer, references={"eval": mine}),
        evaluation=make_dataset(3, references=[["a"], ["b"], ["c"]]),
    )
    monitor = attach(trainer)
    trainer.evaluate()
    assert [row["references"] for row in monitor.run().predictions] == [[text] for text in mine]


def test_metrics_within_a_function_of_the_users(make_trainer, tokenizer):
    text_metrics = TextMetrics(tokenizer)
    trainer = make_trainer(compute_metrics=lambda p: {**text_metrics(p), "mine": 1.0})
    monitor = attach(trainer, text_metrics=text_metrics)
    trainer.evaluate()
    (row,) = monitor.run().rows.of("eval")
    assert row["eval_mine"] == 1.0
    assert [line["index"] for line in monitor.run().predictions] == list(range(5))
    assert monitor.run().predictions[0]["input"]


def test_metrics_given_to_the_trainer_after_attach(make_trainer, tokenizer):
    trainer = make_trainer()
    monitor = attach(trainer)
    trainer.compute_metrics = TextMetrics(tokenizer)
    trainer.evaluate()
    assert len(monitor.run().predictions) == 5


@pytest.mark.no_cover
def test_default_callbacks_do_the_same_without_attach(make_trainer, tokenizer, tmp_path):
    metrics = TextMetrics(tokenizer)
    trainer = make_trainer(compute_metrics=metrics, callbacks=default_callbacks(tmp_path / "run", text_metrics=metrics))
    trainer.train()
    trainer.predict(trainer.eval_dataset)
    run = load_run(tmp_path / "run")
    assert run.status == "finished"
    assert [strip(row) for row in run.rows if row["kind"] in ("train", "eval", "train_summary")] == (
        trainer.state.log_history
    )
    assert {row["name"] for row in run.predictions} == {"eval", "test"}
    assert len(run.predictions) == 15
    assert (tmp_path / "run" / "plots" / "07_loss_comparison.png").exists()


@pytest.mark.no_cover
def test_attach_after_explicit_callbacks_adds_nothing_twice(make_trainer, tokenizer, tmp_path):
    metrics = TextMetrics(tokenizer)
    trainer = make_trainer(compute_metrics=metrics, callbacks=[FileLoggingCallback(tmp_path / "mine")])
    monitor = attach(trainer)
    assert monitor.run_dir == tmp_path / "mine"
    assert attach(trainer) is monitor
    trainer.train()
    run = monitor.run()
    assert [row["step"] for row in run.rows.of("train")] == [1, 2, 3, 4]
    assert len(run.predictions) == 10


@pytest.mark.no_cover
def test_a_trainer_without_text_metrics_is_recorded_too(make_trainer):
    trainer = make_trainer(predict_with_generate=False)
    monitor = attach(trainer)
    trainer.train()
    assert monitor.run().status == "finished"
    assert not (monitor.run_dir / "predictions.jsonl").exists()


@pytest.mark.no_cover
def test_a_plain_trainer_and_metrics_of_the_users_own(make_trainer):
    from transformers import Trainer, TrainingArguments

    base = make_trainer()
    arguments = TrainingArguments(
        str(base.args.output_dir), max_steps=2, logging_steps=1, report_to="none", use_cpu=True, disable_tqdm=True
    )
    trainer = Trainer(
        base.model,
        arguments,
        train_dataset=base.train_dataset,
        eval_dataset=base.eval_dataset,
        data_collator=base.data_collator,
        compute_metrics=lambda prediction: {"mine": 1.0},
    )
    monitor = attach(trainer)
    trainer.train()
    trainer.evaluate()
    assert monitor.run().best("eval_mine").value == 1.0


@pytest.mark.usefixtures("no_pictures")
def test_a_nan_is_on_disk_as_nan_in_strict_json(make_trainer, make_model):
    trainer = make_trainer(eval_strategy="no", max_steps=2)
    monitor = attach(trainer)
    trainer.train()
    trainer.log({"mine": float("nan"), "step": 5})
    row = monitor.run().rows[-1]
    assert row["kind"] == "log"
    assert math.isnan(row["mine"])
    assert row["step_"] == 5
    for line in (monitor.run_dir / "metrics.jsonl").read_bytes().splitlines():
        json.loads(line, parse_constant=pytest.fail)
        orjson.loads(line)


def test_wrong_input_is_refused_with_what_to_do(make_trainer, tmp_path):
    with pytest.raises(InputError, match="takes the TextMetrics that your compute_metrics calls, got str"):
        attach(make_trainer(), text_metrics="rouge")
    for run_dir in ("", 5):
        with pytest.raises(InputError, match=r"must be the path of a folder, got"):
            attach(make_trainer(), run_dir=run_dir)
    with pytest.raises(InputError, match="needs a transformers Trainer, got dict"):
        attach({})
    trainer = make_trainer()
    attach(trainer, tmp_path / "a")
    with pytest.raises(InputError, match="already records to"):
        attach(trainer, tmp_path / "b")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot be written"):
        attach(make_trainer(), tmp_path / "file" / "run")


@pytest.mark.usefixtures("no_pictures")
def test_missing_scores_name_the_metric_that_the_trainer_waits_for(make_trainer, tokenizer, caplog):
    trainer = make_trainer(
        compute_metrics=TextMetrics(tokenizer),
        predict_with_generate=False,
        metric_for_best_model="rougeL",
        greater_is_better=True,
    )
    attach(trainer)
    with pytest.raises(KeyError, match="eval_rougeL"):
        trainer.train()
    messages = [record.getMessage() for record in caplog.records if record.name == "hf_monitor"]
    assert len(messages) == 1
    assert "predict_with_generate" in messages[0]
    assert "metric_for_best_model='rougeL'" in messages[0]
