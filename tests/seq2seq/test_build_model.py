import sys

import pytest
from small_models import make_bart, make_bert, new_kobart_tokenizer

from hf_monitor.errors import InputError, MissingPackageError
from hf_monitor.seq2seq.arguments import ModelArguments
from hf_monitor.seq2seq.build import add_lora, build_model

# peft 0.21 still asks by the name that transformers 5.23 is about to drop.
OLD_NAME = "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"


@pytest.fixture
def t5_folder(make_model, tokenizer, tmp_path):
    make_model().save_pretrained(tmp_path / "t5")
    tokenizer.save_pretrained(tmp_path / "t5")
    return str(tmp_path / "t5")


def test_from_disk_in_float32_whatever_it_was_saved_in(make_model, tokenizer, t5_folder):
    import torch

    make_model().to(torch.bfloat16).save_pretrained(t5_folder)
    model, loaded = build_model(ModelArguments(model_name_or_path=t5_folder))
    assert model.dtype == torch.float32  # training in bfloat16 alone loses small updates
    assert loaded("안녕")["input_ids"] == tokenizer("안녕")["input_ids"]
    model, _ = build_model(ModelArguments(model_name_or_path=t5_folder, dtype="auto"))
    assert model.dtype == torch.bfloat16


def test_without_names_a_small_t5_with_a_tokenizer_of_the_texts():
    model, tokenizer = build_model(ModelArguments(), ["오늘은 좋은 날이다", "a good day"] * 10, max_target_length=33)
    assert model.config.model_type == "t5"
    assert model.config.vocab_size >= len(tokenizer)
    assert model.generation_config.max_length == 33
    assert tokenizer.decode(tokenizer("좋은 day")["input_ids"], skip_special_tokens=True) == "좋은 day"
    with pytest.raises(InputError, match=r"no tokenizer: name one .*--train_file"):
        build_model(ModelArguments())


def test_a_config_alone_gives_random_weights(t5_folder):
    loaded, _ = build_model(ModelArguments(model_name_or_path=t5_folder))
    model, tokenizer = build_model(ModelArguments(config_name=t5_folder))
    assert model.config.d_model == loaded.config.d_model
    assert not (model.shared.weight == loaded.shared.weight).all()
    assert len(tokenizer) == model.config.vocab_size


def test_embeddings_grow_with_the_tokenizer(t5_folder, tokenizer, tmp_path):
    from transformers import AutoTokenizer

    bigger = AutoTokenizer.from_pretrained(t5_folder)
    bigger.add_tokens([f"<new{i}>" for i in range(7)])
    bigger.save_pretrained(tmp_path / "bigger")
    arguments = ModelArguments(model_name_or_path=t5_folder, tokenizer_name=str(tmp_path / "bigger"))
    model, _ = build_model(arguments)
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer) + 7


def test_what_cannot_be_used_is_named(t5_folder, tmp_path):
    make_bert().save_pretrained(tmp_path / "bert")
    with pytest.raises(InputError, match=r"is a 'bert', which is no sequence-to-sequence model: use T5"):
        build_model(ModelArguments(model_name_or_path=str(tmp_path / "bert")))
    with pytest.raises(InputError, match=r"the model '.*nowhere' cannot be loaded"):
        build_model(ModelArguments(model_name_or_path=str(tmp_path / "nowhere")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"the tokenizer '.*empty' cannot be loaded"):
        build_model(ModelArguments(model_name_or_path=t5_folder, tokenizer_name=str(tmp_path / "empty")))
    (tmp_path / "t5" / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"the model '.*t5' cannot be loaded"):
        build_model(ModelArguments(model_name_or_path=t5_folder))


@pytest.mark.parametrize("name", ["{}/no/folder", "./nofolder", "../nofolder", "~/nofolder"])
def test_a_path_that_is_not_there_is_no_name_on_the_hub(tmp_path, name):
    name = name.format(tmp_path)
    for option, what in (("model_name_or_path", "model"), ("config_name", "config"), ("tokenizer_name", "tokenizer")):
        with pytest.raises(InputError, match=f"the {what} '.*' cannot be loaded: there is no such folder"):
            build_model(ModelArguments(**{option: name}))


def test_a_file_where_a_folder_is_meant(t5_folder):
    with pytest.raises(InputError, match="it is a file; name the folder that holds it"):
        build_model(ModelArguments(model_name_or_path=f"{t5_folder}/config.json"))
    build_model(ModelArguments(config_name=f"{t5_folder}/config.json", tokenizer_name=t5_folder))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, r"the folder holds none of spiece\.model, tokenizer\.json\.$"),
        ({"tokenizer.json": "{}"}, r"'added_tokens' is missing in it\.$"),
        ({"tokenizer.json": '{"version": "1.0", "added_tokens": [], "model": {}}'}, "cannot be loaded: data did not"),
        (
            {"tokenizer_config.json": '{"tokenizer_class": "Nosuch"}'},
            r"no tokenizer\.json .*pip install sentencepiece$",
        ),
    ],
)
def test_a_tokenizer_that_is_none(make_model, tmp_path, files, words):
    make_model().save_pretrained(tmp_path)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words):
        build_model(ModelArguments(model_name_or_path=str(tmp_path)))


@pytest.mark.filterwarnings(OLD_NAME)
def test_lora_on_t5_and_bart(make_model):
    kobart_tokenizer = new_kobart_tokenizer()
    pytest.importorskip("peft")
    for model, names in ((make_model(), {"q", "v"}), (make_bart(kobart_tokenizer), {"q_proj", "v_proj"})):
        adapted = add_lora(model, ModelArguments(lora_r=2))
        assert set(adapted.peft_config["default"].target_modules) == names
        trained = [name for name, p in adapted.named_parameters() if p.requires_grad]
        assert trained
        assert all("lora_" in name for name in trained)


@pytest.mark.filterwarnings(OLD_NAME)
def test_lora_where_it_cannot_be(make_model, monkeypatch):
    pytest.importorskip("peft")
    with pytest.raises(InputError, match=r"no LoRA on \['nothing'\].*'wi'"):
        add_lora(make_model(), ModelArguments(lora_target_modules="nothing"))
    adapted = add_lora(make_model(), ModelArguments(lora_target_modules="q, wo"))
    assert set(adapted.peft_config["default"].target_modules) == {"q", "wo"}
    with pytest.raises(InputError, match="has an adapter already"):
        add_lora(adapted, ModelArguments())
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'hf-monitor\[lora\]'"):
        add_lora(make_model(), ModelArguments())


@pytest.mark.filterwarnings(OLD_NAME)
def test_a_saved_adapter_is_loaded_onto_its_base(t5_folder, tmp_path):
    pytest.importorskip("peft")
    import torch

    base, _ = build_model(ModelArguments(model_name_or_path=t5_folder))
    adapted = add_lora(base, ModelArguments(lora_r=2))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
    adapted.save_pretrained(tmp_path / "adapter")
    _, tokenizer = build_model(ModelArguments(model_name_or_path=t5_folder))
    tokenizer.save_pretrained(tmp_path / "adapter")
    again, _ = build_model(ModelArguments(model_name_or_path=str(tmp_path / "adapter")))
    ids = torch.tensor([[3, 4, 1]])
    adapted.eval(), again.eval()
    assert torch.equal(adapted(input_ids=ids, labels=ids).logits, again(input_ids=ids, labels=ids).logits)
    assert any(p.requires_grad for p in again.parameters())
