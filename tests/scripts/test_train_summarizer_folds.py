"""--num_folds: every fold a run of its own, from the same weights, judged by what it was not trained on."""

import gc
import json
import subprocess
import weakref
from importlib import util
from pathlib import Path

import pytest
import untraced

from hf_monitor import load_run, score_texts
from hf_monitor.seq2seq.folds import fold_row

SCRIPT = Path(__file__).parents[2] / "scripts" / "train_summarizer.py"
SMALL = ["--use_cpu", "--disable_tqdm", "true", "--max_target_length", "12", "--max_steps", "3"]
SMALL += ["--eval_strategy", "no", "--learning_rate", "0.05", "--logging_steps", "1"]
TEXTS = [
    ("#Person1#: 안녕하세요. #Person2#: 내일 회의는 세 시입니다.", "회의 시간을 알린다."),
    ("#Person1#: Hello. #Person2#: The meeting is at three.", "They meet at three."),
    ("#Person1#: 점심 먹었어요? #Person2#: 아직 안 먹었어요.", "점심을 먹지 않았다."),
    ("#Person1#: Did you eat? #Person2#: Not yet, let us go.", "They will go to eat."),
    ("#Person1#: Did you eat? #Person2#: Not yet, let us go.", "Nobody has eaten."),
]


@pytest.fixture(scope="module")
def script():
    spec = util.spec_from_file_location("train_summarizer_folds", SCRIPT)
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def train(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"dialogue": d, "summary": s} for d, s in TEXTS]
    Path("train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def run(*argv):
        given = ["--train_file", "train.jsonl", "--num_folds", "2", "--output_dir", "out", *SMALL, *argv]
        return script.main([*given, *([] if "--save_strategy" in argv else ["--save_strategy", "no"])])

    return run


@pytest.fixture
def t5(make_model, tokenizer, tmp_path):
    make_model(initializer_factor=5.0).save_pretrained(tmp_path / "t5")
    tokenizer.save_pretrained(tmp_path / "t5")
    return ["--model_name_or_path", "t5"]


def results(folder="out"):
    return json.loads(Path(folder, "fold_results.json").read_text())


def check_fold(row, number, folder):
    """A fold's results are what its own run folder says, and its texts yield."""
    run = load_run(folder)
    assert run.status == "finished"
    (recorded,) = run.metrics.of("fold")
    assert row == {"kind": "fold", **{name: recorded[name] for name in row if name != "kind"}}
    texts = run.latest_predictions("eval")
    scores = score_texts([text["prediction"] for text in texts], [text["references"] for text in texts])
    assert (row["fold"], row["n_samples"]) == (number, len(texts))
    parts = [scores[name] for name in ("rouge1", "rouge2", "rougeL")]
    assert row["f1"] == pytest.approx(sum(parts) / 300, abs=1e-9)
    assert row["bleu"] == pytest.approx(scores["bleu"], abs=1e-9)
    assert row["eval_loss"] == run.metrics.of("eval")[-1]["eval_loss"]
    return {text["input"] for text in texts}


@pytest.mark.no_cover
def test_folds_from_a_file(train, script, t5, capsys, monkeypatch):
    begins, models, alive = [], [], []
    make_trainer = script.make_trainer

    def watch(model, *args):
        gc.collect()
        alive.append(sum(one() is not None for one in models))
        models.append(weakref.ref(model))
        begins.append({name: p.detach().clone() for name, p in model.named_parameters()})
        return make_trainer(model, *args)

    monkeypatch.setattr(script, "make_trainer", watch)
    assert train(*t5) == 0
    found = results()
    held_out = [check_fold(row, k, f"out/fold_{k}") for k, row in enumerate(found, start=1)]
    assert held_out[0] | held_out[1] == {text for text, _ in TEXTS}
    assert not held_out[0] & held_out[1]  # nor is a dialogue with two summaries on both sides
    assert [row["n_samples"] + row["n_train_samples"] for row in found] == [5, 5]
    assert begins[0].keys() == begins[1].keys()  # the same weights at the begin
    assert all(begins[1][name].equal(weights) for name, weights in begins[0].items())
    assert alive == [0, 0]  # the first fold's model is gone when the second one's Trainer is made
    assert all(Path(f"out/fold_{k}/model.safetensors").exists() for k in (1, 2))
    said = capsys.readouterr()
    assert "fold 2 of 2: " in said.err
    mean = sum(row["accuracy"] for row in found) / 2
    assert "charts that are not drawn" not in said.err  # each fold has its own history
    assert "chooses the checkpoint" not in said.err + said.out
    assert f"{'mean':<14}{sum(row['f1'] for row in found) / 2:>11.4f}{mean:>11.4f}" in said.out
    check_accuracy(found)


def check_accuracy(found):
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    for row in found:
        folder = f"out/fold_{row['fold']}"
        model, tokenizer = (kind.from_pretrained(folder) for kind in (AutoModelForSeq2SeqLM, AutoTokenizer))
        right = n = 0
        for text in load_run(folder).latest_predictions("eval"):
            labels = tokenizer(text["references"], max_length=12, truncation=True, return_tensors="pt")["input_ids"]
            inputs = tokenizer([text["input"]], return_tensors="pt")["input_ids"]
            with torch.no_grad():
                said = model(input_ids=inputs, labels=labels).logits.argmax(-1)
            right, n = right + (said == labels).sum().item(), n + labels.numel()
        assert row["accuracy"] == pytest.approx(right / n)


@pytest.fixture
def second_fold_fails(script, monkeypatch):
    """Let the second fold's training end with an error; a result file of an earlier run is there already."""
    real = script.train

    def at(error):
        def failing(trainer, *args):
            if "fold_2" in trainer.args.output_dir:
                raise error
            real(trainer, *args)

        monkeypatch.setattr(script, "train", failing)
        Path("out").mkdir()
        Path("out/fold_results.json").write_text('[{"fold": 7}]')

    return at


@pytest.mark.no_cover
def test_what_is_finished_stays_when_a_later_fold_is_interrupted(train, second_fold_fails, t5, capsys):
    second_fold_fails(KeyboardInterrupt())
    assert train(*t5) == 130
    assert [row["fold"] for row in results()] == [1]
    said = capsys.readouterr().err
    assert "interrupted; 1 of 2 folds are finished; their results are in out/fold_results.json" in said
    assert "charts of what is finished are in out/plots" in said
    assert "01_fold_f1_performance.png" in {path.name for path in Path("out/plots").iterdir()}


def test_it_is_said_where_what_is_held_out_chose_the_checkpoint(train, script, t5, capsys, monkeypatch):
    """Before the training, and below the results; nothing is trained here."""
    monkeypatch.setattr(script.Folds, "train_fold", lambda self, fold: fold_row(fold, 2, {}, None, 1))
    monkeypatch.setattr(script, "draw_charts", lambda *args, **options: [])
    best = ["--load_best_model_at_end", "--save_strategy", "epoch", "--eval_strategy", "epoch"]
    assert train(*t5, *best) == 0
    said = capsys.readouterr()
    assert f"warning: {script.CHOSEN_ON_HELD_OUT}\n" in said.err
    assert f"Note: {script.CHOSEN_ON_HELD_OUT}.\n" in said.out


def test_what_is_finished_stays_when_a_later_fold_runs_out_of_memory(train, second_fold_fails, t5, capsys):
    import torch

    second_fold_fails(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."))
    with pytest.raises(SystemExit) as ended:
        train(*t5)
    assert ended.value.code == 3
    assert [row["fold"] for row in results()] == [1]
    assert "out of memory" in capsys.readouterr().err


@pytest.mark.no_cover
def test_auto_batch_measures_once_for_all_folds(train, t5, capsys):
    assert train(*t5, "--auto_batch", "--effective_batch_size", "2") == 0
    assert capsys.readouterr().err.count("measuring which batch fits") == 1
    runs = [load_run(f"out/fold_{k}") for k in (1, 2)]
    assert [run.config["per_device_train_batch_size"] for run in runs] == [2, 2]
    assert [bool(run.trials) for run in runs] == [True, False]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--num_folds", "1"], "--num_folds must be at least 2, got 1."),
        (["--num_folds", "0"], "--num_folds must be at least 2, got 0."),
        (["--num_folds", "5"], "--num_folds 5 needs at least as many different texts, got 4 in 5 samples"),
        (["--validation_file", "train.jsonl"], "--validation_file cannot be had with --num_folds: each fold is"),
        (["--test_file", "train.jsonl"], "--test_file cannot be had with --num_folds"),
        (["--do_predict"], "--do_predict cannot be had with --num_folds"),
        (["--run_dir", "x"], "--run_dir cannot be had with --num_folds"),
        (["--resume_from_checkpoint", "last"], "--resume_from_checkpoint cannot be had with --num_folds"),
        (["--push_to_hub"], "--push_to_hub cannot be had with --num_folds"),
        (["--predict_with_generate", "false"], "leave --predict_with_generate false out"),
        (["--do_eval", "false"], "leave --do_eval false out"),
        (["--output_dir", "old"], "--output_dir 'old' holds fold_3 of a run with other folds"),
    ],
)
def test_what_has_no_meaning_with_folds_is_refused(train, capsys, argv, words):
    Path("old/fold_3").mkdir(parents=True)
    assert train(*argv) == 2
    said = capsys.readouterr().err
    assert words in said
    assert len([line for line in said.splitlines() if "error: " in line]) == 1
    assert not Path("out").exists()


@pytest.mark.slow
def test_the_demo_in_two_processes(tmp_path):
    launch = [untraced.LAUNCH, "--multi_gpu", "--num_processes", "2", "--main_process_port", "0", str(SCRIPT)]
    argv = ["--num_folds", "2", "--max_train_samples", "23", "--eval_on_start", "no", "--warmup_steps", "0"]
    done = subprocess.run(
        [*launch, *SMALL, *argv, "--per_device_eval_batch_size", "3", "--output_dir", "out"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=untraced.ENVIRONMENT | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = results(tmp_path / "out")
    held_out = [check_fold(row, k, tmp_path / "out" / f"fold_{k}") for k, row in enumerate(found, start=1)]
    assert (
        sum(row["n_samples"] for row in found) == 23
    )  # none twice, though batches of 3 on 2 processes do not come out
    assert not held_out[0] & held_out[1]
    assert load_run(tmp_path / "out" / "fold_2").facts["devices"]["world_size"] == 2
    assert all(0 < row["accuracy"] < 1 for row in found)
    assert done.stdout.count("2 folds of 23 samples") == 1
