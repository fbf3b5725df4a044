"""The demo's tokenizer loses nothing, and both it and the model survive being saved and loaded the usual way."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import unicodedata

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, DataCollatorForSeq2Seq, set_seed

from hf_monitor.demo import SPLITS, load_demo
from hf_monitor.errors import InputError
from hf_monitor.seq2seq.demo_model import DEMO_TRAINING, SPEAKER_MARKS, build_demo_model, build_demo_tokenizer

SPECIAL = ("<pad>", "</s>", "<unk>")


def corpus_texts(*splits):
    return [text for split in splits for record in load_demo(split) for text in (record["dialogue"], record["summary"])]


@pytest.fixture(scope="module")
def tokenizer():
    return build_demo_tokenizer(corpus_texts("train"))


@pytest.fixture(scope="module")
def model(tokenizer):
    set_seed(3)
    return build_demo_model(tokenizer)


def round_trip(tokenizer, text):
    return tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True)


@pytest.mark.no_cover
def test_the_whole_corpus_comes_back_and_fits_the_lengths(tokenizer):
    for split in SPLITS:
        for record in load_demo(split):
            for key, limit in (("dialogue", "max_source_length"), ("summary", "max_target_length")):
                ids = tokenizer(record[key]).input_ids
                assert tokenizer.decode(ids, skip_special_tokens=True) == record[key]
                assert len(ids) < DEMO_TRAINING[limit]
                assert tokenizer.unk_token_id not in ids


@pytest.mark.parametrize(
    "text",
    [
        "이모지 🙂👩‍👩‍👧 와 뷁",
        "뷁",
        " a  b ",
        "\n\n\t\r\n",
        "▁밑줄▁",
        "日本語 العربية",
        "#Person1#: #Person2#'s #Person3##Person4# #Person5#",
        "I'm Kevin's. 3.5$ <0x41>",
        "",
    ],
)
def test_what_was_never_seen_comes_back(tokenizer, text):
    assert round_trip(tokenizer, text) == text


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=40))
def test_any_text_comes_back_in_nfc(tokenizer, text):
    normal = unicodedata.normalize("NFC", text)
    if not any(special in normal for special in SPECIAL):
        assert round_trip(tokenizer, text) == normal


def test_decomposed_hangul_is_composed(tokenizer):
    assert round_trip(tokenizer, unicodedata.normalize("NFD", "안녕하세요, 지훈 씨")) == "안녕하세요, 지훈 씨"


def test_special_ids_are_those_of_t5(tokenizer):
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert sorted(tokenizer.all_special_tokens) == sorted(SPECIAL)
    encoded = tokenizer("안녕", text_target="hello")
    assert encoded.input_ids[-1] == encoded.labels[-1] == 1
    assert set(encoded) == {"input_ids", "attention_mask", "labels"}
    cut = tokenizer("안녕하세요 반갑습니다 지훈 씨", max_length=3, truncation=True)
    assert len(cut.input_ids) == 3
    assert cut.input_ids[-1] == 1


def test_speaker_marks_are_one_ordinary_token_each(tokenizer):
    for mark in SPEAKER_MARKS:
        ids = tokenizer(f"{mark}: hi", add_special_tokens=False).input_ids
        assert tokenizer.convert_ids_to_tokens(ids)[0] == mark
        assert tokenizer.convert_tokens_to_ids(mark) not in tokenizer.all_special_ids
        assert mark in tokenizer.decode(ids, skip_special_tokens=True)


def test_bytes_of_a_cut_character_show_as_such(tokenizer):
    ids = tokenizer("뷁", add_special_tokens=False).input_ids
    assert len(ids) == 3
    assert "\ufffd" in tokenizer.decode(ids[:2])


def test_training_gives_the_same_pieces_in_another_process(tokenizer):
    code = (
        "import hashlib, json\n"
        "from hf_monitor.demo import load_demo\n"
        "from hf_monitor.seq2seq.demo_model import build_demo_tokenizer\n"
        "t = build_demo_tokenizer([x for r in load_demo('train') for x in (r['dialogue'], r['summary'])])\n"
        "print(hashlib.sha256(json.dumps(sorted(t.get_vocab().items())).encode()).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120)
    here = hashlib.sha256(json.dumps(sorted(tokenizer.get_vocab().items())).encode()).hexdigest()
    assert done.stdout.strip() == here


def test_few_texts_and_a_small_vocabulary_do(tokenizer):
    small = build_demo_tokenizer(["안녕 hello"], vocab_size=265)
    assert 265 <= len(small) < 280  # all characters of the texts are in, however small the number wanted
    assert round_trip(small, "전혀 다른 글 🙂") == "전혀 다른 글 🙂"
    assert len(tokenizer) <= 2400


def test_unusable_input_is_refused():
    with pytest.raises(InputError, match=r"at least 265.*got 100"):
        build_demo_tokenizer(["a"], vocab_size=100)
    with pytest.raises(InputError, match="no text"):
        build_demo_tokenizer(["", ""])


def test_a_width_that_heads_do_not_divide_is_refused(tokenizer):
    with pytest.raises(InputError, match="multiple of num_heads; got 10 and 4"):
        build_demo_model(tokenizer, d_model=10, num_heads=4)


def test_the_same_seed_makes_the_same_model(tokenizer, model):
    set_seed(3)
    again = build_demo_model(tokenizer)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    set_seed(4)
    other = build_demo_model(tokenizer)
    assert not torch.equal(other.shared.weight, model.shared.weight)


def test_generation_stops_at_the_target_length(tokenizer, model):
    batch = tokenizer(["#Person1#: 안녕?", "#Person1#: Hi!"], return_tensors="pt", padding=True)
    out = model.generate(**batch)
    assert out.shape[1] <= DEMO_TRAINING["max_target_length"]
    assert (out[:, 0] == 0).all()


@pytest.mark.no_cover
def test_saved_and_loaded_with_the_auto_classes_nothing_changes(tokenizer, model, tmp_path):
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    tokenizer_again = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    model_again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, local_files_only=True)

    assert tokenizer_again.get_vocab() == tokenizer.get_vocab()
    assert tokenizer_again.model_input_names == tokenizer.model_input_names
    for text in [*corpus_texts("test")[:40], "이모지 🙂 와 뷁", " a  b\n"]:
        assert tokenizer_again(text) == tokenizer(text)
        assert round_trip(tokenizer_again, text) == text
    assert model_again.generation_config.max_length == model.generation_config.max_length
    assert model_again.config.decoder_start_token_id == 0
    batch = tokenizer(["#Person1#: 안녕?", "#Person1#: Hi!"], return_tensors="pt", padding=True)
    model.eval()
    assert torch.equal(model_again.generate(**batch), model.generate(**batch))


@pytest.mark.no_cover
def test_it_learns_one_batch_by_heart(tokenizer):
    """The whole way, from texts to loss and back: eight dialogues are learnt in some steps."""
    set_seed(0)
    model = build_demo_model(tokenizer, d_model=64, num_layers=1, dropout_rate=0.0)
    rows = load_demo("train")[:8]
    features = [
        {**tokenizer(row["dialogue"]), "labels": tokenizer(text_target=row["summary"]).input_ids} for row in rows
    ]
    batch = DataCollatorForSeq2Seq(tokenizer, model)(features)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # tensors this small gain nothing from a second thread, and wait for it on a busy machine
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(80):
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    out = model.generate(batch["input_ids"], attention_mask=batch["attention_mask"])
    texts = tokenizer.batch_decode(out, skip_special_tokens=True)
    torch.set_num_threads(threads)
    assert sum(text == row["summary"] for text, row in zip(texts, rows, strict=True)) >= 7, texts
