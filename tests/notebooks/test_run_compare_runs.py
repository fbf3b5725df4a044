"""05_compare_runs.ipynb, run in a real kernel."""

import pytest
from kernel_runs import Executed, is_chart, words_of

from hf_monitor import compare_runs, load_run
from hf_monitor.report.words import number


@pytest.mark.slow(seconds=20)
@pytest.mark.no_cover
def test_compare_runs(tmp_path):
    done = Executed("05_compare_runs.ipynb", tmp_path)
    done.check_outputs(trainings=4)
    folders = [done.folder / f"outputs/compare/lr_{rate}_seed_{seed}" for rate in (0.001, 0.006) for seed in (1, 2)]
    runs = [load_run(folder) for folder in folders]
    areas = [*done.shown("low = ["), *done.shown("high = [")]
    assert len(areas) == 4  # one for each training, in order
    for run, area in zip(runs, areas, strict=True):
        assert run.status == "finished"
        assert number(run.metrics.of("eval")[-1]["eval_loss"]) in words_of(area)

    comparison = compare_runs(folders, metric="eval_loss")
    assert comparison.verdict.outcome == "clear difference"
    assert "is of learning_rate=0.006" in str(comparison.verdict)
    assert "learning_rate=0.006" in done.text("comparison = compare_runs(")
    assert done.printed("comparison.verdict.outcome") == f"clear difference\n{comparison.verdict}\n"
    table = done.text("comparison.to_pandas()")
    for run in runs:
        assert f"{run.best('eval_loss').value:.4f}" in table
    assert "the seed" in done.printed("compare_runs([low[0]")
    assert [is_chart(chart) for chart in done.shown("display(LossChart", "image/png")] == [True, True]
    assert [is_chart(chart) for chart in done.shown("LearningRateChart.from_run", "image/png")] == [True]
    assert "finished" in done.text("best = min(")
