"""What the project promises about its demo and about real data, at full length."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import untraced

from hf_monitor import load_run, score_texts

SCRIPT = Path(__file__).parents[2] / "scripts" / "train_summarizer.py"
DIALOGSUM = Path(__file__).parents[3] / "shared" / "data"

pytestmark = pytest.mark.slow(seconds=100)  # the longest of all: first


def run(*argv, cwd):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--disable_tqdm", "true", *argv],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=untraced.ENVIRONMENT,
        timeout=1500,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_the_demo_learns_both_languages(tmp_path):
    out = run("--use_cpu", cwd=tmp_path)
    table = out.partition("ROUGE-L (0 to 100)")[2].splitlines()[2:5]
    model, first, frequent = ([float(value) for value in line.split()[-2:]] for line in table)
    assert min(model) > 60
    for baseline in (first, frequent):
        assert all(mine >= other + 15 for mine, other in zip(model, baseline, strict=True))
    recorded = load_run(tmp_path / "outputs" / "demo")
    assert recorded.status == "finished"
    evaluations = recorded.metrics.of("eval")
    assert evaluations[0]["step"] == 0
    assert len(evaluations) >= 5
    assert evaluations[0]["eval_rougeL"] < 10


@pytest.mark.skipif(not DIALOGSUM.exists(), reason="DialogSum is not part of the project")
def test_real_data_with_three_references(tmp_path):
    """With 60 of the 500 validation samples and batches of 8, for the time that CI has; by hand with all."""
    files = [
        f"--{kind}_file={DIALOGSUM / name}"
        for kind, name in (("train", "dialogsum.dev.jsonl"), ("validation", "dialogsum.test.jsonl"))
    ]
    run(
        *files,
        "--max_steps",
        "60",
        "--eval_strategy",
        "no",
        "--max_eval_samples",
        "60",
        "--per_device_train_batch_size",
        "8",
        "--use_cpu",
        "--output_dir",
        "out",
        cwd=tmp_path,
    )
    rows = [row for row in load_run(tmp_path / "out").predictions if row["step"] == 60]
    assert len(rows) == 60
    assert {len(row["references"]) for row in rows} == {3}
    again = score_texts([row["prediction"] for row in rows], [row["references"] for row in rows])
    results = json.loads((tmp_path / "out" / "all_results.json").read_text())
    for key in ("rouge1", "rouge2", "rougeL", "rougeLsum", "bleu", "score"):
        assert results[f"eval_{key}"] == pytest.approx(again[key], abs=1e-9)
    assert results["eval_rouge1"] > 5
