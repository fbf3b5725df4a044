"""02_korean_summarizer.ipynb, run in a real kernel."""

import re

import pytest
from kernel_runs import Executed, is_chart, without_spaces

from hf_monitor import load_run
from hf_monitor.report.words import number


@pytest.mark.slow(seconds=20)
@pytest.mark.no_cover
def test_korean_summarizer(tmp_path):
    done = Executed("02_korean_summarizer.ipynb", tmp_path)
    done.check_outputs()
    said = done.printed("RougeScorer(")
    assert "rouge_score, 같은 문장: 0\n" in said
    assert "score_texts, 같은 문장: 100.0\n" in said
    assert "mecab-ko" in said

    run = load_run(done.folder / "outputs/korean_summarizer/monitor")
    assert (run.status, run.last_step) == ("finished", 200)
    area = done.text("trainer.train()")
    last = run.metrics.of("eval")[-1]
    assert number(last["eval_loss"]) in area
    assert number(last["eval_rougeL"]) in area
    assert last["eval_rougeL"] > 30
    texts = run.latest_predictions("eval")
    for row in texts[:3]:  # Korean, and unharmed
        assert without_spaces(row["references"][0]) in without_spaces(area)
        assert without_spaces(row["prediction"]) in without_spaces(area)

    table = done.text("순서대로.head(3)")
    assert "모델의 요약" in table
    best = max(texts, key=lambda row: row["rougeL"])
    assert best["prediction"] in table
    for words in ("LossChart.from_run", "ErrorCasesChart.from_run"):
        [chart] = done.shown(words, "image/png")
        assert is_chart(chart)
    lines = done.printed("predict_texts(").splitlines()
    assert len(lines) == 2
    for line in lines:
        assert re.fullmatch(r"확신 [01]\.\d\d  .*[가-힣].*", line)
