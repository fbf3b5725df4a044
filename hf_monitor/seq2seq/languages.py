"""Language tokens of mBART, mBART-50, M2M100, NLLB and their like."""

from __future__ import annotations

import re
from typing import Any

from hf_monitor.errors import InputError

__all__ = ["has_languages", "set_languages"]

_CODE = re.compile(r"(?:__)?([a-z]{2,3}(?:_[A-Z][A-Za-z]+)?)(?:__)?")


def has_languages(tokenizer: Any) -> bool:
    """Say whether a tokenizer puts a language token into its texts."""
    return hasattr(tokenizer, "src_lang") and hasattr(tokenizer, "tgt_lang")


def _codes(tokenizer: Any) -> list[str]:
    known = getattr(tokenizer, "lang_code_to_id", None)
    tokens = known if known else [token for token in tokenizer.get_added_vocab() if _CODE.fullmatch(token)]
    return sorted(tokens)


def _language_id(tokenizer: Any, lang: str, option: str) -> int:
    codes = _codes(tokenizer)
    if lang in codes:
        return int(tokenizer.convert_tokens_to_ids(lang))
    if f"__{lang}__" in codes:  # M2M100
        return int(tokenizer.convert_tokens_to_ids(f"__{lang}__"))
    near = [code for code in codes if code.strip("_").startswith(lang[:2])]
    raise InputError(
        f"--{option} {lang!r} is no language of {type(tokenizer).__name__}. "
        f"{'Did you mean' if near else 'It has'} {', '.join(near or codes[:60])}?".replace("codes?", "codes.")
    )


def set_languages(model: Any, tokenizer: Any, lang: str | None, forced_bos_token: str | None) -> None:
    """Tell tokenizer and model the language of texts and summaries.

    mBART (25 languages) begins a summary with its language as decoder start; mBART-50, M2M100 and NLLB force it as the
    first token generated.

    Parameters
    ----------
    model : PreTrainedModel
        Its config and generation config are changed.
    tokenizer : PreTrainedTokenizerBase
        Its source and target language are set.
    lang : str or None
        A language of the tokenizer: ``ko_KR``, ``en_XX``.
    forced_bos_token : str or None
        The first token of each summary, where it is another than `lang`'s (any token, for any model).

    Raises
    ------
    InputError
        If the tokenizer needs a language and none is given, has none and one is given, or does not know it.
    """
    multilingual = has_languages(tokenizer)
    if multilingual and lang is None:
        raise InputError(
            f"{type(tokenizer).__name__} needs the language of the texts: --lang, for example ko_KR or en_XX "
            f"(it knows {', '.join(_codes(tokenizer)[:60])})."
        )
    if lang is not None and not multilingual:
        raise InputError(f"--lang is for tokenizers with language tokens (mBART); {type(tokenizer).__name__} has none.")
    if lang is not None:
        lang_id = _language_id(tokenizer, lang, "lang")
        tokenizer.src_lang = lang
        tokenizer.tgt_lang = lang
        if type(tokenizer).__name__.startswith(("MBartTokenizer",)):
            model.config.decoder_start_token_id = lang_id
            model.generation_config.decoder_start_token_id = lang_id
            # mBART's checkpoints for translation force a language of their own.
            model.generation_config.forced_bos_token_id = None
        else:
            model.generation_config.forced_bos_token_id = lang_id
    if forced_bos_token is not None:
        if multilingual:
            token_id = _language_id(tokenizer, forced_bos_token, "forced_bos_token")
        else:
            token_id = tokenizer.convert_tokens_to_ids(forced_bos_token)
            if token_id is None or token_id == tokenizer.unk_token_id:
                raise InputError(f"--forced_bos_token {forced_bos_token!r} is no token of {type(tokenizer).__name__}.")
        model.generation_config.forced_bos_token_id = token_id
