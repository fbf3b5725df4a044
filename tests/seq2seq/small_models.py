"""Small models of several families, made on the spot with tokenizers of their own classes."""

from __future__ import annotations

DIALOGUES = [
    "#Person1#: 안녕하세요. #Person2#: 내일 회의는 세 시입니다.",
    "#Person1#: Did you eat? #Person2#: Not yet, let us go.",
]
SUMMARIES = ["#Person2#는 회의 시간을 알린다.", "They will go to eat."]


def _characters():
    return sorted(set("".join(DIALOGUES + SUMMARIES)) - {" "})


def new_mbart_tokenizer():
    from transformers import MBartTokenizer

    fixed = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    codes = [(code, 0.0) for code in ("en_XX", "ko_KR")]
    return MBartTokenizer(vocab=[*fixed, ("▁", -1.0), *((c, -2.0) for c in _characters()), *codes, ("<mask>", 0.0)])


def new_mbart50_tokenizer():
    from transformers import MBart50Tokenizer

    spm = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("▁", -1.0), *((c, -2.0) for c in _characters())]
    return MBart50Tokenizer(vocab=spm, src_lang="en_XX", tgt_lang="en_XX")


def new_kobart_tokenizer():
    """Like KoBART's: a plain PreTrainedTokenizerFast that gives token_type_ids and ends no text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    fixed = ["<s>", "</s>", "<usr>", "<pad>", "<unk>", "<mask>"]
    vocab = {token: i for i, token in enumerate([*fixed, "▁", *_characters()])}
    raw = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token="<mask>",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def _bart_settings(tokenizer):
    return {
        "vocab_size": len(tokenizer),
        "d_model": 16,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "max_position_embeddings": 64,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def make_bart(tokenizer):
    import torch
    from transformers import BartConfig, BartForConditionalGeneration

    torch.manual_seed(0)
    return BartForConditionalGeneration(
        BartConfig(**_bart_settings(tokenizer), decoder_start_token_id=tokenizer.eos_token_id)
    )


def make_mbart(tokenizer):
    import torch
    from transformers import MBartConfig, MBartForConditionalGeneration

    torch.manual_seed(0)
    return MBartForConditionalGeneration(MBartConfig(**_bart_settings(tokenizer)))


def make_bert():
    """A model that is no seq2seq model."""
    from transformers import BertConfig, BertModel

    return BertModel(
        BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    )
