"""Model and tokenizer: from the hub, from disk, with a LoRA adapter, or a small T5 made on the spot."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from hf_monitor.errors import InputError, MissingPackageError
from hf_monitor.seq2seq.arguments import ModelArguments
from hf_monitor.seq2seq.checks import check_model_path, words_of
from hf_monitor.seq2seq.columns import split_names

__all__ = ["add_lora", "build_model"]

_ATTENTION_NAMES = (("q", "v"), ("q_proj", "v_proj"), ("query", "value"))
"""Names of the query and value projections: T5; BART, mBART, Pegasus, M2M100; BERT-like."""

_ADAPTER_FILE = "adapter_config.json"


def _loading(load: Callable[[], Any], what: str, name: str) -> Any:
    """Load something of Hugging Face's; a wrong name, a broken file or no network become one sentence."""
    from safetensors import SafetensorError

    try:
        return load()
    except (OSError, ValueError, TypeError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{what} {name!r} cannot be loaded: {words_of(error)}") from error
    except Exception as error:
        if type(error) is not Exception:  # the tokenizers library raises what has no class of its own
            raise
        raise InputError(f"{what} {name!r} cannot be loaded: {words_of(error)}") from error


def _load_tokenizer(name: str, options: dict[str, Any]) -> Any:
    from transformers import AutoTokenizer

    what = "the tokenizer"
    check_model_path(what, name)
    try:
        tokenizer = _loading(lambda: AutoTokenizer.from_pretrained(name, **options), what, name)
    except InputError as error:
        if not any(library in str(error) for library in ("sentencepiece", "tiktoken")):
            raise
        raise InputError(  # transformers names four ways, of which one helps
            f"{what} {name!r} cannot be loaded: it has no tokenizer.json that can be read. "
            "If it is a SentencePiece model: pip install sentencepiece"
        ) from error
    files = list(tokenizer.vocab_files_names.values())
    if files and Path(name).is_dir() and not any((Path(name) / file).is_file() for file in files):
        # transformers makes an empty one, to which every text is unknown.
        raise InputError(f"{what} {name!r} cannot be loaded: the folder holds none of {', '.join(files)}.")
    return tokenizer


def _hub_options(args: ModelArguments) -> dict[str, Any]:
    return {
        "cache_dir": args.cache_dir,
        "revision": args.model_revision,
        "token": args.token,
        "trust_remote_code": args.trust_remote_code,
    }


def _check_seq2seq(config: Any, name: str) -> None:
    from transformers import AutoModelForSeq2SeqLM

    # Code of the model's own (trust_remote_code) registers itself in auto_map.
    remote = "AutoModelForSeq2SeqLM" in (getattr(config, "auto_map", None) or {})
    if not remote and type(config) not in AutoModelForSeq2SeqLM._model_mapping:
        raise InputError(
            f"the model {name!r} is a {config.model_type!r}, which is no sequence-to-sequence model: "
            "use T5, BART, mBART, KoBART, Pegasus ..."
        )


def build_model(
    args: ModelArguments, texts: Iterable[str] | None = None, *, max_target_length: int = 128, vocab_size: int = 2400
) -> tuple[Any, Any]:
    """Load the model and the tokenizer that the arguments name, or make them.

    Parameters
    ----------
    args : ModelArguments
        Without ``model_name_or_path`` and ``config_name`` a small T5 with random weights is made.
    texts : iterable of str, optional
        Where no tokenizer is named, one is trained on these.
    max_target_length : int
        In tokens; for the small T5's generation config.
    vocab_size : int
        At most so many tokens for a tokenizer made here.

    Returns
    -------
    tuple of (PreTrainedModel, PreTrainedTokenizerBase)
        Without an adapter (see `add_lora`), except where ``model_name_or_path`` is one.

    Raises
    ------
    InputError
        If something cannot be loaded or is no seq2seq model.
    """
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    from hf_monitor.seq2seq.demo_model import build_demo_model, build_demo_tokenizer

    model_name, adapter = args.model_name_or_path, None
    if model_name is not None and (Path(model_name) / _ADAPTER_FILE).is_file():
        model_name, adapter = _base_of_adapter(model_name), model_name
    config_name = args.config_name or model_name
    tokenizer_name = args.tokenizer_name or args.model_name_or_path or args.config_name
    options = _hub_options(args)

    config = None
    if model_name is not None:
        check_model_path("the model", model_name)
    if config_name is not None:
        check_model_path("the config", config_name, file_allowed=True)
        config = _loading(lambda: AutoConfig.from_pretrained(config_name, **options), "the model", config_name)
        _check_seq2seq(config, config_name)
    if tokenizer_name is not None:
        tokenizer = _load_tokenizer(tokenizer_name, options)
    elif texts is not None:
        tokenizer = build_demo_tokenizer(texts, vocab_size=vocab_size)
    else:
        raise InputError(
            "there is no tokenizer: name one with --tokenizer_name, or give a --train_file to train one on."
        )

    if config is None:
        return build_demo_model(tokenizer, max_target_length=max_target_length), tokenizer
    if model_name is None:
        make: Any = AutoModelForSeq2SeqLM.from_config
        model = make(config, trust_remote_code=args.trust_remote_code)
    else:
        model = _loading(
            lambda: AutoModelForSeq2SeqLM.from_pretrained(model_name, config=config, dtype=args.dtype, **options),
            "the model",
            model_name,
        )
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer))
    if adapter is not None:
        model = _load_adapter(model, adapter)
    return model, tokenizer


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise MissingPackageError(
            "LoRA needs the package peft: pip install 'hf-monitor[lora]' or pip install peft"
        ) from (error)
    return peft


def _base_of_adapter(folder: str) -> str:
    peft = _peft()
    config = _loading(lambda: peft.PeftConfig.from_pretrained(folder), "the adapter", folder)
    return str(config.base_model_name_or_path)


def _load_adapter(model: Any, folder: str) -> Any:
    peft = _peft()
    return _loading(lambda: peft.PeftModel.from_pretrained(model, folder, is_trainable=True), "the adapter", folder)


def add_lora(model: Any, args: ModelArguments) -> Any:
    """Put a LoRA adapter on a model; only the adapter is trained and saved.

    Parameters
    ----------
    model : PreTrainedModel
        A seq2seq model.
    args : ModelArguments
        ``lora_r``, ``lora_alpha``, ``lora_dropout``, and ``lora_target_modules`` (names separated by commas); without
        the last, the query and value projections of the attention, else all linear layers.

    Returns
    -------
    PeftModel

    Raises
    ------
    MissingPackageError
        If peft is not installed.
    InputError
        If the model has an adapter already or no layer of these names.
    """
    import torch

    peft = _peft()
    if isinstance(model, peft.PeftModel):
        raise InputError("the model has an adapter already, which is trained on: leave --lora out.")
    names = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    targets: Any = list(split_names(args.lora_target_modules))
    if not targets:
        targets = next((list(pair) for pair in _ATTENTION_NAMES if names.issuperset(pair)), "all-linear")
    config = peft.LoraConfig(
        task_type=peft.TaskType.SEQ_2_SEQ_LM,
        r=args.lora_r,
        lora_alpha=args.lora_alpha,
        lora_dropout=args.lora_dropout,
        target_modules=targets,
    )
    try:
        return peft.get_peft_model(model, config)
    except ValueError as error:
        raise InputError(f"no LoRA on {targets}: {words_of(error)} The linear layers are {sorted(names)}.") from error
