"""04_batch_size_and_gpu.ipynb, run in a real kernel."""

import json
import re

import pytest
from kernel_runs import Executed


@pytest.mark.slow(seconds=20)
@pytest.mark.no_cover
def test_batch_size_and_gpu(tmp_path):
    done = Executed("04_batch_size_and_gpu.ipynb", tmp_path)
    done.check_outputs()
    usable = done.printed("gpu.usable").splitlines()[0] == "usable: True"
    [report] = done.shown("check_gpu_compatibility()", "text/plain")
    assert report.startswith("GPU NOT USABLE: ") is not usable

    card = done.printed("%run -m hf_monitor plan")
    found = re.search(r"GeForce RTX 3060 +12288 MiB .* bf16 +(\d+) +(\d+) +\d+ MiB +(\d+)\n", card)
    batch, accumulation, largest = map(int, found.groups())
    assert batch * accumulation == 128
    assert batch <= largest

    largest = int(re.search(r"at most (\d+) samples", done.printed("largest =")).group(1))
    plan = json.loads((done.folder / "outputs/batch_size/monitor/plan.json").read_text(encoding="utf-8"))["plan"]
    batch, accumulation = plan["per_device_train_batch_size"], plan["gradient_accumulation_steps"]
    assert batch <= largest
    assert batch * accumulation == plan["effective_batch_size"] == 64
    explained = done.printed("plan.explain()")
    assert f"{batch} x {accumulation} accumulation steps = 64 samples an update" in explained
    assert f"peak {plan['probe']['peak_bytes'] / 2**20:.1f} MiB measured" in explained
    assert plan["probe"]["peak_bytes"] <= 0.95 * 96 * 2**20
    assert done.printed("plan.training_arguments(") == f"{batch} x {accumulation} = 64\n"
    assert f"per_device_train_batch_size: {batch}\n" in done.printed("trials = ")
    trials = (done.folder / "outputs/batch_size/monitor/trials.jsonl").read_text(encoding="utf-8").splitlines()
    assert done.shown("trials = ")[0].count("<tr>") == len(trials)
    does_not_fit = done.printed("except BatchDoesNotFit")
    assert does_not_fit.startswith("not even one sample of 128 source and 40 target tokens fits")
    assert "(enough)" in does_not_fit
