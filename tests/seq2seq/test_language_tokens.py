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

from hf_monitor.errors import InputError
from hf_monitor.seq2seq.languages import has_languages, set_languages
from hf_monitor.seq2seq.preprocessing import Preprocessor


def encode(tokenizer, model):
    batch = {"text": DIALOGUES, "references": [[summary] for summary in SUMMARIES]}
    return Preprocessor(tokenizer, model, 60, 60).encode(batch)


def test_mbart_begins_a_summary_with_its_language():
    mbart_tokenizer = new_mbart_tokenizer()
    model = make_mbart(mbart_tokenizer)
    korean = mbart_tokenizer.convert_tokens_to_ids("ko_KR")
    set_languages(model, mbart_tokenizer, "ko_KR", None)
    found = encode(mbart_tokenizer, model)
    assert all(ids[-2:] == [mbart_tokenizer.eos_token_id, korean] for ids in found["input_ids"] + found["labels"])
    generated = model.generate(**mbart_tokenizer(DIALOGUES[:1], return_tensors="pt"), max_length=6)
    assert generated[0, 0] == korean
    assert model.config.decoder_start_token_id == korean


def test_mbart50_forces_the_language_as_first_token():
    mbart50_tokenizer = new_mbart50_tokenizer()
    model = make_mbart(mbart50_tokenizer)
    model.generation_config.decoder_start_token_id = model.config.decoder_start_token_id = 2
    korean = mbart50_tokenizer.convert_tokens_to_ids("ko_KR")
    set_languages(model, mbart50_tokenizer, "ko_KR", None)
    found = encode(mbart50_tokenizer, model)
    assert all((ids[0], ids[-1]) == (korean, 2) for ids in found["input_ids"] + found["labels"])
    generated = model.generate(**mbart50_tokenizer(DIALOGUES[:1], return_tensors="pt"), max_length=6)
    assert generated[0, :2].tolist() == [2, korean]


def test_another_first_token():
    mbart50_tokenizer = new_mbart50_tokenizer()
    kobart_tokenizer = new_kobart_tokenizer()
    model = make_mbart(mbart50_tokenizer)
    set_languages(model, mbart50_tokenizer, "ko_KR", "en_XX")
    assert model.generation_config.forced_bos_token_id == mbart50_tokenizer.convert_tokens_to_ids("en_XX")
    bart = make_bart(kobart_tokenizer)
    set_languages(bart, kobart_tokenizer, None, "<usr>")
    assert bart.generation_config.forced_bos_token_id == 2
    with pytest.raises(InputError, match=r"forced_bos_token 'nothing' is no token"):
        set_languages(bart, kobart_tokenizer, None, "nothing")


def test_what_is_wrong_with_a_language_is_said():
    mbart_tokenizer = new_mbart_tokenizer()
    kobart_tokenizer = new_kobart_tokenizer()
    model = make_mbart(mbart_tokenizer)
    with pytest.raises(InputError, match=r"needs the language of the texts: --lang.*ko_KR"):
        set_languages(model, mbart_tokenizer, None, None)
    with pytest.raises(InputError, match=r"--lang 'ko' is no language of .*Did you mean ko_KR\?"):
        set_languages(model, mbart_tokenizer, "ko", None)
    with pytest.raises(InputError, match=r"--lang 'xx_YY' is no language of .*It has ar_AR"):
        set_languages(model, mbart_tokenizer, "xx_YY", None)
    with pytest.raises(InputError, match=r"forced_bos_token 'en' .*Did you mean en_XX"):
        set_languages(model, mbart_tokenizer, "ko_KR", "en")
    with pytest.raises(InputError, match=r"--lang is for tokenizers with language tokens"):
        set_languages(make_bart(kobart_tokenizer), kobart_tokenizer, "ko_KR", None)


def test_models_without_languages_stay_as_they_are(tokenizer, make_model):
    model = make_model()
    before = model.generation_config.to_dict()
    assert not has_languages(tokenizer)
    set_languages(model, tokenizer, None, None)
    assert model.generation_config.to_dict() == before
