"""The script from its arguments to what it leaves on disk: real trainings, a few steps of very small models."""

import csv
import json
import signal
import subprocess
import sys
import time
from importlib import util
from pathlib import Path

import pytest
import untraced

from hf_monitor.report import report_html

SCRIPT = Path(__file__).parents[2] / "scripts" / "train_summarizer.py"
SMALL = ["--use_cpu", "--disable_tqdm", "true", "--max_target_length", "12"]
TEXTS = [
    ("#Person1#: 안녕하세요. #Person2#: 내일 회의는 세 시입니다.", "#Person2#는 회의 시간을 알린다."),
    ("#Person1#: Hello. #Person2#: The meeting is at three.", "#Person2# tells the time of the meeting."),
    ("#Person1#: 점심 먹었어요? #Person2#: 아직 안 먹었어요.", "#Person2#는 점심을 먹지 않았다."),
    ("#Person1#: Did you eat? #Person2#: Not yet, let us go.", "They will go to eat."),
]
EVERY = ["01_prediction_distribution.png", "02_confidence.png", "03_sample_comparison.png", "04_error_cases.png"]
OLD_NAME = "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"  # asked for by peft 0.21


@pytest.fixture(scope="module")
def script():
    spec = util.spec_from_file_location("train_summarizer", SCRIPT)
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def train(script, tmp_path, monkeypatch):
    """Run the script's main() in this process, writing to `out`."""
    monkeypatch.chdir(tmp_path)

    def run(*argv):
        saving = [] if "--save_strategy" in argv else ["--save_strategy", "no"]
        return script.main([*argv, *SMALL, *saving, "--output_dir", "out"])

    return run


def write_rows(path, rows):
    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def files(tmp_path):
    """A JSONL to train on, and a CSV with three references under another name for the text."""
    train = [{"id": i, "dialogue": d, "summary": s} for i, (d, s) in enumerate(TEXTS * 4)]
    dev = [{"document": d, "summary1": s, "summary2": d, "summary3": f"{s} x"} for d, s in TEXTS]
    return {
        "train": write_rows(tmp_path / "train.jsonl", train),
        "dev": write_rows(tmp_path / "dev.csv", dev),
        "test": write_rows(tmp_path / "test.csv", [{"dialogue": d} for d, _ in TEXTS[:3]]),
    }


@pytest.fixture
def t5(make_model, tokenizer, tmp_path):
    make_model().save_pretrained(tmp_path / "t5")
    tokenizer.save_pretrained(tmp_path / "t5")
    return str(tmp_path / "t5")


def results(name="all"):
    return json.loads(Path(f"out/{name}_results.json").read_text())


def recompute(rows, **options):
    from hf_monitor import score_texts

    return score_texts([row["prediction"] for row in rows], [row["references"] for row in rows], **options)


@pytest.mark.no_cover
def test_from_files_alone(train, files, capsys):
    from hf_monitor import load_run
    from hf_monitor.seq2seq.arguments import ModelArguments
    from hf_monitor.seq2seq.build import build_model

    assert train("--train_file", files["train"], "--validation_file", files["dev"], "--max_steps", "4") == 0
    said = capsys.readouterr()
    assert "columns document -> summary1, summary2, summary3" in said.err
    for place in (
        "out/monitor/report.html",
        "out/monitor",
        "out/monitor/train.log",
        "out/monitor/plots/06_training_history.png",
    ):
        assert place in said.out
        assert Path(place).exists()
    for name in ("README.md", "train_results.json", "eval_results.json", "trainer_state.json", "tokenizer.json"):
        assert Path("out", name).exists()
    assert not Path("out/predict_results.json").exists()
    assert "trained from scratch on the train.jsonl dev.csv dataset" in Path("out/README.md").read_text()

    run = load_run("out/monitor")
    assert run.status == "finished"
    rows = [row for row in run.predictions if row["step"] == 4]
    assert [row["references"] for row in rows] == [[s, d, f"{s} x"] for d, s in TEXTS]
    assert [row["input"] for row in rows] == [d for d, _ in TEXTS]
    again = recompute(rows)
    for key in ("rouge1", "rouge2", "rougeL", "rougeLsum", "bleu", "score"):
        assert results()[f"eval_{key}"] == pytest.approx(again[key], abs=1e-9)
    assert len([row for row in run.rows if row["kind"] == "eval" and row["step"] == 4]) == 1
    model, tokenizer = build_model(ModelArguments(model_name_or_path="out"))  # what was left can be used
    assert len(tokenizer) <= model.config.vocab_size


@pytest.mark.no_cover
def test_a_model_from_disk_evaluates_and_predicts(train, files, t5, capsys):
    argv = ["--model_name_or_path", t5, "--source_prefix", "summarize: ", "--num_beams", "2"]
    assert train(*argv, "--validation_file", files["dev"], "--test_file", files["test"], "--max_eval_samples", "3") == 0
    found = results()
    assert found["eval_samples"] == 3
    assert "train_loss" not in found
    assert found["predict_samples"] == 3
    assert not any("rouge" in key for key in found if key.startswith("predict"))  # there is nothing to score against
    assert len(Path("out/generated_predictions.txt").read_text(encoding="utf-8").splitlines()) == 3
    assert "summarize: " in Path("out/monitor/predictions.jsonl").read_text(encoding="utf-8")
    assert not Path("out/README.md").exists()  # nothing was trained
    check_predicted(t5, "summarize: ", [d for d, _ in TEXTS[:3]], num_beams=2)
    assert Path("out/monitor/report.html").read_bytes() == report_html("out")  # the predictions are in it


def check_predicted(folder, prefix, texts, references=((), (), ()), **options):
    """What was recorded is what predict_texts gives, with the same confidence."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    from hf_monitor import load_run, predict_texts

    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    wanted = predict_texts(model, tokenizer, texts, source_prefix=prefix, max_length=12, **options)
    rows = load_run("out").latest_predictions("predict")
    assert [row["index"] for row in rows] == list(range(len(texts)))
    assert [row["input"] for row in rows] == [prefix + text for text in texts]
    assert [row["references"] for row in rows] == [list(found) for found in references]
    assert [row["prediction"] for row in rows] == [one.text for one in wanted]
    lines = Path("out/generated_predictions.txt").read_text(encoding="utf-8").splitlines()
    assert lines == [" ".join(one.text.split()) for one in wanted]
    assert [(row["n_tokens"], row["ended"]) for row in rows] == [(one.n_tokens, one.ended) for one in wanted]
    assert [row["confidence"] for row in rows] == pytest.approx([one.confidence for one in wanted], abs=1e-5)
    return rows


@pytest.mark.no_cover
def test_a_test_set_with_summaries_has_scores_and_confidence(train, files, t5, capsys):
    test = write_rows(Path("scored.jsonl"), [{"dialogue": d, "summary": s} for d, s in TEXTS])
    assert train("--model_name_or_path", t5, "--test_file", test, "--per_device_eval_batch_size", "3") == 0
    rows = check_predicted(t5, "", [d for d, _ in TEXTS], [[s] for _, s in TEXTS])
    assert results()["predict_rougeL"] == pytest.approx(recompute(rows)["rougeL"], abs=1e-9)


def test_charts_are_of_this_prediction_and_never_of_an_earlier_one(train, files, t5, capsys):
    """Twice into the same folder: a sample of the texts is recorded, then not one."""
    import logging

    from hf_monitor import load_run

    argv = ["--model_name_or_path", t5, "--validation_file", files["dev"], "--test_file", files["test"]]
    folder = Path("out/monitor/plots/inference")
    assert train(*argv, "--max_predictions", "2") == 0
    said = [line for line in capsys.readouterr().err.splitlines() if " charts " in line]
    rows = load_run("out").latest_predictions("predict")
    assert [row.get("sampled") for row in rows] == [{"rows": 2, "of": 3, "seed": 42}, None]
    assert logging.getLogger("hf_monitor.charts.pictures").level == logging.NOTSET  # others may want to hear it
    drawn = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    (left_out,) = said  # there are no references, so nothing can be ranked: one line, not two
    assert left_out.startswith("train_summarizer: charts that are not drawn: ")
    assert set(drawn) | {name for name in EVERY if name in left_out} == set(EVERY)
    assert not any(name in left_out for name in drawn)
    assert train(*argv, "--max_predictions", "0") == 0
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == drawn
    (said,) = [line for line in capsys.readouterr().err.splitlines() if " charts " in line]
    assert said.startswith("train_summarizer: no charts of this prediction: not one of its texts is in ")
    assert said.endswith("out/monitor/plots/inference are of an earlier one")


def test_the_mean_over_references_and_a_sample_of_predictions(train, files, t5):
    argv = ["--model_name_or_path", t5, "--validation_file", files["dev"], "--run_dir", "elsewhere"]
    assert train(*argv, "--multi_reference", "mean") == 0
    rows = [json.loads(line) for line in Path("elsewhere/predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    means = recompute(rows, multi_reference="mean")
    assert results()["eval_rougeL"] == pytest.approx(means["rougeL"], abs=1e-9)
    assert not Path("out/monitor").exists()
    assert train(*argv, "--max_predictions", "2") == 0
    assert len(Path("elsewhere/predictions.jsonl").read_text(encoding="utf-8").splitlines()) == len(rows) + 2


def read_it(said):
    """Run the command that is printed at the end, in a shell; give what it prints."""
    command = next(line for line in said.splitlines() if line.startswith("Read it")).removeprefix("Read it").strip()
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("folder", ["elsewhere", 'a "b" $c'])
def test_the_command_at_the_end_prints_the_best_score(train, files, t5, capsys, folder):
    argv = ["--model_name_or_path", t5, "--validation_file", files["dev"], "--run_dir", folder]
    assert train(*argv) == 0
    found = read_it(capsys.readouterr().out)
    assert found.startswith(f"<Run {str(Path(folder).absolute())!r}: ")
    assert f"Best(value={results()['eval_rougeL']!r}, step=0, attempt=1)" in found


def test_the_command_at_the_end_names_no_score_where_there_is_none(train, files, t5, capsys):
    argv = ["--model_name_or_path", t5, "--validation_file", files["dev"], "--predict_with_generate", "false"]
    assert train(*argv) == 0
    said = capsys.readouterr().out
    assert "rougeL" not in said
    assert len(read_it(said).splitlines()) == 1


@pytest.mark.no_cover
def test_a_yaml_file_and_an_option_that_wins(train, files, t5, tmp_path):
    (tmp_path / "config.yaml").write_text(
        f"model_name_or_path: {t5}\ntrain_file: {files['train']}\nvalidation_file: {files['dev']}\n"
        "learning_rate: 1e-3\nmax_steps: 50\nsummary_column: null\nlogging_steps: 1\n"
    )
    assert train("config.yaml", "--max_steps", "2", "--eval_strategy", "no") == 0
    state = json.loads(Path("out/trainer_state.json").read_text())
    assert state["global_step"] == 2
    assert state["log_history"][0]["learning_rate"] == 1e-3
    assert results()["eval_samples"] == 4  # evaluated once, at the end


@pytest.mark.no_cover
def test_resume_goes_on_in_the_same_run_folder_and_keeps_the_best(train, files, t5):
    from hf_monitor import load_run

    argv = ["--model_name_or_path", t5, "--train_file", files["train"], "--validation_file", files["dev"]]
    argv += ["--save_steps", "2", "--eval_strategy", "steps", "--eval_steps", "2", "--gradient_accumulation_steps", "2"]
    assert train(*argv, "--max_steps", "2", "--save_strategy", "steps") == 0
    best = ["--load_best_model_at_end", "--metric_for_best_model", "rougeL", "--max_steps", "4"]
    assert train(*argv, *best, "--save_strategy", "steps", "--resume_from_checkpoint", "last") == 0
    run = load_run("out")
    assert len(run.attempts) == 2
    best_step = json.loads(Path("out/trainer_state.json").read_text())["best_global_step"]
    assert best_step in {2, 4}
    steps = [(row["step"], row.get("weights_step")) for row in run.metrics.of("eval")]
    assert steps == [(2, None), (4, None), (4, best_step)]  # the last: of the best weights, after the training


@pytest.mark.no_cover
@pytest.mark.filterwarnings(OLD_NAME)
def test_lora_trains_and_leaves_the_adapter_alone(train, files, t5, capsys):
    pytest.importorskip("peft")
    argv = ["--model_name_or_path", t5, "--validation_file", files["dev"]]
    assert train(*argv, "--train_file", files["train"], "--lora", "--lora_r", "2", "--max_steps", "2") == 0
    assert "parameters are trained" in capsys.readouterr().err
    assert Path("out/adapter_model.safetensors").exists()
    assert not Path("out/model.safetensors").exists()
    trained = results()
    Path("out").rename("adapter")
    argv[1] = "adapter"
    assert train(*argv) == 0
    assert results()["eval_loss"] == pytest.approx(trained["eval_loss"], rel=1e-5)


def test_what_the_device_refuses_is_not_taken_for_bad_input(train, monkeypatch):
    import torch
    from transformers import Seq2SeqTrainer

    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Seq2SeqTrainer, "__init__", full)
    with pytest.raises(torch.OutOfMemoryError):
        train("--max_train_samples", "8", "--max_eval_samples", "4", "--max_predict_samples", "4")


@pytest.mark.no_cover
def test_the_embedded_demo(train, capsys):
    few = ["--max_train_samples", "24", "--max_eval_samples", "12", "--max_predict_samples", "4", "--max_steps", "2"]
    assert train(*few, "--seed", "3") == 0
    table = capsys.readouterr().out.partition("ROUGE-L (0 to 100) on 12 validation dialogues")[2].splitlines()
    assert table[1].split() == ["Korean", "English"]
    values = {line[:40].strip(): [float(v) for v in line[40:].split()] for line in table[2:5]}
    assert list(values) == ["this model", "baseline: first utterance", "baseline: most frequent training summary"]
    assert all(value > 0 for value in values["baseline: first utterance"])
    found = results()
    assert found["eval_rougeL_ko"] == pytest.approx(values["this model"][0], abs=0.05)
    assert found["predict_samples"] == 4
    assert found["train_samples"] == 24
    from hf_monitor import load_run
    from hf_monitor.seq2seq.demo_model import DEMO_TRAINING

    run = load_run("out")
    steps = [row["step"] for row in run.rows if row["kind"] == "eval"]
    assert steps == [0, 1, 2]  # before the first step, and then
    assert run.facts["seed"] == 3
    assert run.facts["arguments"]["learning_rate"] == DEMO_TRAINING["learning_rate"]
    assert run.facts["arguments"]["report_to"] == []


def test_defaults_give_way_to_what_was_given(script):
    assert script.defaults_for({})["eval_on_start"] is True
    assert not {"do_train", "do_eval", "do_predict", "eval_strategy"} & script.defaults_for({"do_predict": True}).keys()
    assert script.defaults_for({"model_name_or_path": "x", "train_file": "y"}).get("learning_rate") is None
    assert script.defaults_for({"train_file": "y"})["learning_rate"] >= 1e-3  # random weights need more
    alone = script.defaults_for({"validation_file": "y", "model_name_or_path": "x"})
    assert (alone["do_train"], alone["do_eval"], alone["do_predict"]) == (False, True, False)


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--train_file", "nowhere.csv"], "'nowhere.csv' is no file that exists"),
        (["--train_file", "train.parquet"], "unknown extension '.parquet'"),
        (
            ["--train_file", "train.jsonl", "--text_column", "x"],
            "column 'x' is not in train.jsonl (columns: id, dialog",
        ),
        (["--train_file", "train.jsonl", "--summary_column", "x"], "Name it with --summary_column."),
        (["--train_file", "test.csv"], "no column of test.csv has a usual name for the summary (columns: dialogue)"),
        (["--train_file", "empty.csv"], "'empty.csv' holds no samples"),
        (["--train_file", "broken.jsonl"], "line 2 of 'broken.jsonl' is broken JSON"),
        (["--train_file", "train.jsonl", "--do_train", "--do_eval"], "--do_eval needs data"),
        (
            ["--train_file", "train.jsonl", "--run_dir", "train.jsonl"],
            "--run_dir 'train.jsonl' is a file, not a folder.",
        ),
        (["--train_file", "train.jsonl", "--run_dir", "test.csv/x"], "cannot be made: 'test.csv' is a file, not a"),
        (["--train_file", "train.jsonl", "--unknown", "1"], "unrecognized arguments: --unknown 1"),
        (["--train_file", "train.jsonl", "--lang", "ko_KR"], "--lang is for tokenizers with language tokens"),
        (["--train_file", "train.jsonl", "--resume_from_checkpoint", "last"], "no checkpoint to resume from in 'out'"),
        (["--train_file", "train.jsonl", "--resume_from_checkpoint", "x"], "--resume_from_checkpoint 'x' is no folder"),
        (["--model_name_or_path", "nowhere", "--train_file", "train.jsonl"], "the model 'nowhere' cannot be loaded"),
        (
            ["--model_name_or_path", "./t5", "--train_file", "train.jsonl"],
            "'./t5' cannot be loaded: there is no such folder.",
        ),
        (["--model_name_or_path", "t5-small"], "there is nothing to do"),
        (["--train_file", ""], "--train_file is empty: name something, or leave it out."),
        (["--train_file", "train.jsonl", "--validation_file", "blank.csv"], "every text of blank.csv is empty"),
        (
            ["--train_file", "train.jsonl", "--resume_from_checkpoint", "old"],
            "the newest of them is 'old/checkpoint-12'.",
        ),
        (
            ["--train_file", "train.jsonl", "--resume_from_checkpoint", "old/checkpoint-12"],
            "it has no trainer_state.json",
        ),
        (
            ["--train_file", "train.jsonl", "--metric_for_best_model", "rogueL"],
            "use loss, rouge1, rouge2, rougeL, rouge",
        ),
        (
            ["--train_file", "train.jsonl", "--metric_for_best_model", "rougeL", "--predict_with_generate", "false"],
            "use loss; texts are scored with --predict_with_generate only.",
        ),
        (
            ["--train_file", "train.jsonl", "--report_to", "nosuch"],
            "--report_to 'nosuch' is unknown: use none, all, or",
        ),
        (["--train_file", "train.jsonl", "--report_to", "flyte"], "the Trainer cannot be made: FlyteCallback requires"),
        (["--per_device_train_batch_size", "0"], "--per_device_train_batch_size must be at least 1, got 0."),
        (["broken.yaml"], "broken YAML"),
        (["--learning_rate", "much"], "invalid float value: 'much'"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(train, files, capsys, tmp_path, argv, words):
    (tmp_path / "train.parquet").write_bytes(b"x")
    (tmp_path / "empty.csv").write_text("dialogue,summary\n")
    (tmp_path / "broken.jsonl").write_text('{"dialogue": "a", "summary": "b"}\n{"dialogue"\n')
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    (tmp_path / "blank.csv").write_text("dialogue,summary\n,a\n ,b\n")
    for step in (3, 12):
        (tmp_path / "old" / f"checkpoint-{step}").mkdir(parents=True)
    assert train(*argv) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("train_summarizer: error: ")]
    assert len(lines) == 1
    assert words in lines[0]
    assert not Path("out").exists()  # what is refused leaves nothing behind


def test_a_run_folder_of_a_newer_format_is_refused_before_anything_is_loaded(train, files, capsys, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"format": 99}')
    assert train("--model_name_or_path", "nowhere", "--train_file", files["train"], "--run_dir", "run") == 2
    assert f"error: the run folder {str(tmp_path / 'run')!r} has format 99" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.json"]


def test_a_missing_tracker_names_the_package(train, files, capsys, monkeypatch):
    from transformers.integrations import integration_utils

    monkeypatch.setattr(integration_utils, "is_comet_available", lambda: False)
    assert train("--train_file", files["train"], "--report_to", "comet_ml") == 2
    assert capsys.readouterr().err.endswith("package that is not installed: pip install comet-ml\n")
    assert not Path("out").exists()


def test_a_model_that_is_no_seq2seq_model(train, files, capsys, tmp_path):
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    BertModel(config).save_pretrained(tmp_path / "bert")
    assert train("--model_name_or_path", "bert", "--train_file", files["train"]) == 2
    assert "error: the model 'bert' is a 'bert', which is no sequence-to-sequence model" in capsys.readouterr().err


def test_other_processes_keep_silent(train, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert train("--train_file", "nowhere.csv") == 2
    assert capsys.readouterr().err == ""


def start(*argv, cwd):
    command = [sys.executable, str(SCRIPT), *argv]
    # Without WANDB_MODE, which transformers prints.
    environment = {name: value for name, value in untraced.ENVIRONMENT.items() if name != "WANDB_MODE"}
    return subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def test_as_a_program_bad_input_shows_no_traceback(tmp_path):
    process = start("--train_file", "nowhere.csv", cwd=tmp_path)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert out == ""
    assert err == "train_summarizer: error: 'nowhere.csv' is no file that exists.\n"


def test_ctrl_c_says_where_the_run_is(tmp_path):
    argv = [
        *SMALL,
        "--max_eval_samples",
        "4",
        "--max_predict_samples",
        "4",
        "--output_dir",
        "out",
        "--logging_steps",
        "1",
    ]
    process = start(*argv, "--max_steps", "100000", "--eval_strategy", "no", "--eval_on_start", "no", cwd=tmp_path)
    metrics = tmp_path / "out" / "monitor" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and '"loss"' in metrics.read_text()):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (
        err.splitlines()[-1] == f"train_summarizer: interrupted; what was recorded is in {tmp_path / 'out' / 'monitor'}"
    )
    assert "Traceback" not in err
    from hf_monitor import load_run

    assert load_run(tmp_path / "out").status == "interrupted"


FEW = ["--max_train_samples", "24", "--max_eval_samples", "4", "--max_predict_samples", "2", "--max_steps", "2"]
QUICK = [*FEW, "--eval_strategy", "no", "--eval_on_start", "no", "--do_train", "--predict_with_generate", "false"]
QUICK += ["--max_source_length", "16"]


def test_auto_batch_measures_first_and_a_resume_does_not_measure_again(train, capsys):
    from hf_monitor import load_run

    argv = [*QUICK, "--auto_batch", "--effective_batch_size", "34"]
    assert train(*argv) == 0
    said = capsys.readouterr().err
    assert "plan: batch      17 x 2 accumulation steps = 34 samples an update" in said
    assert "plan: memory     peak " in said
    run = load_run("out")
    assert len(run.attempts) == 1
    assert run.facts["arguments"]["per_device_train_batch_size"] == 17
    assert run.facts["arguments"]["gradient_accumulation_steps"] == 2
    assert run.trials[-1]["batch_size"] == 17
    assert run.trials[-1]["fits"]
    n_trials = len(run.trials)
    assert train(*argv) == 0
    assert "taken over from" in capsys.readouterr().err
    assert len(load_run("out").trials) == n_trials


@pytest.mark.no_cover
def test_auto_batch_keeps_the_batch_that_the_demo_was_tuned_for(train, capsys):
    from hf_monitor.seq2seq.demo_model import DEMO_TRAINING

    assert train(*QUICK, "--auto_batch", "--max_steps", "1") == 0
    size = DEMO_TRAINING["per_device_train_batch_size"]
    assert f"= {size} samples an update" in capsys.readouterr().err


def test_auto_batch_measures_evaluation_as_the_trainer_will_make_it(train, files, capsys, monkeypatch):
    """With the model's own beams, where none are given, and with the samples of validation and test."""
    from hf_monitor.auto_batch import plan
    from hf_monitor.errors import InputError

    asked = {}

    def refuse(*args, **options):
        asked.update(options)
        raise InputError("seen enough")

    monkeypatch.setattr(plan, "plan_training", refuse)
    assert train("--train_file", files["train"], "--validation_file", files["dev"], "--auto_batch") == 2
    assert "seen enough" in capsys.readouterr().err
    assert asked["num_beams"] is None
    assert (len(asked["dataset"]), len(asked["eval_dataset"])) == (16, 4)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (
            ["--auto_batch", "--per_device_train_batch_size", "4"],
            "--per_device_train_batch_size is what --auto_batch measures and settles: leave one of the two out.",
        ),
        (["--auto_batch", "--gradient_accumulation_steps", "2"], "--gradient_accumulation_steps is what --auto_batch"),
        (["--auto_batch", "--auto_find_batch_size"], "--auto_find_batch_size is what --auto_batch"),
        (["--effective_batch_size", "64"], "--effective_batch_size is for --auto_batch"),
        (["--auto_batch", "--effective_batch_size", "0"], "--effective_batch_size must be at least 1, got 0."),
        (["--auto_batch", "--safe_factor", "1.5"], "--safe_factor must be above 0 and at most 1, got 1.5."),
    ],
)
def test_who_says_the_batch_twice_is_refused(train, capsys, argv, words):
    assert train(*argv) == 2
    assert words in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.no_cover
def test_where_not_one_sample_fits_the_remedies_are_told(script, train, capsys, monkeypatch):
    from functools import partial

    from hf_monitor.auto_batch import plan, prober

    monkeypatch.setattr(plan, "plan_training", partial(plan.plan_training, memory_limit=2**20))
    monkeypatch.setattr(prober, "remedies", lambda *_, **__: ())  # seconds; they are tried elsewhere
    assert train(*QUICK, "--auto_batch") == 3
    assert "train_summarizer: error: not even one sample of " in capsys.readouterr().err
    assert not Path("out").exists()  # what is refused leaves nothing behind


@pytest.fixture
def out_of_memory_at(monkeypatch):
    """Let the device run out of memory at the so-maniest call of a Trainer's method."""
    import torch
    from transformers import Seq2SeqTrainer

    def at(method, call):
        real, calls = getattr(Seq2SeqTrainer, method), []

        def full(self, *args, **kwargs):
            calls.append(method)
            if len(calls) == call:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
            return real(self, *args, **kwargs)

        monkeypatch.setattr(Seq2SeqTrainer, method, full)

    return at


def test_out_of_memory_in_the_middle_names_the_batch_the_peak_and_the_next_smaller_plan(
    train, capsys, out_of_memory_at
):
    from hf_monitor import load_run

    out_of_memory_at("training_step", 2)
    with pytest.raises(SystemExit) as ended:
        train(*QUICK, "--per_device_train_batch_size", "6")
    assert ended.value.code == 3
    said = capsys.readouterr().err
    assert "train_summarizer: out of memory after 1 update: a training batch of 6 did not fit. Peak: at least " in said
    assert "\n  --per_device_train_batch_size 3 --gradient_accumulation_steps 2\n" in said
    assert "\n  --auto_batch --effective_batch_size 6\n" in said
    assert f"What was recorded is in {Path('out/monitor').absolute()}" in said
    run = load_run("out")
    assert run.status == "crashed"
    assert [row["type"] for row in run.events if row["event"] == "error"] == ["OutOfMemoryError"]


@pytest.mark.no_cover
def test_out_of_memory_with_a_plan_names_the_plan_below(train, capsys, out_of_memory_at):
    out_of_memory_at("training_step", 1)
    with pytest.raises(SystemExit):
        train(*QUICK, "--auto_batch", "--effective_batch_size", "34")
    said = capsys.readouterr().err
    assert "The plan had measured " in said
    assert "as before (without --auto_batch and --effective_batch_size):\n  --per_device_train_batch_size 2 " in said


def test_out_of_memory_in_an_evaluation_is_about_its_own_batch(train, capsys, out_of_memory_at):
    out_of_memory_at("prediction_step", 1)
    with pytest.raises(SystemExit):
        train(*FEW, "--per_device_eval_batch_size", "4")
    said = capsys.readouterr().err
    assert "an evaluation batch of 4 did not fit" in said
    assert "--per_device_eval_batch_size 2" in said


def test_another_error_in_the_middle_keeps_its_traceback(train, monkeypatch):
    from transformers import Seq2SeqTrainer

    def broken(self, *args, **kwargs):
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(Seq2SeqTrainer, "training_step", broken)
    with pytest.raises(RuntimeError, match="device-side assert"):
        train(*QUICK)
