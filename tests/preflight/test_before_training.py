"""The whole checklist: of texts, of a Trainer, by hf-monitor check, by train_summarizer.py --check."""

import json
from importlib import util
from pathlib import Path

import pytest

from hf_monitor import RunWriter
from hf_monitor.cli import main
from hf_monitor.errors import InputError
from hf_monitor.preflight import check_before
from hf_monitor.preflight.configs import check_configs
from hf_monitor.preflight.data import read_part
from hf_monitor.preflight.overlapping import check_overlap

SCRIPT = Path(__file__).parents[2] / "scripts" / "train_summarizer.py"


@pytest.fixture
def rows(dialogues):
    """Sixty different samples, then twelve others: the text of a very short one would not count as the same."""

    def make(first, n):
        return [
            {"dialogue": f"{text} #Person1#: {number} {text}", "summary": f"{summary} {number}"}
            for number in range(first, first + n)
            for text, summary in [dialogues[number % len(dialogues)]]
        ]

    return make


@pytest.fixture
def arguments(tmp_path):
    from transformers import Seq2SeqTrainingArguments

    def make(**given):
        settings = {
            "output_dir": str(tmp_path / "out"), "report_to": "none", "use_cpu": True, "predict_with_generate": True,
            "logging_steps": 1, "save_steps": 5, "generation_max_length": 48, **given,
        }  # fmt: skip
        return Seq2SeqTrainingArguments(**settings)

    return make


def write(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def states(checklist):
    return {check.name: check.state for check in checklist}


def test_a_training_that_is_well_has_nothing_but_ok(rows, arguments, tokenizer, make_model, tmp_path):
    found = check_before(
        model=make_model(), tokenizer=tokenizer, train=rows(0, 60), evaluation=rows(60, 12), args=arguments(),
        max_source_length=400, max_target_length=64,
    )  # fmt: skip
    assert {name: state for name, state in states(found).items() if state != "ok"} == {
        "W&B": "skipped", "best checkpoint": "skipped", "memory": "skipped",
    }  # fmt: skip
    assert found.exit_code == 0
    assert "memory is not probed: the training runs on the CPU" in found["memory"].sentence
    assert list(tmp_path.iterdir()) == []


def test_evaluation_texts_that_are_trained_on_fail(rows, tokenizer, tmp_path):
    train = write(tmp_path / "train.jsonl", rows(0, 60))
    evaluation = {"validation": rows(55, 12), "test": [{"dialogue": row["dialogue"]} for row in rows(200, 12)]}
    found = check_before(train=train, evaluation=evaluation, tokenizer=tokenizer, gpu=False)
    assert found.exit_code == 1
    leak = found["overlap: validation data"]
    assert (leak.state, leak.evidence["n_shared_pairs"]) == ("failed", 5)
    assert found["overlap: test data"].state == "ok"
    assert "no summaries" in found["test data"].sentence


def test_each_reference_and_each_form_of_padding_is_compared():
    texts = [f"#Person1#: dialogue number {number} about a meeting" for number in range(40)]
    three = [
        {"dialogue": text, "summary1": f"One of {text}", "summary2": f"Two of {text}", "summary3": f"Three of {text}"}
        for text in texts
    ]

    def overlap(train, evaluation, name="training data"):
        found = check_overlap(read_part(name, train, targets_needed=True), read_part("test", evaluation), pad_id=0)
        return found.state, found.evidence["n_shared_pairs"]

    second = [{"dialogue": row["dialogue"], "summary": row["summary2"]} for row in three[:20]]
    assert overlap(second, three) == ("failed", 20)
    ids = [{"input_ids": [number] * 20 + [1], "labels": [number, 4, 1]} for number in range(5, 45)]
    padded = [{"input_ids": row["input_ids"] + [0] * 9, "labels": [*row["labels"], -100]} for row in ids]
    assert overlap(ids[:20], padded) == ("failed", 20)


def test_what_cannot_be_compared_is_no_ok():
    short = [{"dialogue": f"Is it {number}?", "summary": f"{number}"} for number in range(40)]
    train = read_part("training data", short, targets_needed=True)
    assert check_overlap(train, read_part("test data", short)).state == "failed"
    found = check_overlap(train, read_part("test data", [{"dialogue": row["dialogue"]} for row in short]))
    assert (found.state, "40 of 40" in found.sentence) == ("skipped", True)


def test_repeated_and_empty_samples_are_counted(rows):
    found = check_before(train=rows(0, 5) * 2 + [{"dialogue": "x", "summary": ""}], gpu=False)["training data"]
    assert found.state == "warning"
    assert (found.evidence["duplicates"], found.evidence["empty_targets"]) == (5, 1)


def test_what_is_not_given_is_skipped_and_said():
    found = check_before(gpu=False)
    assert set(states(found).values()) == {"skipped"}
    assert found["model and tokenizer"].sentence == "no model given."
    assert found["steps"].sentence == "no training arguments given."
    stream = check_before(train=iter([{"dialogue": "a"}]), gpu=False)["training data"]
    assert (stream.state, "would use it up" in stream.sentence) == ("skipped", True)


def test_data_in_other_forms_are_read_or_named(rows, tokenizer):
    from datasets import Dataset, DatasetDict, IterableDataset
    from torch.utils.data import Subset

    data = Dataset.from_list(rows(0, 20))
    found = check_before(train=DatasetDict(train=data, test=data), evaluation=Subset(data, [3, 4]), gpu=False)
    assert found["training data"].sentence == "the training data are a DatasetDict of train, test: pass one of them."
    assert found["evaluation data"].evidence["n"] == 2
    stream = check_before(train=IterableDataset.from_generator(lambda: iter(())), gpu=False)["training data"]
    assert stream.sentence.startswith("an IterableDataset is read by")
    labels = [{"input_ids": [5, 6, 1], "labels": None if number else [5, 1]} for number in range(4)]
    found = check_before(train=labels, tokenizer=tokenizer, gpu=False)
    assert found["tokenizer: ends"].evidence["ended"] == 1
    assert found["lengths"].state == "failed"
    assert "'labels' of row 1 is a NoneType" in found["lengths"].sentence


def test_wrong_data_are_failed_lines(tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"dialogue": "a", "summary": "b"}\n{"dialogue"\n')
    found = check_before(
        train=tmp_path / "bad.jsonl", evaluation=[{"question": "a", "answer": "b"}], source_column="dialogue", gpu=False
    )
    assert "line 2 of" in found["training data"].sentence
    assert (
        "column 'dialogue' is not in evaluation data (columns: question, answer)" in found["evaluation data"].sentence
    )
    assert found.exit_code == 1


def test_a_broken_tokenizer_keeps_no_other_check_from_being_done(rows, arguments, make_model):
    class Broken:
        def __len__(self):
            return 3

        def __getattr__(self, name):
            raise RuntimeError("no such thing")

    found = check_before(model=make_model(), tokenizer=Broken(), train=rows(0, 60), args=arguments())
    assert found["tokenizer"].sentence == "this could not be checked: RuntimeError: no such thing"
    assert found["disk"].state == found["steps"].state == "ok"


def test_a_trainer_is_enough(make_trainer, make_dataset):
    import torch

    trainer = make_trainer(logging_steps=1, metric_for_best_model="rougeL", train=make_dataset(8))
    weights = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    numbers = torch.get_rng_state()
    found = check_before(trainer)
    assert found["training data"].sentence == "8 samples, tokenized already."
    assert found["overlap"].state == "ok"  # the dialogues begin otherwise
    assert found["tokenizer: ends"].state == found["tokenizer: inputs"].state == "ok"
    assert found["best checkpoint"].state == "failed"
    assert found["steps"].evidence["steps"] == 4
    assert torch.equal(torch.get_rng_state(), numbers)
    assert all(torch.equal(weights[name], value) for name, value in trainer.model.state_dict().items())


def test_model_and_tokenizer_have_to_belong_together(tokenizer, make_model):
    model = make_model()

    def check(**changes):
        config, generation = model.config.__class__(**{**model.config.to_dict(), **changes}), model.generation_config
        return check_configs(config, generation, tokenizer)

    assert check().state == "ok"
    small = check(vocab_size=len(tokenizer) - 1)
    assert (small.state, "resize_token_embeddings" in small.suggestion) == ("failed", True)
    assert check(decoder_start_token_id=None).state == "failed"
    assert check(eos_token_id=2).state == "warning"
    assert "eos_token_id is 2 in the config and 1 in the tokenizer" in check(eos_token_id=2).sentence


def test_the_command_says_what_is_missing(rows, make_model, tokenizer, tmp_path, capsys):
    make_model().save_pretrained(tmp_path / "t5")
    tokenizer.save_pretrained(tmp_path / "t5")
    train = write(tmp_path / "train.jsonl", rows(0, 60))
    argv = ["check", "--model", str(tmp_path / "t5"), "--train_file", train, "--no_gpu", "--json"]
    argv += ["--output_dir", str(tmp_path / "out"), "--save_strategy", "epoch", "--logging_steps", "1"]
    assert main(argv) == 0
    found = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert found["model"]["sentence"].endswith("model.safetensors is there (it was not loaded).")
    assert found["disk"]["evidence"]["checkpoints"] == 3
    assert main([*argv, "--text_column", "dialogue", "--summary_column", "summary"]) == 0  # as errors name them
    capsys.readouterr()
    (tmp_path / "t5" / "model.safetensors").unlink()
    assert main([*argv, "--validation_file", str(tmp_path / "nowhere.csv")]) == 1
    found = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert found["model"]["state"] == found["evaluation data"]["state"] == "failed"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["check"], "there is nothing to check"),
        (["check", "run", "--train_file", "x"], "leave one of the two out"),
        (["check", "--output_dir", "o", "--save_strategy", "sometimes"], "sometimes"),
    ],
)
def test_wrong_usage_is_exit_code_2(argv, words, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    assert words in capsys.readouterr().err


def test_names_that_nobody_knows_are_told_with_those_that_are_near(tmp_path, capsys):
    argv = ["check", "--output_dir", str(tmp_path / "out"), "--no_gpu", "--json", "--report_to", "wnadb"]
    assert main([*argv, "--metric_for_best_model", "rogueL"]) == 1
    found = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert (found["report_to"]["state"], found["report_to"]["suggestion"]) == ("failed", "--report_to wandb")
    assert found["best checkpoint"]["state"] == "warning"
    assert "--metric_for_best_model rougeL" in found["best checkpoint"]["suggestion"]
    assert main([*argv[:5], "--metric_for_best_model", "my_own_f1"]) == 0
    found = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert found["best checkpoint"]["state"] == "ok"


def test_fp16_without_a_look_at_the_gpu_is_told(arguments):
    assert check_before(args=arguments(use_cpu=False, fp16=True), gpu=False)["GPU"].state == "warning"
    assert check_before(args=arguments(fp16=True), gpu=False)["GPU"].state == "failed"
    assert check_before(args=arguments(), gpu=False)["GPU"].state == "ok"


def test_an_old_run_folder_is_no_output_folder(arguments, tmp_path):
    writer = RunWriter(tmp_path / "old" / "monitor")
    writer.begin_attempt({})
    writer.event("train_begin", 0)
    writer.close()
    found = check_before(args=arguments(output_dir=str(tmp_path / "old" / "monitor")), gpu=False)["earlier training"]
    assert (found.state, found.suggestion.endswith(f"is {str(tmp_path / 'old')!r}.")) == ("warning", True)


def test_data_that_cannot_be_read_are_not_said_to_be_missing(arguments, tokenizer, tmp_path):
    found = check_before(train=tmp_path / "nowhere.jsonl", tokenizer=tokenizer, args=arguments(), gpu=False)
    assert {found[name].sentence for name in ("overlap", "steps")} == {
        "the training data could not be read, see above."
    }
    assert found["lengths"].sentence == "no data could be read, see above."


def test_what_is_no_trainer_is_refused():
    with pytest.raises(InputError, match=r"must be a Trainer, got 3 \(int\)"):
        check_before(3)


@pytest.fixture(scope="module")
def script():
    spec = util.spec_from_file_location("train_summarizer_check", SCRIPT)
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_script_checks_what_it_would_train_and_leaves_nothing(script, rows, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "train.jsonl", rows(0, 60))
    write(tmp_path / "dev.jsonl", rows(60, 12))
    before = sorted(tmp_path.rglob("*"))
    argv = ["--check", "--use_cpu", "--train_file", "train.jsonl", "--max_train_samples", "50", "--save_strategy", "no"]
    assert script.main([*argv, "--validation_file", "dev.jsonl", "--metric_for_best_model", "rougeL"]) == 0
    said = capsys.readouterr().out
    assert "50 samples (dialogue -> summary)" in said
    assert "'rougeL' chooses the best checkpoint." in said
    assert script.main([*argv, "--validation_file", "nowhere.jsonl", "--metric_for_best_model", "rogue"]) == 1
    said = capsys.readouterr().out
    assert "'nowhere.jsonl' is no file that exists." in said
    assert "'rogue' is none of the metrics of an evaluation: loss, rouge1" in " ".join(said.split())
    assert sorted(tmp_path.rglob("*")) == before


def test_a_batch_is_really_tried_where_there_is_a_device_to_try_it_on(arguments, make_model, make_dataset, tokenizer):
    from transformers import DataCollatorForSeq2Seq

    from hf_monitor.preflight.memory import try_batch

    model = make_model()
    args = arguments(per_device_train_batch_size=4, predict_with_generate=False)
    tokenized = {"tokenized": make_dataset(8), "collator": DataCollatorForSeq2Seq(tokenizer, model=model)}
    fits = try_batch(model, args, "cpu", **tokenized)
    assert (fits.state, fits.evidence["fits"]) == ("ok", 4)
    none = try_batch(model, args, "cpu", source_length=32, target_length=16, memory_limit=2**12)
    assert (none.state, "not even one sample fits" in none.sentence) == ("failed", True)


@pytest.mark.parametrize(
    ("fitting", "evaluated", "state", "suggestion"),
    [
        (8, 8, "ok", ""),
        (3, 8, "failed", "--per_device_train_batch_size 3;"),
        (8, 2, "failed", "--per_device_eval_batch_size 2;"),
        (8, None, "ok", ""),
    ],
)
def test_what_a_probe_found_is_compared_with_what_is_set(fitting, evaluated, state, suggestion, arguments, monkeypatch):
    from types import SimpleNamespace

    from hf_monitor.auto_batch import probe
    from hf_monitor.preflight.memory import try_batch

    asked = {}

    def found(model, device, **given):
        asked.update(given)
        return SimpleNamespace(batch_size=fitting, evaluation=evaluated and SimpleNamespace(batch_size=evaluated))

    monkeypatch.setattr(probe, "probe_batch_size", found)
    args = arguments(per_device_train_batch_size=8, per_device_eval_batch_size=8, generation_num_beams=4)
    check = try_batch(None, args, "cuda:0", source_length=32, target_length=16)
    assert check.state == state
    assert check.suggestion.startswith(suggestion)
    assert (asked["max_batch_size"], asked["source_length"], asked["target_length"]) == (8, 32, 16)
    assert asked["evaluation"] == {"generation_max_length": 48, "num_beams": 4, "max_batch_size": 8}
