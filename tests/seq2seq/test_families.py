"""mBART, mBART-50 and KoBART through the whole script: trained, evaluated, saved."""

import json
from importlib import util
from pathlib import Path

import pytest
from small_models import (
    DIALOGUES,
    SUMMARIES,
    make_bart,
    make_mbart,
    new_kobart_tokenizer,
    new_mbart50_tokenizer,
    new_mbart_tokenizer,
)

SCRIPT = Path(__file__).parents[2] / "scripts" / "train_summarizer.py"


@pytest.fixture
def train(tmp_path, monkeypatch):
    spec = util.spec_from_file_location("train_summarizer", SCRIPT)
    script = util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.chdir(tmp_path)
    rows = [{"dialogue": d, "summary": s} for d, s in zip(DIALOGUES, SUMMARIES, strict=True)]
    Path("data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def run(model, tokenizer, *argv):
        model.save_pretrained("model")
        tokenizer.save_pretrained("model")
        small = ["--use_cpu", "--disable_tqdm", "true", "--save_strategy", "no", "--max_target_length", "8"]
        data = ["--model_name_or_path", "model", "--train_file", "data.jsonl", "--validation_file", "data.jsonl"]
        return script.main([*data, *small, "--output_dir", "out", "--max_steps", "2", *argv])

    return run


def saved():
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    return AutoModelForSeq2SeqLM.from_pretrained("out"), AutoTokenizer.from_pretrained("out")


@pytest.mark.no_cover
def test_kobart(train):
    tokenizer = new_kobart_tokenizer()
    assert train(make_bart(tokenizer), tokenizer) == 0
    results = json.loads(Path("out/all_results.json").read_text())
    assert results["eval_gen_len"] > 1
    assert results["train_loss"] > 0


@pytest.mark.no_cover
def test_mbart(train, capsys):
    tokenizer = new_mbart_tokenizer()
    assert train(make_mbart(tokenizer), tokenizer) == 2  # the language is missing
    assert "needs the language of the texts: --lang" in capsys.readouterr().err
    assert train(make_mbart(tokenizer), tokenizer, "--lang", "ko_KR") == 0
    model, tokenizer = saved()
    assert type(tokenizer).__name__.startswith("MBart")
    generated = model.generate(**tokenizer(DIALOGUES[0], return_tensors="pt"), max_length=4)
    assert generated[0, 0] == tokenizer.convert_tokens_to_ids("ko_KR")


def test_mbart50(train):
    tokenizer = new_mbart50_tokenizer()
    model = make_mbart(tokenizer)
    model.config.decoder_start_token_id = model.generation_config.decoder_start_token_id = tokenizer.eos_token_id
    assert train(model, tokenizer, "--lang", "ko_KR", "--num_beams", "2") == 0
    model, tokenizer = saved()
    generated = model.generate(**tokenizer(DIALOGUES[0], return_tensors="pt"), max_length=4)
    assert generated[0, 1] == tokenizer.convert_tokens_to_ids("ko_KR")
