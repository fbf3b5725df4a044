"""The script under `accelerate launch` with two processes on the CPU (gloo)."""

import contextlib
import json
import subprocess
from importlib import util
from pathlib import Path

import pytest
import untraced

from hf_monitor import load_run

SCRIPT = Path(__file__).parents[2] / "scripts" / "train_summarizer.py"
LAUNCH = [untraced.LAUNCH, "--multi_gpu", "--num_processes", "2"]
# Port 0 takes a free one: tests may run side by side. One thread a process: two cores.
ENVIRONMENT = untraced.ENVIRONMENT | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}

pytestmark = pytest.mark.slow


def run(*argv, n_processes, cwd, expect=0):
    argv = ["--use_cpu", "--disable_tqdm", "true", *map(str, argv)]
    if n_processes == 1:  # in this process: it has imported what takes longer than all the rest
        with contextlib.chdir(cwd):
            assert (script().main(argv) == 0) == (expect == 0)
        return None
    command = [*LAUNCH, "--main_process_port", "0", str(SCRIPT), *argv]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=ENVIRONMENT, timeout=500)
    assert (done.returncode == 0) == (expect == 0), done.stderr[-4000:]
    return done


def script():
    spec = util.spec_from_file_location("train_summarizer", SCRIPT)
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    few = ["--max_train_samples", 64, "--max_predict_samples", 2, "--num_train_epochs", 1, "--eval_on_start", "no"]
    run(*few, "--max_eval_samples", 2, "--eval_strategy", "epoch", "--output_dir", "one", n_processes=1, cwd=folder)
    # With a plan, which settles the same batch: the demo keeps its 16 a process.
    few += ["--auto_batch", "--max_eval_samples", 2, "--eval_strategy", "epoch"]
    said = run(*few, "--output_dir", "two", n_processes=2, cwd=folder).stderr
    (folder / "said.txt").write_text(said, encoding="utf-8")
    return folder


def test_two_processes_share_the_steps_of_an_epoch(one_process):
    one, two = load_run(one_process / "one"), load_run(one_process / "two")
    assert (one.facts["devices"]["world_size"], two.facts["devices"]["world_size"]) == (1, 2)
    assert (one.last_step, two.last_step) == (4, 2)  # 64 samples in batches of 16
    assert one.status == two.status == "finished"
    assert len(two.attempts) == 1  # one process wrote, not both
    assert len(two.metrics.of("eval")) == 1
    loss = [run.metrics.of("eval")[0]["eval_loss"] for run in (one, two)]
    assert loss[1] == pytest.approx(loss[0], rel=0.2)  # not twice as large


def test_auto_batch_gives_both_processes_the_same_batch(one_process):
    said = (one_process / "said.txt").read_text(encoding="utf-8")
    assert "16 x 1 accumulation step x 2 processes = 32 samples an update" in said
    found = load_run(one_process / "two")
    assert found.facts["arguments"]["per_device_train_batch_size"] == 16
    assert {row["rank"] for row in found.trials} == {0, 1}  # each has measured, one has written


def test_scores_do_not_depend_on_the_number_of_processes(one_process):
    """Five samples on two processes with batch 2 arrive as eight."""
    rows = [{"dialogue": f"#Person1#: {i} 안녕하세요.", "summary": f"#Person1#은 {i} 인사한다."} for i in range(5)]
    (one_process / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found, confidences = [], []
    for n in (1, 2):
        run(
            *("--model_name_or_path", "one", "--validation_file", "dev.jsonl", "--test_file", "dev.jsonl"),
            *("--per_device_eval_batch_size", 2, "--max_target_length", 12, "--output_dir", f"evaluated{n}"),
            n_processes=n,
            cwd=one_process,
        )
        out = one_process / f"evaluated{n}"
        results = json.loads((out / "all_results.json").read_text())
        texts = [row["prediction"] for row in load_run(out).predictions if row["name"] == "eval"]
        rows = load_run(out).latest_predictions("predict")
        confidences.append([row["confidence"] for row in rows])
        assert [row["prediction"] for row in rows] == texts
        lines = (out / "generated_predictions.txt").read_text(encoding="utf-8").splitlines()
        keys = [f"{part}_{key}" for part in ("eval", "predict") for key in ("rouge1", "rougeL", "bleu", "gen_len")]
        found.append(({key: results[key] for key in keys}, texts, lines))
    assert len(found[0][1]) == len(found[0][2]) == 5
    assert found[0] == found[1]
    assert confidences[1] == pytest.approx(confidences[0], abs=1e-5)
    assert len(set(confidences[0])) > 1
    assert load_run(one_process / "evaluated2").facts["devices"]["world_size"] == 2


def test_bad_input_is_said_once(tmp_path):
    done = run("--train_file", "nowhere.csv", n_processes=2, cwd=tmp_path, expect=2)
    assert done.stderr.count("train_summarizer: error: 'nowhere.csv' is no file that exists.") == 1
