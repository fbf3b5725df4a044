"""predict_texts: the confidence against a forward pass over the finished sequence, and what is left untouched."""

import math
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_models import make_bart, make_bert, new_kobart_tokenizer
from torch.multiprocessing.reductions import StorageWeakRef

from hf_monitor import GeneratedText, predict_texts
from hf_monitor.errors import InputError
from hf_monitor.metrics.decoding import TokenDecoder
from hf_monitor.seq2seq.confidence import watched_generation

TEXTS = [
    "#Person1#: Hello. #Person2#: The meeting is at three.",
    "#Person1#: 점심 먹었어요?",
    "a",
    "#Person1#: 안녕하세요. #Person2#: 내일 회의는 세 시입니다. #Person1#: 네, 알겠습니다.",
    "#Person1#: Did you eat?",
]


def spread(model, seed):
    """Make a model's choices unequal: with weights as small as at the begin all words are as likely."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model.eval()


@pytest.fixture
def t5(make_model, tokenizer):
    return SimpleNamespace(model=spread(make_model(), 1), tokenizer=tokenizer, forced=(), pad=0, end=1)


@pytest.fixture
def bart():
    tokenizer = new_kobart_tokenizer()
    model = spread(make_bart(tokenizer), 5)
    model.generation_config.max_length = 12
    model.generation_config.forced_bos_token_id, model.generation_config.forced_eos_token_id = 0, 1
    return SimpleNamespace(model=model, tokenizer=tokenizer, forced=(0, 10), pad=3, end=1)


def encoded(kind, texts):
    found = kind.tokenizer(texts, padding=True, truncation=True, max_length=64, return_tensors="pt")
    return {name: found[name] for name in ("input_ids", "attention_mask")}


def by_teacher_forcing(kind, texts, ids):
    """Softmax of a forward pass over the finished sequences: the mean over the tokens that count, and how many."""
    with torch.no_grad():
        logits = kind.model(**encoded(kind, texts), decoder_input_ids=ids[:, :-1]).logits
    means = []
    for probabilities, tokens in zip(torch.softmax(logits.float(), dim=-1), ids[:, 1:].tolist(), strict=True):
        end = tokens.index(kind.end) if kind.end in tokens else len(tokens)
        counted = [i for i, t in enumerate(tokens) if i <= end and i not in kind.forced and t != kind.pad]
        values = [probabilities[i, tokens[i]].item() for i in counted]
        means.append((sum(values) / len(values) if values else None, len(values)))
    return means


@pytest.mark.parametrize("family", ["t5", "bart"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_beams": 3},
        {"num_beams": 3, "no_repeat_ngram_size": 2, "min_length": 5, "early_stopping": True},
        {"do_sample": True, "temperature": 0.5, "top_k": 4},
        {"do_sample": True, "num_beams": 2},
    ],
)
def test_confidence_is_that_of_a_forward_pass_over_the_sequence(family, options, request):
    kind = request.getfixturevalue(family)
    made = []
    generate = kind.model.generate

    def kept(**kwargs):
        made.append(generate(**kwargs))
        return made[-1]

    kind.model.generate = kept
    torch.manual_seed(0)
    found = predict_texts(kind.model, kind.tokenizer, TEXTS, batch_size=8, **options)
    order = sorted(TEXTS, key=lambda text: -len(kind.tokenizer(text)["input_ids"]))  # one batch, the longest first
    wanted = dict(zip(order, by_teacher_forcing(kind, order, made[0]), strict=True))
    assert [one.input for one in found] == TEXTS
    assert [one.n_tokens for one in found] == [wanted[text][1] for text in TEXTS]
    assert any(one.n_tokens > 3 for one in found)
    for one in found:
        assert one.confidence == pytest.approx(wanted[one.input][0], abs=1e-5)
    texts = dict(zip(order, TokenDecoder(kind.tokenizer).decode(made[0], "predictions").texts, strict=True))
    assert [one.text for one in found] == [texts[text] for text in TEXTS]  # as the Trainer's are scored


@pytest.mark.no_cover
@pytest.mark.parametrize("family", ["t5", "bart"])
@pytest.mark.parametrize("options", [{}, {"num_beams": 3}])
def test_a_batch_with_padding_gives_what_single_texts_give(family, options, request):
    kind = request.getfixturevalue(family)
    together = predict_texts(kind.model, kind.tokenizer, TEXTS, batch_size=3, **options)
    alone = [predict_texts(kind.model, kind.tokenizer, [text], **options)[0] for text in TEXTS]
    for one, other in zip(together, alone, strict=True):
        assert (one.text, one.n_tokens, one.ended) == (other.text, other.n_tokens, other.ended)
        assert one.confidence == pytest.approx(other.confidence, abs=1e-5)


def ending_model(tokenizer, make_model, first, then):
    """A T5 that gives the same logits whatever it reads: probability `first` for the end at first, `then` later."""
    model = make_model().eval()
    word = tokenizer("x")["input_ids"][0]

    def logits(module, args, output):
        before = model.asked
        model.asked += 1
        end = first if before == 0 else then
        scores = torch.full_like(output, -1e9)
        scores[..., 1], scores[..., word] = math.log(end), math.log(1 - end)
        return scores

    model.asked = 0
    model.lm_head.register_forward_hook(logits)
    return model


@pytest.mark.parametrize(
    ("first", "then", "text", "confidence", "n_tokens", "ended"),
    [
        (0.75, 0.5, "", 0.75, 1, True),  # ended at once: the end is a token
        (0.25, 0.875, "x", (0.75 + 0.875) / 2, 2, True),
        (0.25, 0.125, "xxxx", (0.75 + 3 * 0.875) / 4, 4, False),  # cut at the greatest length
    ],
)
def test_the_mean_by_hand(tokenizer, make_model, first, then, text, confidence, n_tokens, ended):
    model = ending_model(tokenizer, make_model, first, then)
    found = predict_texts(model, tokenizer, ["in"], max_new_tokens=4)
    assert found == [GeneratedText(text, pytest.approx(confidence, abs=1e-6), n_tokens, ended, "in")]


@pytest.mark.parametrize("in_config", [False, True])
def test_a_text_that_a_stop_string_cuts_has_not_ended(tokenizer, make_model, in_config):
    model = ending_model(tokenizer, make_model, 0.25, 0.125)
    options = {} if in_config else {"stop_strings": ["xx"]}
    model.generation_config.stop_strings = ["xx"] if in_config else None
    found = predict_texts(model, tokenizer, ["in"], max_new_tokens=6, **options)
    assert found == [GeneratedText("xx", pytest.approx((0.75 + 0.875) / 2, abs=1e-6), 2, False, "in")]


def test_where_every_token_is_forced_nothing_is_known(t5):
    t5.model.generation_config.forced_bos_token_id = 5
    (one,) = predict_texts(t5.model, t5.tokenizer, ["x"], max_length=2)
    assert (one.confidence, one.n_tokens, one.ended) == (None, 0, False)


def test_an_end_that_was_forced_at_the_greatest_length_is_not_the_models(t5):
    model, tokenizer = t5.model, t5.tokenizer
    free = predict_texts(model, tokenizer, TEXTS[:1], max_length=8, bad_words_ids=[[1]])[0]
    cut = predict_texts(model, tokenizer, TEXTS[:1], max_length=9, bad_words_ids=[[1]], forced_eos_token_id=1)[0]
    assert not free.ended
    assert not cut.ended
    assert cut.confidence == pytest.approx(free.confidence, abs=1e-6)


def test_a_broken_model_has_no_confidence(t5):
    with torch.no_grad():
        t5.model.lm_head.weight[7] = float("nan")
    assert predict_texts(t5.model, t5.tokenizer, ["x"])[0].confidence is None


def test_half_precision_is_counted_in_float32(t5):
    model = t5.model.to(torch.bfloat16)
    seen = []
    with watched_generation(model, seen.append):
        ids = model.generate(**encoded(t5, TEXTS), num_beams=2)
    assert seen[0].confidence.dtype == torch.float32
    wanted = by_teacher_forcing(t5, TEXTS, ids)
    # One pass over the whole sequence rounds otherwise than step by step does.
    assert seen[0].confidence.tolist() == pytest.approx([value for value, _ in wanted], abs=0.02)


def test_several_sequences_a_text_are_followed_too(t5):
    seen = []
    with watched_generation(t5.model, seen.append):
        ids = t5.model.generate(**encoded(t5, TEXTS), num_beams=4, num_return_sequences=3)
    wanted = by_teacher_forcing(t5, [text for text in TEXTS for _ in range(3)], ids)
    known = [(value, n) for value, n in wanted if n]
    assert len(known) > 5
    got = zip(seen[0].confidence.tolist(), seen[0].n_tokens.tolist(), strict=True)
    for (value, n), (confidence, n_tokens) in zip(wanted, got, strict=True):
        assert n_tokens == n
        assert math.isnan(confidence) if n == 0 else confidence == pytest.approx(value, abs=1e-5)


def test_the_logits_of_all_steps_are_never_kept(t5):
    """There are the step's own and those of the one before, however long the texts are."""
    made, alive = [], []

    def count(module, args, output):
        made.append(StorageWeakRef(output.logits.untyped_storage()))
        alive.append(sum(not one.expired() for one in made))

    with watched_generation(t5.model, lambda batch: None):
        handle = t5.model.register_forward_hook(count)
        t5.model.generate(**encoded(t5, TEXTS), num_beams=2, max_length=10)
        handle.remove()
    assert len(alive) > 6
    assert max(alive) == 2


def test_the_model_and_the_random_numbers_are_as_before(t5):
    model = t5.model
    model.train()
    model.encoder.eval()  # frozen, say
    modes = [module.training for module in model.modules()]
    config = model.generation_config.to_dict()
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    first = predict_texts(model, t5.tokenizer, TEXTS, num_beams=2)
    assert [module.training for module in model.modules()] == modes
    assert model.generation_config.to_dict() == config
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[:2]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert predict_texts(model, t5.tokenizer, TEXTS, num_beams=2) == first  # no dropout
    assert "generate" not in model.__dict__
    assert not model._forward_hooks


def test_after_an_error_the_model_is_as_before(t5):
    t5.model.train()
    with pytest.raises(ValueError, match="no_such_option"):
        predict_texts(t5.model, t5.tokenizer, TEXTS, no_such_option=1)
    assert t5.model.training
    assert "generate" not in t5.model.__dict__
    assert not t5.model._forward_hooks


def test_the_prefix_goes_before_each_text_and_long_texts_are_cut(t5):
    plain = predict_texts(t5.model, t5.tokenizer, [f"sum: {TEXTS[0]}"])
    prefixed = predict_texts(t5.model, t5.tokenizer, [TEXTS[0]], source_prefix="sum: ")
    assert (prefixed[0].confidence, prefixed[0].input) == (plain[0].confidence, TEXTS[0])
    short = predict_texts(t5.model, t5.tokenizer, [TEXTS[0], f"{TEXTS[0]} and more"], max_source_length=5)
    assert short[0].confidence == pytest.approx(short[1].confidence, abs=1e-6)


def test_speaker_marks_stay_though_they_are_special_tokens(make_model, tokenizer):
    import copy

    with_marks = copy.deepcopy(tokenizer)
    with_marks.add_special_tokens({"additional_special_tokens": ["#Person1#"]})
    model = make_model().eval()
    model.resize_token_embeddings(len(with_marks))
    mark = with_marks.convert_tokens_to_ids("#Person1#")
    found = predict_texts(model, with_marks, ["x"], max_length=3, forced_bos_token_id=mark, min_length=3)
    assert found[0].text.startswith("#Person1#")


def test_a_progress_bar_only_where_it_is_asked_for(t5, capsys):
    predict_texts(t5.model, t5.tokenizer, TEXTS, batch_size=2)
    assert capsys.readouterr().err == ""
    predict_texts(t5.model, t5.tokenizer, TEXTS, batch_size=2, progress=True)
    assert "5/5" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # asked for by peft 0.21
def test_a_lora_adapter_is_listened_to(t5):
    peft = pytest.importorskip("peft")
    base = predict_texts(t5.model, t5.tokenizer, TEXTS, num_beams=2)
    config = peft.LoraConfig(task_type=peft.TaskType.SEQ_2_SEQ_LM, r=2, target_modules=["q", "v"])
    model = peft.get_peft_model(t5.model, config)  # which changes nothing before it is trained
    found = predict_texts(model, t5.tokenizer, TEXTS, num_beams=2)
    assert [one.text for one in found] == [one.text for one in base]
    assert [one.confidence for one in found] == pytest.approx([one.confidence for one in base], abs=1e-6)


def test_no_texts_and_empty_texts(t5, bart):
    assert predict_texts(t5.model, t5.tokenizer, []) == []
    for kind in (t5, bart):  # of which the second's tokenizer makes no token at all of it
        found = predict_texts(kind.model, kind.tokenizer, ["", "안녕"])
        assert [one.input for one in found] == ["", "안녕"]
        assert all(0 < one.confidence <= 1 for one in found)


@pytest.mark.parametrize(
    ("texts", "options", "words"),
    [
        ("one text", {}, r"texts must be a list of texts, got str. One text: \[text\]."),
        (None, {}, "texts must be a list of texts, got NoneType"),
        (["a", None], {}, r"texts\[1\] must be a text, got None"),
        (["a"], {"batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"),
        (["a"], {"max_source_length": 1}, "max_source_length must be a whole number of at least 2, got 1"),
        (["a"], {"num_return_sequences": 2, "num_beams": 2}, "one text for each, got num_return_sequences=2"),
        (["a"], {"input_ids": [[1]]}, "predict_texts makes input_ids from the texts"),
        (["a"], {"prompt_lookup_num_tokens": 3}, "the confidence cannot be told with prompt_lookup_num_tokens"),
    ],
)
def test_what_is_refused(t5, texts, options, words):
    with pytest.raises(InputError, match=words):
        predict_texts(t5.model, t5.tokenizer, texts, **options)


def test_swapped_or_missing_model_and_tokenizer_are_named(t5):
    with pytest.raises(InputError, match=r"model has no config"):
        predict_texts(t5.tokenizer, t5.model, ["text"])
    with pytest.raises(InputError, match=r"tokenizer has no batch_decode: got None"):
        predict_texts(t5.model, None, ["text"])


def test_a_text_that_the_model_saw_only_in_part_says_so(t5):
    found = predict_texts(t5.model, t5.tokenizer, ["a", "long " * 50], max_source_length=8, max_new_tokens=2)
    assert [one.input_cut for one in found] == [False, True]


def test_a_model_without_a_decoder_is_refused(tokenizer):
    with pytest.raises(InputError, match=r"needs an encoder-decoder model \(T5, BART ...\), got BertModel"):
        predict_texts(make_bert(), tokenizer, ["a"])
