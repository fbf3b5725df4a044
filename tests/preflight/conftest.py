"""One real training, whose folder was moved since."""

from __future__ import annotations

import shutil

import pytest


@pytest.fixture(scope="session")
def trained(tokenizer, dialogues, tmp_path_factory):
    """The output_dir of a training: checkpoint-2, checkpoint-4 (the best), the model, monitor/. Not to be changed."""
    import torch
    from datasets import Dataset
    from transformers import (
        DataCollatorForSeq2Seq,
        Seq2SeqTrainer,
        Seq2SeqTrainingArguments,
        T5Config,
        T5ForConditionalGeneration,
    )

    from hf_monitor import TextMetrics, attach

    torch.manual_seed(0)
    size = {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_layers": 1, "num_heads": 2}
    ids = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    model = T5ForConditionalGeneration(T5Config(vocab_size=len(tokenizer), **size, **ids))
    model.generation_config.max_length = 6
    data = Dataset.from_list(
        [
            {"input_ids": tokenizer(dialogue)["input_ids"], "labels": tokenizer(summary)["input_ids"]}
            for dialogue, summary in dialogues
        ]
    )
    first = tmp_path_factory.mktemp("trained_here") / "out"
    arguments = Seq2SeqTrainingArguments(
        output_dir=str(first),
        max_steps=4,
        logging_steps=1,
        learning_rate=0.01,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        per_device_train_batch_size=2,
        predict_with_generate=True,
        report_to="none",
        use_cpu=True,
        seed=7,
        dataloader_pin_memory=False,
        disable_tqdm=True,
    )
    trainer = Seq2SeqTrainer(
        model=model,
        args=arguments,
        train_dataset=data,
        eval_dataset=data,
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        processing_class=tokenizer,
        compute_metrics=TextMetrics(tokenizer),
    )
    attach(trainer)
    trainer.train()
    trainer.save_model()
    return first.rename(tmp_path_factory.mktemp("moved_there") / "out")


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of that folder, which may be changed."""
    return shutil.copytree(trained, tmp_path / "out")
