"""Train a summarizer that records itself.

    python scripts/train_summarizer.py                                     # the embedded demo, some minutes on a CPU
    python scripts/train_summarizer.py --train_file train.jsonl --validation_file dev.csv
    python scripts/train_summarizer.py --model_name_or_path google-t5/t5-small --source_prefix "summarize: " \
        --train_file train.jsonl --validation_file dev.jsonl --test_file test.jsonl
    python scripts/train_summarizer.py config.yaml --learning_rate 1e-4  # a YAML or JSON file; options win over it
    python scripts/train_summarizer.py --train_file train.jsonl --num_folds 5  # cross-validation, each fold a run
    python scripts/train_summarizer.py config.yaml --auto_batch              # batch and accumulation are measured first
    python scripts/train_summarizer.py config.yaml --check                   # what would go wrong; trains nothing
    ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes 2 scripts/train_summarizer.py --use_cpu

Without --do_train, --do_eval and --do_predict: what there is data for. Bad input: one sentence and exit code 2. Out of
memory: what did not fit, what to run instead, and exit code 3. --check: exit code 0 if nothing failed, else 1.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hf_monitor.errors import BatchDoesNotFit, HfMonitorError, InputError
from hf_monitor.seq2seq.arguments import DataArguments, ModelArguments, build_arguments, given_arguments
from hf_monitor.seq2seq.columns import Pairs

PROG = "train_summarizer"
ORIGINAL_T5 = ("t5-small", "t5-base", "t5-large", "t5-3b", "t5-11b")
LANGUAGE_NAMES = {"ko": "Korean", "en": "English"}


def is_main_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def tell(message: str) -> None:
    """Say something to the person at the console, once however many processes there are."""
    if is_main_process():
        print(f"{PROG}: {message}", file=sys.stderr, flush=True)


# ---------------------------------------------------------------- arguments


def is_demo(given: dict[str, Any]) -> bool:
    named = ("train_file", "validation_file", "test_file", "dataset_name", "model_name_or_path", "config_name")
    return not any(given.get(name) for name in named)


def defaults_for(given: dict[str, Any]) -> dict[str, Any]:
    """Give what is set where neither the command line nor the file sets it."""
    from hf_monitor.seq2seq.demo_model import DEMO_TRAINING

    demo = is_demo(given)
    values: dict[str, Any] = {"report_to": "none", "predict_with_generate": True, "logging_steps": 10}
    if given.get("num_folds"):
        values |= {"do_train": True, "do_eval": True}
    elif not {"do_train", "do_eval", "do_predict"} & given.keys():
        hub = bool(given.get("dataset_name"))
        values["do_train"] = demo or hub or bool(given.get("train_file"))
        values["do_eval"] = demo or hub or bool(given.get("validation_file"))
        values["do_predict"] = demo or bool(given.get("test_file"))
    trains, evaluates = ({**values, **given}.get(name, False) for name in ("do_train", "do_eval"))
    if demo:
        output_dir = "outputs/demo_folds" if given.get("num_folds") else "outputs/demo"
        values |= DEMO_TRAINING | {"output_dir": output_dir, "save_strategy": "no"}
        if trains and evaluates:
            values |= {"eval_strategy": "steps", "eval_steps": 0.2, "eval_on_start": True}
        return values
    values["output_dir"] = "outputs/summarizer_folds" if given.get("num_folds") else "outputs/summarizer"
    if trains and evaluates:
        values["eval_strategy"] = "epoch"
    if not given.get("model_name_or_path") and not given.get("config_name"):  # the small T5, from random weights
        kept = ("learning_rate", "per_device_train_batch_size", "lr_scheduler_type", "weight_decay")
        values |= {name: DEMO_TRAINING[name] for name in kept if name in DEMO_TRAINING}
        values |= {"warmup_steps": 0.05, "max_source_length": 512, "per_device_eval_batch_size": 32}
    return values


def check_auto_batch(given: dict[str, Any]) -> None:
    """Refuse what --auto_batch settles by itself: of two that say the same thing, none should win in silence."""
    for name in ("per_device_train_batch_size", "gradient_accumulation_steps", "auto_find_batch_size"):
        if given.get(name):
            raise InputError(f"--{name} is what --auto_batch measures and settles: leave one of the two out.")


WHY_NOT_WITH_FOLDS = {
    "validation_file": "each fold is evaluated on the part of the training data that it leaves out",
    "test_file": "there would be as many models as folds: predict with one of them, or train once without it",
    "do_predict": "there would be as many models as folds: predict with one of them, or train once without it",
    "run_dir": "each fold has its run folder in <output_dir>/fold_1/monitor ...",
    "resume_from_checkpoint": "folds are trained from the beginning; those that are finished are in fold_results.json",
    "push_to_hub": "there would be as many models as folds",
}


def check_folds(given: dict[str, Any], training_args: Any) -> None:
    """Refuse what has no meaning with --num_folds."""
    from hf_monitor.seq2seq.folds import foreign_folds

    for name, why in WHY_NOT_WITH_FOLDS.items():
        if given.get(name) and str(given[name]).lower() != "false":
            raise InputError(f"--{name} cannot be had with --num_folds: {why}.")
    for name in ("do_train", "do_eval", "predict_with_generate"):
        if not getattr(training_args, name):
            raise InputError(f"--num_folds trains, generates and scores: leave --{name} false out.")
    others = foreign_folds(Path(training_args.output_dir), given["num_folds"])
    if others:
        raise InputError(
            f"--output_dir {training_args.output_dir!r} holds {', '.join(others)} of a run with other folds: name "
            "another folder, or move them away."
        )


def check_early(given: dict[str, Any], data_args: DataArguments, training_args: Any) -> None:
    """Find out before a model is loaded, not after hours, what can be known from the arguments and the disk."""
    from hf_monitor.seq2seq.checks import check_output_folder, check_report_to, check_run_folder
    from hf_monitor.seq2seq.folds import fold_folder

    if data_args.auto_batch:
        check_auto_batch(given)
    elif "effective_batch_size" in given:
        raise InputError(
            "--effective_batch_size is for --auto_batch; add that, or set batch and accumulation yourself."
        )
    check_report_to(training_args.report_to)
    output_dir = Path(training_args.output_dir)
    check_output_folder("--output_dir", output_dir)
    run_dirs = [run_folder(data_args, training_args)]
    if data_args.num_folds is not None:
        check_folds(given, training_args)
        run_dirs = [fold_folder(output_dir, number) / "monitor" for number in range(1, data_args.num_folds + 1)]
    for run_dir in run_dirs:
        check_output_folder("--run_dir", run_dir)
        check_run_folder(run_dir)


# ---------------------------------------------------------------- model


def prepare_model(
    model_args: ModelArguments, data_args: DataArguments, training_args: Any, train: Pairs | None
) -> tuple[Any, Any]:
    """Load or make model and tokenizer, and settle everything that has to be before a Trainer sees them."""
    from transformers import set_seed

    from hf_monitor.seq2seq.build import add_lora, build_model
    from hf_monitor.seq2seq.languages import set_languages
    from hf_monitor.seq2seq.loss_scaling import ensure_loss_scaling

    set_seed(training_args.seed)
    if not (model_args.model_name_or_path or model_args.config_name) and "OMP_NUM_THREADS" not in os.environ:
        import torch

        # The products of the small T5 are so small that a second thread costs more than it brings, and on cores that
        # others use as well, many times more.
        torch.set_num_threads(1)
    texts = None
    if train is not None and train.references is not None:
        texts = [*train.texts, *(summary for references in train.references for summary in references)]
    model, tokenizer = build_model(
        model_args,
        texts,
        max_target_length=data_args.max_target_length or 128,
        vocab_size=4000 if data_args.has_data else 2400,
    )
    set_languages(model, tokenizer, data_args.lang, data_args.forced_bos_token)
    if model.config.decoder_start_token_id is None:
        raise InputError(f"the config of {model_args.model_name_or_path!r} has no decoder_start_token_id.")
    ensure_loss_scaling(model)
    if model_args.lora:
        model = add_lora(model, model_args)
    if hasattr(model, "print_trainable_parameters"):
        if training_args.gradient_checkpointing:
            model.enable_input_require_grads()
        trainable, total = model.get_nb_trainable_parameters()
        tell(f"LoRA: {trainable:,} of {total:,} parameters are trained")
    name = model_args.model_name_or_path or ""
    if data_args.source_prefix is None and name.removeprefix("google-t5/") in ORIGINAL_T5:
        tell(f'hint: {name} was trained with prefixes; add --source_prefix "summarize: "')
    return model, tokenizer


def settle_generation(data_args: DataArguments, training_args: Any, model: Any, tokenizer: Any) -> None:
    from hf_monitor.seq2seq.preprocessing import settle_lengths

    settle_lengths(data_args, model, tokenizer)
    training_args.generation_max_length = training_args.generation_max_length or data_args.val_max_target_length
    training_args.generation_num_beams = data_args.num_beams or training_args.generation_num_beams


def encode_splits(
    splits: dict[str, Pairs], data_args: DataArguments, training_args: Any, model: Any, tokenizer: Any
) -> dict[str, Any]:
    from hf_monitor.seq2seq.preprocessing import Preprocessor

    datasets = {}
    for split, pairs in splits.items():
        target = data_args.max_target_length if split == "train" else data_args.val_max_target_length
        encode = Preprocessor(tokenizer, model, data_args.max_source_length, target, data_args.source_prefix or "")
        with training_args.main_process_first(desc=f"tokenizing {split}"):
            encoded = encode(pairs, n_workers=data_args.preprocessing_num_workers, description=f"tokenizing {split}")
        datasets[split] = encoded.dataset
        cut = {"text": (encoded.n_texts_cut, encode.max_source_length), "summary": (encoded.n_summaries_cut, target)}
        for what, (n, length) in cut.items():
            if n:
                option = "max_source_length" if what == "text" else "max_target_length"
                tell(f"{split}: {n} of {len(pairs.texts)} samples have a {what} cut at {length} tokens (--{option})")
    return datasets


# ---------------------------------------------------------------- the batch


def run_folder(data_args: DataArguments, training_args: Any) -> Path:
    return Path(data_args.run_dir or Path(training_args.output_dir) / "monitor").expanduser()


def collator_for(model: Any, tokenizer: Any, training_args: Any) -> Any:
    from hf_monitor.seq2seq.preprocessing import seq2seq_collator

    half = training_args.fp16 or training_args.bf16
    return seq2seq_collator(tokenizer, model, pad_to_multiple_of=8 if half else None)


def evaluated_samples(datasets: dict[str, Any]) -> Any:
    """Give all samples that will be evaluated or predicted; those without a summary cannot be probed with."""
    from datasets import concatenate_datasets

    names = ["input_ids", "attention_mask", "labels"]
    found = [datasets[split] for split in ("validation", "test") if split in datasets]
    found = [part.select_columns(names) for part in found if set(names) <= set(part.column_names) and len(part)]
    return concatenate_datasets(found) if found else None


def plan_batches(
    model: Any,
    tokenizer: Any,
    datasets: dict[str, Any],
    data_args: DataArguments,
    training_args: Any,
    given: dict[str, Any],
    run_dir: Path | None,
) -> tuple[Any, Any]:
    """Measure what fits, with the samples that will be trained on and evaluated; give what follows, and the plan."""
    import dataclasses

    from hf_monitor.auto_batch.plan import plan_training
    from hf_monitor.auto_batch.plan_arguments import checkpointing_values, keep_to_one_gpu
    from hf_monitor.auto_batch.plan_device import choose_precision
    from hf_monitor.auto_batch.plan_ranks import launch_facts

    # What an optimizer or a scheduler was set for is kept: the demo and the small T5 know their batch.
    known = defaults_for(given).get("per_device_train_batch_size")
    effective = data_args.effective_batch_size or (known and known * training_args.world_size)
    precision = "bf16" if training_args.bf16 else "fp16" if training_args.fp16 else None
    if precision is None and {"bf16", "fp16"} & given.keys():
        precision = "fp32"
    precision, note = choose_precision(model, launch_facts(training_args.device), precision)
    if note:
        tell(note)
    training_args = dataclasses.replace(training_args, bf16=precision == "bf16", fp16=precision == "fp16")
    may_recompute = not {"gradient_checkpointing", "activation_checkpointing"} & given.keys()
    tell("measuring which batch fits")
    plan = plan_training(
        model,
        training_args.device,
        effective_batch_size=effective,
        num_processes=training_args.world_size,
        precision=precision,
        gradient_checkpointing=bool(training_args.gradient_checkpointing),
        allow={"gradient_checkpointing"} if may_recompute else (),
        run_dir=run_dir,
        dataset=datasets["train"],
        eval_dataset=evaluated_samples(datasets),
        collator=collator_for(model, tokenizer, training_args),
        tokenizer=tokenizer,
        safe_factor=data_args.safe_factor,
        optimizer=str(getattr(training_args.optim, "value", training_args.optim)),
        max_grad_norm=training_args.max_grad_norm,
        label_smoothing=training_args.label_smoothing_factor,
        predict_with_generate=training_args.predict_with_generate
        and (training_args.do_eval or training_args.do_predict),
        generation_max_length=training_args.generation_max_length,
        num_beams=training_args.generation_num_beams,
    )
    settled = {
        "per_device_train_batch_size": plan.per_device_train_batch_size,
        "gradient_accumulation_steps": plan.gradient_accumulation_steps,
    }
    if "per_device_eval_batch_size" not in given:
        settled["per_device_eval_batch_size"] = plan.per_device_eval_batch_size
    if plan.gradient_checkpointing:
        settled |= checkpointing_values()
    if effective and "effective_batch_size" not in given:
        tell(f"{effective} samples an update, as without --auto_batch; --effective_batch_size sets another number")
    training_args = dataclasses.replace(training_args, **settled)
    kept = keep_to_one_gpu(training_args)
    if kept:
        tell(kept)
    return training_args, plan


def tell_plan(plan: Any, resumes: bool) -> None:
    for line in plan.explain().splitlines():
        tell(f"plan: {line}")
    other = [note for note in plan.notes if "effective_batch_size" in note and "->" in note]
    if resumes and other:
        tell(f"warning: the run goes on with another number of samples an update than before: {other[0]}")


@contextlib.contextmanager
def memory_explained(trainer: Any, plan: Any, run_dir: Path) -> Iterator[None]:
    """Say what did not fit and what to run instead, not a traceback; on the process where it happened."""
    from hf_monitor.auto_batch.oom import is_out_of_memory

    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        words = words_about_memory(error, trainer, plan)
        print(f"{PROG}: {words}\nWhat was recorded is in {run_dir}", file=sys.stderr, flush=True)
        raise SystemExit(3) from None


def words_about_memory(error: Exception, trainer: Any, plan: Any) -> str:
    import psutil
    import torch

    from hf_monitor.auto_batch.plan_words import memory_words, out_of_memory_words

    arguments, device = trainer.args, trainer.args.device
    if device.type == "cuda":
        peak = f"{memory_words(torch.cuda.max_memory_reserved(device))} reserved by torch on {device}"
    else:
        held = psutil.Process().memory_info()
        peak = f"at least {memory_words(getattr(held, 'peak_wset', held.rss))} of RAM held by this process"
    bf16 = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    words = out_of_memory_words(error, arguments, plan, step=trainer.state.global_step, peak=peak, bf16=bf16)
    return f"process {arguments.process_index}: {words}" if arguments.world_size > 1 else words


# ---------------------------------------------------------------- training


def set_up_logging(training_args: Any) -> None:
    """As in Hugging Face's examples: libraries speak at --log_level, on other processes than the first only errors."""
    import datasets
    import transformers

    level = training_args.get_process_log_level()
    transformers.utils.logging.set_verbosity(level)
    datasets.utils.logging.set_verbosity(level)
    if training_args.disable_tqdm or not is_main_process():
        datasets.disable_progress_bars()


def leave_process_group() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def text_metrics(tokenizer: Any, data_args: DataArguments, training_args: Any) -> Any:
    """Make what scores the generated texts; None where nothing is generated."""
    from hf_monitor import TextMetrics

    if not training_args.predict_with_generate:
        return None
    return TextMetrics(
        tokenizer,
        korean_tokenizer=data_args.korean_tokenizer,
        multi_reference=data_args.multi_reference,
        max_predictions=data_args.max_predictions,
        seed=training_args.seed,
    )


def make_trainer(
    model: Any, tokenizer: Any, datasets: dict[str, Any], data_args: DataArguments, training_args: Any
) -> tuple[Any, Any, Any]:
    from transformers import Seq2SeqTrainer

    from hf_monitor import attach
    from hf_monitor.seq2seq.checks import check_best_metric, words_of

    if not training_args.remove_unused_columns:
        training_args.remove_unused_columns = True  # the column of references is for the scores, not for the model
        tell("--remove_unused_columns false is ignored: the data has a column that no model takes")
    metrics = text_metrics(tokenizer, data_args, training_args)
    check_best_metric(training_args.metric_for_best_model, metrics and metrics.keys)
    try:
        trainer = Seq2SeqTrainer(
            model=model,
            args=training_args,
            train_dataset=datasets.get("train"),
            eval_dataset=datasets.get("validation"),
            processing_class=tokenizer,
            data_collator=collator_for(model, tokenizer, training_args),
            compute_metrics=metrics,
        )
    except (OSError, ValueError, ImportError, RuntimeError) as error:  # arguments that only the Trainer itself looks at
        if isinstance(error, RuntimeError) and type(error) is not RuntimeError:  # the device's: out of memory ...
            raise
        raise InputError(f"the Trainer cannot be made: {words_of(error)}") from error
    return trainer, metrics, attach(trainer, run_dir=data_args.run_dir)


def checkpoint_to_resume(training_args: Any) -> str | None:
    """Give the checkpoint that --resume_from_checkpoint names; `last` and `true` are the newest one."""
    from transformers.trainer_utils import get_last_checkpoint

    from hf_monitor.seq2seq.checks import check_checkpoint

    named = training_args.resume_from_checkpoint
    if named is None or str(named).lower() == "false":
        return None
    if str(named).lower() in {"last", "true"}:
        output_dir = training_args.output_dir
        found = get_last_checkpoint(output_dir) if Path(output_dir).is_dir() else None
        if found is None:
            raise InputError(f"there is no checkpoint to resume from in {training_args.output_dir!r}.")
        return str(found)
    check_checkpoint(str(named))
    return str(named)


def save(trainer: Any, name: str, metrics: dict[str, Any]) -> None:
    trainer.log_metrics(name, metrics)
    trainer.save_metrics(name, metrics)


def train(trainer: Any, n_samples: int, checkpoint: str | None = None) -> None:
    result = trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model()  # and the tokenizer
    save(trainer, "train", {**result.metrics, "train_samples": n_samples})
    trainer.save_state()


def evaluate(trainer: Any) -> dict[str, Any]:
    """Evaluate, unless the training ended with an evaluation of these very weights."""
    last = next((row for row in reversed(trainer.state.log_history) if "eval_runtime" in row), None)
    if last is not None and last["step"] == trainer.state.global_step and not trainer.args.load_best_model_at_end:
        return {key: value for key, value in last.items() if key != "step"}
    return dict(trainer.evaluate())


def predict(trainer: Any, metrics: Any, monitor: Any, dataset: Any, data_args: DataArguments) -> dict[str, Any]:
    """Predict the test set, record how sure the model was, and write the summaries, one a line, as Hugging Face does.

    The Trainer generates; `predict_texts` listens to the same generation in the same way.
    """
    from hf_monitor.callbacks.confidence import confidence_recorded

    if not trainer.args.predict_with_generate:
        return dict(trainer.predict(dataset, metric_key_prefix="predict").metrics)
    began = time.time()
    with confidence_recorded(trainer) as confidences:
        found = trainer.predict(dataset, metric_key_prefix="predict")
    if trainer.is_world_process_zero():
        last = metrics.last
        if last is not None and last.name == "predict":
            texts = last.predictions
        else:  # a test set without summaries is not scored
            texts = record_unscored(trainer, monitor, dataset, found.predictions, confidences, data_args)
        lines = "".join(f"{' '.join(text.split())}\n" for text in texts)
        (Path(trainer.args.output_dir) / "generated_predictions.txt").write_text(lines, encoding="utf-8")
        draw_predictions(monitor.run_dir, began)
    return dict(found.metrics)


def record_unscored(
    trainer: Any, monitor: Any, dataset: Any, ids: Any, confidences: list[dict[str, Any]], data_args: DataArguments
) -> list[str]:
    """Write down predictions that there is nothing to score against; give their texts."""
    from hf_monitor.metrics.decoding import TokenDecoder
    from hf_monitor.metrics.evaluation_texts import sample_indices

    tokenizer = trainer.processing_class
    texts = TokenDecoder(tokenizer).decode(ids, "predictions").texts[: len(dataset)]
    more = confidences if len(confidences) >= len(texts) else [{}] * len(texts)

    indices = sample_indices(len(texts), data_args.max_predictions, trainer.args.seed)

    def row(index: int) -> dict[str, Any]:
        sample = dataset[index]
        text = tokenizer.decode(sample["input_ids"], skip_special_tokens=True)
        references = sample.get("references") or []
        found = {"index": index, "input": text, "prediction": texts[index], "references": references, **more[index]}
        if index == indices[0] and len(indices) < len(texts):  # as where they are scored: the charts say of how many
            found["sampled"] = {"rows": len(indices), "of": len(texts), "seed": trainer.args.seed}
        return found

    monitor.record_texts("predict", map(row, indices))
    return texts


# ---------------------------------------------------------------- charts


def draw_predictions(run_dir: Path, began: float) -> None:
    """Draw the texts that were recorded since `began` (of ``time.time()``), never those of an earlier prediction."""
    from hf_monitor import load_run

    folder = run_dir / "plots/inference"
    try:
        run = load_run(run_dir)
        latest = run.latest_predictions("predict")
    except (HfMonitorError, OSError) as error:
        tell(f"no charts of this prediction: {error}")
        return
    if latest and latest[0].get("time", 0.0) >= began:
        draw_charts("create_inference_visualizations", run, evaluation="predict", output_dir=folder)
    else:
        old = f"; those in {folder} are of an earlier one" if any(folder.glob("*.png")) else ""
        tell(f"no charts of this prediction: not one of its texts is in {run_dir / 'predictions.jsonl'}{old}")


def draw_charts(name: str, *args: Any, output_dir: Path, elsewhere: Sequence[str] = (), **options: Any) -> list[Path]:
    """Draw a set of charts by one of hf_monitor's create_*_visualizations; a failure of that is one line.

    So is what is left out, but for charts whose names begin as one of `elsewhere`: those are not meant to be there.
    """
    import logging

    import hf_monitor

    log = logging.getLogger("hf_monitor.charts.pictures")  # says what is left out, which we do
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        pictures = getattr(hf_monitor, name)(*args, output_dir=output_dir, **options)
    except Exception as error:  # noqa: BLE001 - the training is done: no failure of a picture may end it
        tell(f"{name} could not draw: {type(error).__name__}: {error}")
        return []
    finally:
        log.setLevel(level)
    reasons: dict[str, list[str]] = {}
    for picture, reason in pictures.left_out.items():
        if not picture.startswith(tuple(elsewhere)):
            old = " (the one that is there is an earlier one)" if (output_dir / picture).exists() else ""
            reasons.setdefault(reason, []).append(f"{picture}{old}")
    if reasons:
        said = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
        tell(f"charts that are not drawn: {said}")
    return list(pictures)


def model_card(trainer: Any, model_args: ModelArguments, data_args: DataArguments) -> None:
    files = [Path(file).name for file in (data_args.train_file, data_args.validation_file) if file]
    parts = [data_args.dataset_name, data_args.dataset_config_name] if data_args.dataset_name else files
    card: dict[str, Any] = {
        "tasks": "summarization",
        "dataset_tags": data_args.dataset_name or [],
        "dataset": " ".join(filter(None, parts)) or "hf_monitor demo",
    }
    if data_args.lang is not None:
        card["language"] = data_args.lang
    if model_args.model_name_or_path is not None:
        card["finetuned_from"] = model_args.model_name_or_path
    else:  # an empty name would be printed as a link to nothing; a folder reads as "trained from scratch"
        trainer.model.config._name_or_path = str(trainer.args.output_dir)
    if trainer.args.push_to_hub:
        trainer.push_to_hub(**card)
    else:
        trainer.create_model_card(**card)


# ---------------------------------------------------------------- what is printed at the end


def compare_with_baselines(
    predictions: list[str], splits: dict[str, Pairs], languages: dict[str, list[str]]
) -> dict[str, dict[str, float]]:
    """Score the model and two baselines on the validation part: row -> language -> ROUGE-L."""
    from hf_monitor import score_texts
    from hf_monitor.seq2seq.baselines import first_utterance, most_frequent

    def pick(items: Sequence[Any], split: str, language: str) -> list[Any]:
        return [item for item, found in zip(items, languages[split], strict=True) if found == language]

    rows: dict[str, dict[str, float]] = {}
    validation = splits["validation"]
    for language in sorted(set(languages["validation"]), reverse=True):
        references = pick(validation.references or [], "validation", language)
        dialogues = pick(validation.texts, "validation", language)
        candidates = {
            "this model": pick(predictions, "validation", language),
            "baseline: first utterance": [first_utterance(dialogue) for dialogue in dialogues],
        }
        if "train" in splits:
            known = [summaries[0] for summaries in pick(splits["train"].references or [], "train", language)]
            candidates["baseline: most frequent training summary"] = [most_frequent(known)] * len(dialogues)
        for name, texts in candidates.items():
            rows.setdefault(name, {})[language] = score_texts(texts, references, language=language)["rougeL"]
    return rows


def print_comparison(rows: dict[str, dict[str, float]], n_samples: int) -> None:
    languages = list(next(iter(rows.values())))
    width = max(map(len, rows)) + 2
    print(f"\nROUGE-L (0 to 100) on {n_samples} validation dialogues that were never trained on")
    print(" " * width + "".join(f"{LANGUAGE_NAMES[language]:>10}" for language in languages))
    for name, values in rows.items():
        print(f"{name:<{width}}" + "".join(f"{values[language]:>10.1f}" for language in languages))


def print_places(run_dir: Path, output_dir: Path, scored: bool) -> None:
    charts = sorted((run_dir / "plots").rglob("*.png"))
    places = {
        "Report": run_dir / "report.html",
        "Run folder": run_dir,
        "Log": run_dir / "train.log",
        "Texts": run_dir / "predictions.jsonl",
        "Model": output_dir,
    }
    print()
    for name, path in places.items():
        if path.exists() and (
            name != "Model" or (output_dir / "config.json").exists() or any(output_dir.glob("adapter_*"))
        ):
            print(f"{name:<11} {path}")
    for number, path in enumerate(charts):
        print(f"{'' if number else 'Charts':<11} {path}")
    code = f"from hf_monitor import load_run; run = load_run({str(run_dir)!r}); print(run)"
    if scored:
        code += "; print(run.best('eval_rougeL'))"
    quoted = shlex.quote(code) if set(code) & set('"$`\\') else f'"{code}"'
    # After `make train` no environment is active: `python` would be another one.
    python = "python" if shutil.which("python") == sys.executable else shlex.quote(sys.executable)
    print(f"{'Read it':<11} {python} -c {quoted}")


# ---------------------------------------------------------------- folds


CHOSEN_ON_HELD_OUT = (
    "with --load_best_model_at_end the part that is held out chooses the checkpoint and judges it: the results are too "
    "good for new data"
)


class Folds:
    """Trainings on all of the training data but one part, which each is then evaluated on.

    Each begins with the same weights and the same seed; ``--seed`` also says who is held out when. Where the tokenizer
    is made on the spot, it is made once, of all the training data: it decides over pieces of words, the weights do not
    see what is held out.
    """

    def __init__(
        self,
        given: dict[str, Any],
        model_args: ModelArguments,
        data_args: DataArguments,
        training_args: Any,
        pairs: Pairs,
    ) -> None:
        from hf_monitor.seq2seq.folds import split_folds

        assert data_args.num_folds is not None
        self.given, self.model_args, self.data_args, self.training_args = given, model_args, data_args, training_args
        self.pairs = pairs
        self.parent = Path(training_args.output_dir)
        self.folds = split_folds(pairs.texts, data_args.num_folds, training_args.seed)
        self.rows: list[dict[str, Any]] = []
        self.encoded: dict[str, Any] = {}
        self.plan: Any = None

    def run(self) -> int:
        """Train and evaluate all folds; what is finished stays, whatever comes after it."""
        from hf_monitor.seq2seq.folds import RESULTS_FILE, fold_table, write_folds

        n = len(self.folds)
        if self.training_args.load_best_model_at_end:
            tell(f"warning: {CHOSEN_ON_HELD_OUT}")
        try:
            for fold in self.folds:
                self.rows.append(self.train_fold(fold))
                if is_main_process():
                    write_folds(self.parent, self.rows)
                free_memory()
        except KeyboardInterrupt:
            if is_main_process():
                print(file=sys.stderr)  # below the progress bar
            done = f"; their results are in {self.parent / RESULTS_FILE}" if self.rows else ""
            tell(f"interrupted; {len(self.rows)} of {n} folds are finished{done}")
            if self.rows and is_main_process():
                with contextlib.suppress(KeyboardInterrupt):  # once more: without the charts, then
                    if self.draw():
                        tell(f"charts of what is finished are in {self.parent / 'plots'}")
            return 130
        if is_main_process():
            self.draw()
            print(f"\n{n} folds of {len(self.pairs.texts)} samples, each evaluated on what it was not trained on")
            print(fold_table(self.rows))
            print(
                "f1: mean of ROUGE-1, ROUGE-2 and ROUGE-L F1 / 100. accuracy: tokens right under teacher forcing, 0-1."
            )
            print("sd: standard deviation over the folds.")
            if self.training_args.load_best_model_at_end:
                print(f"Note: {CHOSEN_ON_HELD_OUT}.")
            print()
            print(f"{'Runs':<11} {self.parent / 'fold_1'} ... fold_{n}")
            print(f"{'Results':<11} {self.parent / RESULTS_FILE}")
            for number, path in enumerate(sorted((self.parent / "plots").glob("*.png"))):
                print(f"{'' if number else 'Charts':<11} {path}")
        return 0

    def draw(self) -> list[Path]:
        """Draw the folds that are finished, and those of this run alone: the folder may hold earlier ones."""
        from hf_monitor.seq2seq.folds import fold_folder

        return draw_charts(
            "create_training_visualizations",
            fold_results=[fold_folder(self.parent, row["fold"]) for row in self.rows],
            model_name=self.model_args.model_name_or_path or self.model_args.config_name or "small T5",
            output_dir=self.parent / "plots",
            elsewhere=("06_", "07_"),  # the history: each fold's is in its own run folder
        )

    def train_fold(self, fold: Any) -> dict[str, Any]:
        """Train without a part and evaluate on it; nothing of model and optimizer is left afterwards."""
        import dataclasses

        from hf_monitor.seq2seq.folds import fold_folder, fold_row
        from hf_monitor.seq2seq.token_accuracy import token_accuracy

        model, tokenizer = prepare_model(self.model_args, self.data_args, self.training_args, self.pairs)
        if fold.number == 1:
            self.prepare(model, tokenizer)
        held_out = fold.held_out[: self.data_args.max_eval_samples]
        datasets = {
            "train": self.encoded["train"].select(fold.train),
            "validation": self.encoded["validation"].select(held_out),
        }
        tell(
            f"fold {fold.number} of {len(self.folds)}: {len(fold.train)} samples to train on, {len(held_out)} held out"
        )
        arguments = dataclasses.replace(self.training_args, output_dir=str(fold_folder(self.parent, fold.number)))
        trainer, _, monitor = make_trainer(model, tokenizer, datasets, self.data_args, arguments)
        with memory_explained(trainer, self.plan, monitor.run_dir), monitor:
            if self.plan is not None and fold.number == 1:
                tell_plan(self.plan, resumes=False)
            train(trainer, len(datasets["train"]))
            values = {**evaluate(trainer), "eval_samples": len(held_out)}
            save(trainer, "eval", values)
            accuracy = token_accuracy(trainer, datasets["validation"])
            row = fold_row(fold, len(self.folds), values, accuracy, len(held_out))
            monitor.record("fold", row)
            model_card(trainer, self.model_args, self.data_args)
        return row

    def prepare(self, model: Any, tokenizer: Any) -> None:
        """Encode all samples, once for all folds, and measure the batch with all of them, where that is asked for."""
        from hf_monitor.seq2seq.folds import fold_folder, write_folds

        settle_generation(self.data_args, self.training_args, model, tokenizer)
        parts = {"train": self.pairs, "validation": self.pairs}
        self.encoded = encode_splits(parts, self.data_args, self.training_args, model, tokenizer)
        if self.data_args.auto_batch:
            run_dir = fold_folder(self.parent, 1) / "monitor"
            self.training_args, self.plan = plan_batches(
                model, tokenizer, self.encoded, self.data_args, self.training_args, self.given, run_dir
            )
        if is_main_process():
            write_folds(self.parent, [])  # what an earlier run left there is no result of this one


def free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


# ---------------------------------------------------------------- the checklist


class Checking:
    """The checklist of --check: of exactly what would be trained. What cannot be loaded is a line of it."""

    def __init__(
        self, given: dict[str, Any], model_args: ModelArguments, data_args: DataArguments, training_args: Any
    ) -> None:
        self.given, self.model_args, self.data_args, self.training_args = given, model_args, data_args, training_args
        self.others: list[Any] = []

    def attempt(self, name: str, do: Callable[[], Any]) -> Any:
        """Do something; what is refused becomes a failed line, and None."""
        from hf_monitor.preflight.checklist import failed

        try:
            return do()
        except HfMonitorError as error:
            self.others.append(failed(name, str(error)))
        return None

    def run(self, wanted: dict[str, int | None]) -> int:
        """Check, print, and give the exit code; of several processes only the first does."""
        from hf_monitor.preflight.before import check_before
        from hf_monitor.preflight.checklist import print_checklist

        model_args, data_args, training_args = self.model_args, self.data_args, self.training_args
        if not is_main_process():
            return 0
        self.attempt("arguments", lambda: check_early(self.given, data_args, training_args))
        if training_args.do_train and data_args.num_folds is None:
            self.attempt("checkpoint", lambda: checkpoint_to_resume(training_args))
        splits = self.splits(wanted)
        train, evaluation = splits.get("train"), {name: part for name, part in splits.items() if name != "train"}
        found = self.attempt("model", lambda: prepare_model(model_args, data_args, training_args, train))
        model, tokenizer = found or (None, None)
        metrics = plan = None
        if model is not None:
            self.attempt("limits", lambda: settle_generation(data_args, training_args, model, tokenizer))
            metrics = self.attempt("scores", lambda: text_metrics(tokenizer, data_args, training_args))
            plan = self.attempt("memory", lambda: self.plan(model, tokenizer, splits))
        checklist = check_before(
            model=model,
            tokenizer=tokenizer,
            train=train,
            evaluation=evaluation if len(evaluation) > 1 else next(iter(evaluation.values()), None),
            args=self.training_args,
            source_prefix=data_args.source_prefix or "",
            max_source_length=data_args.max_source_length,
            max_target_length=data_args.max_target_length,
            compute_metrics=metrics,
            plan=plan,
            seed=training_args.seed,
        )
        print_checklist(checklist.with_checks(self.others))
        return checklist.with_checks(self.others).exit_code

    def splits(self, wanted: dict[str, int | None]) -> dict[str, Pairs]:
        """Read each part on its own: one that is missing hides none of the others."""
        from hf_monitor.seq2seq.folds import split_folds
        from hf_monitor.seq2seq.sources import load_demo_splits, load_splits

        if is_demo(self.given):
            splits = load_demo_splits(wanted)[0]
        else:
            options = {"cache_dir": self.model_args.cache_dir, "token": self.model_args.token}
            names = {"train": "training data", "validation": "evaluation data", "test": "test data"}
            splits = {}
            for split, limit in wanted.items():
                found = self.attempt(
                    names[split],
                    lambda part={split: limit}: load_splits(  # type: ignore[misc]
                        self.data_args, part, tell=lambda message: None, hub_options=options
                    ),
                )
                splits |= found or {}
        if self.data_args.num_folds is not None and "train" in splits:
            pairs, n_folds, seed = splits["train"], self.data_args.num_folds, self.training_args.seed
            folds = self.attempt("folds", lambda: split_folds(pairs.texts, n_folds, seed))
            if folds:  # one stands for all
                splits = {"train": part_of(pairs, folds[0].train), "validation": part_of(pairs, folds[0].held_out)}
        return splits

    def plan(self, model: Any, tokenizer: Any, splits: dict[str, Pairs]) -> Any:
        """Measure for --auto_batch as the training would, on a GPU; on the CPU that takes too long for a check."""
        import dataclasses

        from hf_monitor.preflight.checklist import skipped

        data_args, training_args = self.data_args, self.training_args
        if not data_args.auto_batch or "train" not in splits:
            return None
        if training_args.device.type == "cuda" and training_args.world_size == 1:
            datasets = encode_splits(splits, data_args, training_args, model, tokenizer)
            self.training_args, plan = plan_batches(
                model, tokenizer, datasets, data_args, training_args, self.given, None
            )
            return plan
        known = defaults_for(self.given).get("per_device_train_batch_size")
        effective = data_args.effective_batch_size or known or 128
        # The steps are those of the whole batch, however it will be split.
        self.training_args = dataclasses.replace(training_args, per_device_train_batch_size=effective)
        sentence = f"--auto_batch will measure how the {effective} samples of an update are split; here it does not."
        self.others.append(skipped("memory", sentence))
        return None


def part_of(pairs: Pairs, numbers: Sequence[int]) -> Pairs:
    references = None if pairs.references is None else [pairs.references[number] for number in numbers]
    return Pairs([pairs.texts[number] for number in numbers], references, pairs.columns)


# ---------------------------------------------------------------- all of it


def collect_garbage_again() -> None:
    """Begin with garbage collections, and never look through what was imported so far: nothing of it is garbage."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def run(argv: Sequence[str]) -> int:
    from hf_monitor.seq2seq.sources import load_demo_splits, load_splits

    given = given_arguments(argv, PROG)
    demo = is_demo(given)
    model_args, data_args, training_args = build_arguments(defaults_for(given) | given)
    if not data_args.check:
        check_early(given, data_args, training_args)
    set_up_logging(training_args)
    collect_garbage_again()
    if "dataloader_pin_memory" not in given:  # torch warns where there is nothing to pin it for
        training_args.dataloader_pin_memory = training_args.device.type == "cuda"

    limits = {
        "train": (training_args.do_train, data_args.max_train_samples),
        "validation": (training_args.do_eval, data_args.max_eval_samples),
        "test": (training_args.do_predict, data_args.max_predict_samples),
    }
    if data_args.num_folds is not None:
        limits = {"train": limits["train"]}
    wanted = {split: limit for split, (asked, limit) in limits.items() if asked}
    if not wanted:
        raise InputError("there is nothing to do: give a --train_file, --validation_file or --test_file.")
    if data_args.check:
        return Checking(given, model_args, data_args, training_args).run(wanted)
    languages: dict[str, list[str]] = {}
    if demo:
        splits, languages = load_demo_splits(wanted)
        tell("no data and no model are named: this is the embedded demo")
    else:
        options = {"cache_dir": model_args.cache_dir, "token": model_args.token}
        splits = load_splits(data_args, wanted, tell=tell, hub_options=options)

    if data_args.num_folds is not None:
        return Folds(given, model_args, data_args, training_args, splits["train"]).run()
    checkpoint = checkpoint_to_resume(training_args) if training_args.do_train else None
    model, tokenizer = prepare_model(model_args, data_args, training_args, splits.get("train"))
    settle_generation(data_args, training_args, model, tokenizer)
    datasets = encode_splits(splits, data_args, training_args, model, tokenizer)
    plan = None
    if data_args.auto_batch and not training_args.do_train:
        tell("--auto_batch is left aside: nothing is trained")
    elif data_args.auto_batch:
        run_dir = run_folder(data_args, training_args)
        training_args, plan = plan_batches(model, tokenizer, datasets, data_args, training_args, given, run_dir)
    trainer, metrics, monitor = make_trainer(model, tokenizer, datasets, data_args, training_args)

    # The log has what is printed before and after the training, too.
    with memory_explained(trainer, plan, monitor.run_dir), monitor:
        try:
            if plan is not None:
                tell_plan(plan, resumes=checkpoint is not None)
            rows = None
            if training_args.do_train:
                train(trainer, len(datasets["train"]), checkpoint)
            if training_args.do_eval:
                values = {**evaluate(trainer), "eval_samples": len(datasets["validation"])}
                if demo and metrics is not None and metrics.last is not None:
                    rows = compare_with_baselines(metrics.last.predictions, splits, languages)
                    values |= {f"eval_rougeL_{language}": value for language, value in rows["this model"].items()}
                save(trainer, "eval", values)
            if training_args.do_predict:
                values = predict(trainer, metrics, monitor, datasets["test"], data_args)
                save(trainer, "predict", {**values, "predict_samples": len(datasets["test"])})
            if training_args.do_train:
                model_card(trainer, model_args, data_args)
            if is_main_process():
                if rows:
                    print_comparison(rows, len(datasets["validation"]))
                scored = training_args.do_eval and metrics is not None
                print_places(monitor.run_dir, Path(training_args.output_dir), scored)
        except KeyboardInterrupt:
            if is_main_process():
                print(file=sys.stderr)  # below the progress bar
            tell(f"interrupted; what was recorded is in {monitor.run_dir}")
            return 130
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    try:
        return run(sys.argv[1:] if argv is None else argv)
    except BatchDoesNotFit as error:  # with a ladder of remedies, a line each
        tell(f"error: {error}")
        return 3
    except HfMonitorError as error:
        if is_main_process():
            print(f"{PROG}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        tell("interrupted before the training")
        return 130
    finally:
        leave_process_group()


if __name__ == "__main__":
    gc.disable()  # while modules are imported, until collect_garbage_again(): a sixth of what a short launch takes
    sys.exit(main())
