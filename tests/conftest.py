"""Real parts, small: a T5 from a config, a tokenizer trained on the spot, a data set of dialogues. No network."""

from __future__ import annotations

import gc
import importlib
import os
import pkgutil
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("WANDB_MODE", "offline")
# Models this small are fastest with one thread each, and by far when several tests share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_UPDATE_DOWNLOAD_COUNTS"] = "0"  # evaluate's own counter would ask the network

import pytest


def seconds(item):
    slow = item.get_closest_marker("slow")
    return slow.kwargs.get("seconds", 20) if slow else 0


def pytest_collection_modifyitems(items):
    """Slow ones first, so that with several processes none of them is left over at the end, when it runs alone."""
    items.sort(key=seconds, reverse=True)


def is_traced_worker(session):
    return hasattr(session.config, "workerinput") and "coverage" in sys.modules


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session):
    """Stop what traces a process of pytest-xdist before pytest-cov's own tracer for it starts, which comes next.

    Coverage starts one there as in any child, and pytest-cov another, as if it were the main process. They would go on
    wherever the one that counts is paused: tests marked ``no_cover`` took as long as if they were not. Between the two,
    what most tests need is imported: traced, it takes half as long again.
    """
    if is_traced_worker(session):
        from coverage import Coverage

        while tracer := Coverage.current():
            tracer.stop()
        from peft import LoraConfig  # noqa: F401 - with torch, datasets, pandas
        from transformers import BartForConditionalGeneration, Seq2SeqTrainer, T5ForConditionalGeneration  # noqa: F401


def pytest_collection_finish(session):
    """Import all of ours while it is traced: the first import may come in a test marked ``no_cover``."""
    if is_traced_worker(session):
        import hf_monitor

        for found in pkgutil.walk_packages(hf_monitor.__path__, "hf_monitor."):
            if not found.name.startswith("hf_monitor.metrics.modules.") and not found.name.endswith("__main__"):
                importlib.import_module(found.name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Leave the children of tests marked ``no_cover`` untraced, too."""
    with pytest.MonkeyPatch.context() as patch:
        if item.get_closest_marker("no_cover"):
            patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        return (yield)


_modules_when_frozen = 0


def pytest_runtest_setup(item):
    """Leave what is imported out of garbage collections: the Trainer makes one at each start, of 0.3 s with it."""
    global _modules_when_frozen
    if len(sys.modules) > _modules_when_frozen + 100:
        gc.collect()
        gc.freeze()
        _modules_when_frozen = len(sys.modules)


@pytest.fixture
def nothing_frozen():
    """Garbage is looked for everywhere, as in a process of a user."""
    gc.unfreeze()
    yield
    gc.collect()
    gc.freeze()


TEXTS = [
    ("#Person1#: 안녕하세요. #Person2#: 내일 회의는 세 시입니다.", "#Person2#는 회의 시간을 알린다."),
    ("#Person1#: Hello. #Person2#: The meeting is at three.", "#Person2# tells the time of the meeting."),
    ("#Person1#: 점심 먹었어요? #Person2#: 아직 안 먹었어요.", "#Person2#는 점심을 먹지 않았다."),
    ("#Person1#: Did you eat? #Person2#: Not yet, let us go.", "They will go to eat."),
]


@pytest.fixture(scope="session")
def dialogues():
    """Pairs of a dialogue and its summary."""
    return TEXTS


@pytest.fixture(scope="session")
def tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE(unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.train_from_iterator(
        [text for pair in TEXTS for text in pair],
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=["<pad>", "</s>", "<unk>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    raw.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=64
    )


@pytest.fixture
def make_model(tokenizer):
    def make(seed: int = 0, **changes):
        import torch
        from transformers import T5Config, T5ForConditionalGeneration

        torch.manual_seed(seed)
        settings = {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_layers": 1, "num_heads": 2, "dropout_rate": 0.1}
        config = T5Config(
            vocab_size=len(tokenizer), pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, **(settings | changes)
        )
        model = T5ForConditionalGeneration(config)
        model.generation_config.max_length = 12
        model.generation_config.max_new_tokens = None
        return model

    return make


@pytest.fixture
def make_dataset(tokenizer):
    def make(n: int = 8, *, opening: str = "", **columns):
        from datasets import Dataset

        pairs = [(opening + dialogue, summary) for dialogue, summary in (TEXTS[i % len(TEXTS)] for i in range(n))]
        encoded = [
            {
                "input_ids": tokenizer(dialogue)["input_ids"],
                "attention_mask": tokenizer(dialogue)["attention_mask"],
                "labels": tokenizer(summary)["input_ids"],
                **{name: values[i] for name, values in columns.items()},
            }
            for i, (dialogue, summary) in enumerate(pairs)
        ]
        return Dataset.from_list(encoded)

    return make


@pytest.fixture
def make_trainer(tokenizer, make_model, make_dataset, tmp_path):
    """Make a real Seq2SeqTrainer on the CPU; keyword arguments go to the training arguments."""

    def make(
        *,
        model=None,
        callbacks=None,
        compute_metrics=None,
        train=None,
        evaluation=None,
        output_dir=None,
        cls=None,
        **kw,
    ):
        from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments

        model = model if model is not None else make_model()
        settings = {
            "max_steps": 4,
            "logging_steps": 1,
            "eval_strategy": "steps",
            "eval_steps": 2,
            "save_strategy": "no",
            "per_device_train_batch_size": 2,
            "per_device_eval_batch_size": 3,
            "predict_with_generate": True,
            "report_to": "none",
            "use_cpu": True,
            "seed": 7,
            "dataloader_pin_memory": False,
            "disable_tqdm": True,
        }
        arguments = Seq2SeqTrainingArguments(output_dir=str(output_dir or tmp_path / "out"), **(settings | kw))
        return (cls or Seq2SeqTrainer)(
            model=model,
            args=arguments,
            train_dataset=train if train is not None else make_dataset(8, opening="Later. "),  # no overlap
            eval_dataset=evaluation if evaluation is not None else make_dataset(5),
            data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
            processing_class=tokenizer,
            compute_metrics=compute_metrics,
            callbacks=callbacks,
        )

    return make
