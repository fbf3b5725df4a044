"""The arguments of ``scripts/train_summarizer.py``: from the command line, a YAML or a JSON file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

from hf_monitor.errors import InputError

__all__ = ["DataArguments", "ModelArguments", "build_arguments", "given_arguments"]


def _help(text: str, default: Any = None) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass
class ModelArguments:
    """Which model."""

    _argument_group_name = "model"

    model_name_or_path: str | None = _help("A seq2seq model, or a LoRA adapter of one, on the hub or on disk.")
    config_name: str | None = _help("Another config; without --model_name_or_path the model gets random weights.")
    tokenizer_name: str | None = _help("Another tokenizer.")
    model_revision: str = _help("Branch, tag or commit on the hub.", "main")
    cache_dir: str | None = _help("Where downloaded models are kept.")
    token: str | None = _help("Token for the hub; better: the environment's HF_TOKEN.")
    trust_remote_code: bool = _help("Run code that comes with the model.", False)
    dtype: str = _help("Weights are loaded as float32, bfloat16, float16, or auto (as saved).", "float32")
    lora: bool = _help("Train a LoRA adapter instead of all weights.", False)
    lora_r: int = _help("Rank of the adapter.", 8)
    lora_alpha: int = _help("Scale of the adapter.", 16)
    lora_dropout: float = _help("Dropout of the adapter.", 0.05)
    lora_target_modules: str | None = _help("Layers, separated by commas. Default: query and value of the attention.")


@dataclass
class DataArguments:
    """Which data, and how it is cut, generated and scored."""

    _argument_group_name = "data"

    train_file: str | None = _help("JSON, JSONL or CSV.")
    validation_file: str | None = _help("JSON, JSONL or CSV; several references a sample are allowed.")
    test_file: str | None = _help("JSON, JSONL or CSV; may have no summaries.")
    dataset_name: str | None = _help("A data set on the hub, or a folder.")
    dataset_config_name: str | None = _help("Its configuration.")
    text_column: str | None = _help("Column of the texts. Default: found per file (dialogue, document, article ...).")
    summary_column: str | None = _help("Columns of the summaries, separated by commas. Default: found per file.")
    source_prefix: str | None = _help('Stands before each text; "summarize: " for the original T5.')
    lang: str | None = _help("Language for mBART and its like: ko_KR, en_XX.")
    forced_bos_token: str | None = _help("First token of each summary where it is another than --lang.")
    max_source_length: int | None = _help("Texts are cut at so many tokens. Default: 1024, or what the model can take.")
    max_target_length: int | None = _help("Summaries are cut at so many tokens. Default: 128, or what the model takes.")
    val_max_target_length: int | None = _help("The same for evaluation and generation. Default: max_target_length.")
    max_train_samples: int | None = _help("Use the first so many samples.")
    max_eval_samples: int | None = _help("Use the first so many samples.")
    max_predict_samples: int | None = _help("Use the first so many samples.")
    num_beams: int | None = _help("Beams for generation in evaluation and prediction. Default: the model's own.")
    preprocessing_num_workers: int | None = _help("Processes that tokenize.")
    multi_reference: str = _help("Several references: 'max' (rouge_score) or 'mean' (Korean DialogSum).", "max")
    korean_tokenizer: str = _help("Scores cut Korean with 'mecab' or 'kiwi'.", "mecab")
    max_predictions: int | None = _help("Write a sample of so many predictions per evaluation. Default: all.")
    num_folds: int | None = _help(
        "Cross-validation: split the training data into so many parts, train once without each and evaluate on it. "
        "Each training is a run of its own in <output_dir>/fold_1 ..."
    )
    run_dir: str | None = _help("The run folder. Default: <output_dir>/monitor.")
    auto_batch: bool = _help("Measure before the training which batch fits, and settle batch and accumulation.", False)
    effective_batch_size: int | None = _help(
        "With --auto_batch: samples of one update, over all processes. Default: 128; the demo's and the small T5's own."
    )
    check: bool = _help("Go through the checklist before a training, say what is missing, and train nothing.", False)
    safe_factor: float = _help("With --auto_batch: the share of the memory that may be used, up to 1.", 0.95)

    @property
    def has_data(self) -> bool:
        """True if any data is named."""
        return any((self.train_file, self.validation_file, self.test_file, self.dataset_name))


_LEAST = {
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "eval_accumulation_steps": 1,
    "learning_rate": 0,
    "seed": 0,
    "dataloader_num_workers": 0,
    "generation_num_beams": 1,
    "num_beams": 1,
    "max_source_length": 2,  # one token and the end of the text
    "max_target_length": 2,
    "val_max_target_length": 2,
    "num_folds": 2,
    "max_train_samples": 1,
    "max_eval_samples": 1,
    "max_predict_samples": 1,
    "max_predictions": 0,
    "effective_batch_size": 1,
    "preprocessing_num_workers": 0,
    "lora_r": 1,
}
"""Numbers that would otherwise end in a traceback, or be ignored without a word."""

_NAMES = (
    "model_name_or_path", "config_name", "tokenizer_name", "train_file", "validation_file", "test_file", "dataset_name",
    "output_dir", "run_dir", "resume_from_checkpoint",
)  # fmt: skip
"""Files, folders and names on the hub. An empty one comes from a shell variable that is not set, and would be as good
as not given: the demo would be trained."""


class _NotGiven:
    """Marks what neither the command line nor the file names."""


def _parser(prog: str) -> Any:
    from transformers import HfArgumentParser, Seq2SeqTrainingArguments

    class Parser(HfArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise InputError(f"{message}. --help lists all arguments.")

    return Parser(
        (ModelArguments, DataArguments, Seq2SeqTrainingArguments),  # type: ignore[arg-type]
        prog=prog,
        allow_abbrev=False,
        usage=f"{prog} [config.yaml | config.json] [--argument value ...]",
        description="Train a summarizer that records itself. Without arguments: the embedded demo.",
    )


def _file_values(path: Path) -> dict[str, Any]:
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the arguments file {str(path)!r} cannot be read: {error}.") from error
    try:
        found = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except ValueError as error:
        raise InputError(f"the arguments file {str(path)!r} is broken: {error}.") from error
    except yaml.YAMLError as error:
        words = " ".join(str(error).split())
        raise InputError(f"the arguments file {str(path)!r} is broken YAML: {words}.") from error
    if not isinstance(found, dict):
        raise InputError(
            f"the arguments file {str(path)!r} must hold names with values (learning_rate: 1e-4), "
            f"got {type(found).__name__}."
        )
    return {str(name): value for name, value in found.items()}


def _as_options(values: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Write a file's values as command line options, so that both are checked in one place; lists stay as they are."""
    options, rest = [], {}
    for name, value in values.items():
        if isinstance(value, list):
            rest[name] = value
        elif value is not None:
            text = json.dumps(value) if isinstance(value, bool | dict) else str(value)
            options.append(f"--{name}={text}")
    return options, rest


def given_arguments(argv: Sequence[str], prog: str) -> dict[str, Any]:
    """Read what was given, and only that.

    Parameters
    ----------
    argv : sequence of str
        Options, or a ``.yaml``, ``.yml`` or ``.json`` file and then options, which win over the file's.
    prog : str
        The program's name for ``--help``.

    Returns
    -------
    dict
        Name -> value, in the type of the argument.

    Raises
    ------
    InputError
        If an argument is unknown, of a wrong type or an empty name, or the file is broken.
    """
    parser = _parser(prog)
    names = {f.name for kind in parser.dataclass_types for f in fields(kind) if f.init}
    options = list(argv)
    lists: dict[str, Any] = {}
    if options and Path(options[0]).suffix.lower() in {".yaml", ".yml", ".json"} and not options[0].startswith("-"):
        path = Path(options.pop(0))
        values = _file_values(path)
        unknown = [name for name in values if name not in names]
        if unknown:
            raise InputError(f"the arguments file {str(path)!r} has the unknown argument {unknown[0]!r}.")
        from_file, lists = _as_options(values)
        options = from_file + options
    # argparse sets a default only where the namespace has nothing yet.
    empty = argparse.Namespace(**dict.fromkeys(names, _NotGiven))
    found = vars(parser.parse_args(options, namespace=empty))
    given = {**lists, **{name: value for name, value in found.items() if value is not _NotGiven}}
    for name in _NAMES:
        if isinstance(given.get(name), str) and not given[name].strip():
            raise InputError(f"--{name} is empty: name something, or leave it out. Is a shell variable not set?")
    return given


def build_arguments(values: Mapping[str, Any]) -> tuple[ModelArguments, DataArguments, Any]:
    """Make the three groups from names and values.

    Raises
    ------
    InputError
        If the training arguments contradict each other or a value is out of range.
    """
    parser = _parser("")
    try:
        model_args, data_args, training_args = parser.parse_dict(dict(values))
    except (ValueError, TypeError, ImportError, KeyError) as error:
        raise InputError(" ".join(str(error).split())) from error
    if data_args.multi_reference not in {"max", "mean"}:
        raise InputError(f"--multi_reference is 'max' or 'mean', not {data_args.multi_reference!r}.")
    if model_args.dtype not in {"float32", "bfloat16", "float16", "auto"}:
        raise InputError(f"--dtype is float32, bfloat16, float16 or auto, not {model_args.dtype!r}.")
    for group in (model_args, data_args, training_args):
        for name, least in _LEAST.items():
            value = getattr(group, name, None)
            if value is not None and not value >= least:  # written so for NaN
                raise InputError(f"--{name} must be at least {least}, got {value}.")
    if not 0 < data_args.safe_factor <= 1:
        raise InputError(f"--safe_factor must be above 0 and at most 1, got {data_args.safe_factor}.")
    return model_args, data_args, training_args
