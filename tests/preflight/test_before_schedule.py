"""The number of steps as the Trainer counts them, and what is set for more than there are."""

import pytest

from hf_monitor.preflight.schedule import check_best_metric, check_schedule, check_steps, interval, schedule_of


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    from transformers import Seq2SeqTrainingArguments

    folder = str(tmp_path_factory.mktemp("schedule") / "out")

    def make(**given):
        settings = {"output_dir": folder, "report_to": "none", "use_cpu": True, "num_train_epochs": 3, **given}
        return Seq2SeqTrainingArguments(**settings)

    return make


@pytest.mark.parametrize(
    "given",
    [
        {"per_device_train_batch_size": 3},
        {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 2, "num_train_epochs": 1.5},
        {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 2, "dataloader_drop_last": True},
        {"per_device_train_batch_size": 2, "max_steps": 9},
    ],
)
def test_the_trainer_counts_the_same_steps(make_trainer, given):
    trainer = make_trainer(**{"max_steps": -1, "num_train_epochs": 3, **given})
    found = schedule_of(len(trainer.train_dataset), trainer.args)
    _, per_epoch, _, _, batch, _, steps = trainer.set_initial_training_values(
        trainer.args, trainer.get_train_dataloader()
    )
    assert (found.steps_per_epoch, found.effective_batch, found.steps) == (per_epoch, batch, steps)


def judge(args, n=80):
    found = schedule_of(n, args)
    return check_steps(n, found, args), check_schedule(found, args)


def test_what_lies_beyond_the_end_is_named(arguments):
    steps, schedule = judge(arguments(warmup_steps=100, logging_steps=31, eval_strategy="steps", eval_steps=40))
    assert steps.evidence["steps"] == 30
    assert schedule.state == "warning"
    assert "the warm-up of 100 steps is not over when the training ends after 30" in schedule.sentence
    for word in ("--logging_steps 31", "--eval_steps 40", "--save_steps 500"):
        assert f"{word} is more than the 30 steps" in schedule.sentence


def test_a_schedule_that_fits_is_well(arguments):
    args = arguments(warmup_steps=0.1, logging_steps=30, save_strategy="epoch", eval_strategy="steps", eval_steps=0.25)
    assert [check.state for check in judge(args)] == ["ok", "ok"]
    assert interval(args, "eval", 30) == 8
    assert interval(args, "save", 30) is None
    assert judge(args)[1].evidence["warmup_steps"] == 3


def test_batches_that_train_nothing_or_whole_epochs(arguments):
    assert judge(arguments(dataloader_drop_last=True), n=5)[0].state == "failed"
    whole = judge(arguments(gradient_accumulation_steps=100))[0]
    assert whole.state == "warning"
    assert "Every update of 800 samples is a whole epoch" in whole.suggestion


@pytest.mark.parametrize(
    ("metric", "greater", "keys", "computes", "state"),
    [
        ("rougeL", True, ("rougeL",), True, "ok"),
        ("eval_rougeL", None, ("rougeL",), True, "ok"),
        ("loss", False, None, False, "ok"),
        ("rougeL", True, None, True, "ok"),
        ("rougeL", True, None, False, "failed"),
        ("rogueL", True, ("rougeL",), True, "failed"),
        ("rougeL", False, ("rougeL",), True, "failed"),
        ("eval_loss", True, None, False, "failed"),
        (None, None, None, False, "skipped"),
    ],
)
def test_the_metric_that_chooses_has_to_be_there_and_to_point_the_right_way(
    arguments, metric, greater, keys, computes, state
):
    args = arguments(metric_for_best_model=metric, greater_is_better=greater)
    assert check_best_metric(args, keys, computes).state == state
