"""TextMetrics in a real Seq2SeqTrainer: a tiny T5 from a config, evaluated on the CPU in all three ways."""

import pytest
import torch

from hf_monitor.errors import InputError
from hf_monitor.metrics import TextMetrics, score_texts

PAIRS = [
    ("#Person1#: The weather in London is bad.", "#Person1# tells about the weather in London."),
    ("A: We meet at six. B: I bring the tickets.", "They meet. He will bring the tickets."),
    ("A: 오늘 학교에 갔니?", "철수는 오늘 학교에 갔다."),
    ("A: 무슨 책을 읽었니?", "영희는 집에서 책을 읽었다."),
    ("A: Shall we?", "They agree."),
]


@pytest.fixture(scope="module")
def parts(tokenizer):
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer) + 20,  # as real T5 heads are: wider than the tokenizer
        d_model=32,
        d_kv=16,
        d_ff=64,
        num_layers=1,
        num_heads=2,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    rows = [{"input_ids": tokenizer.encode(source), "labels": tokenizer.encode(target)} for source, target in PAIRS]
    model = T5ForConditionalGeneration(config)
    # A few steps, so that it says something: untrained, it ends at once.
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-2)
    for _ in range(12):
        for row in rows:
            loss = model(input_ids=torch.tensor([row["input_ids"]]), labels=torch.tensor([row["labels"]])).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return model, rows


def evaluate(parts, tokenizer, folder, metrics, **arguments):
    from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments

    model, rows = parts
    settings = {"predict_with_generate": True, "generation_max_length": 12, **arguments}
    trainer = Seq2SeqTrainer(
        model=model,
        args=Seq2SeqTrainingArguments(
            str(folder), per_device_eval_batch_size=2, use_cpu=True, report_to="none", disable_tqdm=True, **settings
        ),
        eval_dataset=rows,
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        processing_class=tokenizer,
        compute_metrics=metrics,
    )
    return trainer.evaluate()


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "arguments", [{}, {"batch_eval_metrics": True}, {"eval_do_concat_batches": False}], ids=["whole", "batches", "list"]
)
def test_evaluate(parts, tokenizer, tmp_path, arguments):
    metrics = TextMetrics(tokenizer)
    result = evaluate(parts, tokenizer, tmp_path, metrics, **arguments)
    rows = list(metrics.last.rows())
    assert [row["references"] for row in rows] == [[target] for _, target in PAIRS]
    again = score_texts([r["prediction"] for r in rows], [r["references"] for r in rows])
    for key, value in again.items():
        assert result[f"eval_{key}"] == pytest.approx(value, abs=1e-9)
    assert result["eval_score"] > 0
    assert 0 < result["eval_gen_len"] <= 12
    assert metrics.signature["rouge"]["language"].startswith("mixed")


def test_the_three_ways_agree(parts, tokenizer, tmp_path):
    results = []
    for arguments in ({}, {"batch_eval_metrics": True}, {"eval_do_concat_batches": False}):
        metrics = TextMetrics(tokenizer)
        evaluate(parts, tokenizer, tmp_path, metrics, **arguments)
        results.append((metrics.last.predictions, metrics.last.scores, metrics.last.counts))
    assert results[0] == results[1] == results[2]


def test_without_predict_with_generate(parts, tokenizer, tmp_path):
    with pytest.raises(InputError, match="predict_with_generate=True"):
        evaluate(parts, tokenizer, tmp_path, TextMetrics(tokenizer), predict_with_generate=False)
    problems = []
    metrics = TextMetrics(tokenizer)
    metrics.begin_evaluation(n_samples=len(PAIRS), on_problem=problems.append)
    result = evaluate(parts, tokenizer, tmp_path, metrics, predict_with_generate=False)
    assert "eval_loss" in result
    assert "eval_rouge1" not in result
    assert len(problems) == 1
