"""compare_runs: names exactly what differs, warns, and says no more than chance allows."""

import io
import json
import math
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from browser import DRESSES
from hostile_run import hostile_run

from hf_monitor import RunWriter, attach, compare_runs
from hf_monitor.cli import main
from hf_monitor.errors import InputError, RunFolderError
from hf_monitor.report import chance
from hf_monitor.report.compared_facts import Absent
from hf_monitor.report.comparison_text import print_comparison

make_run = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "made_runs.py"))["make_run"]


def made(folder, rate=1e-4, seed=0, *, level=0.0, chance_seed=None, **more):
    """Write a run with settings of its own."""
    arguments = {"learning_rate": rate, "seed": seed, "output_dir": str(folder), "logging_steps": 1}
    facts = {"arguments": arguments, "run_id": f"{folder}", "seed": seed, **more}
    own = seed if chance_seed is None else chance_seed
    return make_run(folder, 60, evaluations=5, n_texts=30, seed=own, facts=facts, level=level)


def changed(folder, **facts):
    """Change facts of a run that is there."""
    path = Path(folder) / "run.json"
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), **facts}))
    return Path(folder)


def names(comparison):
    return [row.name for row in comparison.differences]


def git(folder, *arguments):
    identity = {f"GIT_{who}_{what}": "t@t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(["git", "-C", str(folder), *arguments], env={**os.environ, **identity}, capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def trained(make_trainer, make_dataset, make_model, tmp_path, monkeypatch):
    """Train for real, recorded; the code is that of a repository with the given number of commits."""
    repository = tmp_path / "code"
    repository.mkdir()
    script = repository / "train.py"
    script.write_text("1\n")
    git(repository, "init", "-q")
    git(repository, "add", "train.py")
    git(repository, "commit", "-q", "-m", "1")
    monkeypatch.setattr(sys, "argv", [str(script)])

    def train(name, *, samples=8, **arguments):
        trainer = make_trainer(
            model=make_model(1),
            train=make_dataset(samples, opening="Later. "),
            output_dir=tmp_path / name,
            **({"max_steps": 2, "predict_with_generate": False} | arguments),
        )
        # Command and output folder differ as those of two commands do.
        monkeypatch.setattr(sys, "orig_argv", ["python", str(script), "--output_dir", str(tmp_path / name)])
        attach(trainer)
        trainer.train()
        return tmp_path / name

    train.repository = repository
    return train


def test_two_real_trainings_that_differ_by_one_thing_differ_by_exactly_that(trained):
    first = trained("first")
    rate = compare_runs([first, trained("rate", learning_rate=1e-3)])
    assert names(rate) == ["arguments.learning_rate"]
    assert rate.differences[0].values == [5e-5, 1e-3]
    assert rate.differences[0].follows == ["optimizer.learning_rates"]
    assert rate.warnings == []

    seed = compare_runs([first, trained("seed", seed=8)])
    assert names(seed) == ["arguments.seed"]
    assert len(seed.verdict.groups) == 1
    assert "differ by seed only" in str(seed.verdict)

    data = compare_runs([first, trained("data", samples=6)])
    assert names(data) == ["data.train"]
    assert [value["n_samples"] for value in data.differences[0].values] == [8, 6]
    assert [caution.code for caution in data.warnings] == ["training data"]

    git(trained.repository, "commit", "-q", "--allow-empty", "-m", "2")
    code = compare_runs([first, trained("code")])
    assert names(code) == ["git.commit"]
    assert [caution.code for caution in code.warnings] == ["code"]


def test_what_is_not_recorded_is_said_and_is_no_difference(tmp_path):
    git = {"commit": "a" * 40, "branch": "main", "dirty": False, "folder": "/x"}
    old = made(tmp_path / "old")
    new = made(tmp_path / "new", git=git, packages={"torch": "2.13.0"}, precision="bf16")
    found = compare_runs([old, new])
    assert names(found) == []
    assert set(found.not_recorded) >= {"git.commit", "packages.torch", "precision"}
    assert all(places == [0] for places in found.not_recorded.values())
    other = made(tmp_path / "other", packages={"torch": "2.13.0", "peft": "0.21"})
    (row,) = compare_runs([new, other]).differences
    assert (row.name, row.values) == ("packages.peft", [Absent.NONE, "0.21"])  # of recorded packages it is missing


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (
            "python train.py --output_dir {} --cache {}/c",
            "/usr/bin/python3 -u train.py --output_dir={} --cache {}/c",
            [],
        ),
        ("python train.py --learning_rate 1e-4", "python train.py", []),  # the arguments say it, whatever was typed
        ("python train.py --prefix a", "python train.py --prefix b", ["command.--prefix"]),
        ("python train.py", "python other.py", ["command.script"]),
        ("torchrun train.py --local-rank=0", "torchrun train.py --local-rank=1", []),
        ("python train.py --learning_rate 1e-4 c1", "python train.py --learning_rate 1e-4 c2", ["command.arguments"]),
        ("python -m ipykernel_launcher -f /k/1.json", "python -m ipykernel_launcher -f /k/2.json", []),
        ("python 'open train.py --prefix a", "python train.py --prefix a", ["command.script", "command.arguments"]),
    ],
)
def test_of_the_command_only_what_the_arguments_do_not_say(tmp_path, ours, theirs, expected):
    a, b = tmp_path / "a", tmp_path / "b"
    made(a, command=ours.format(a, a))
    made(b, command=theirs.format(b, b))
    assert names(compare_runs([a, b])) == expected


def test_an_option_of_another_name_that_says_the_same_is_no_cause_of_its_own(tmp_path):
    a = made(tmp_path / "a", 1e-4, command="python t.py --lr 1e-4")
    b = made(tmp_path / "b", 3e-4, command="python t.py --lr 0.0003")
    (row,) = compare_runs([a, b]).differences
    assert (row.name, row.follows) == ("arguments.learning_rate", ["command.--lr"])


def tagged(folder, command, names="ab", seeds=(1, 2, 3)):
    """Write runs of two learning rates with three seeds each, each with a command of its own."""
    for place, name in enumerate(names):
        for seed in seeds:
            words = command.format(lr=(1e-4, 3e-4)[place], seed=seed, name=f"{name}{seed}", k=10 * place + seed)
            made(folder / f"{name}{seed}", (1e-4, 3e-4)[place], seed, chance_seed=10 * place + seed, command=words)
    return compare_runs(folder)


@pytest.mark.parametrize(
    "command",
    [
        "python t.py --run_tag {name}",
        "python t.py --prefix {name}",  # a text, another one in each run, and without it they are repetitions
        "python t.py {name}",
        'python t.py \'{{"lr": {lr}, "seed": {seed}, "warmup": 5}}\'',
        "python t.py model.lr={lr} trainer.seed={seed}",
        "python t.py fit {lr} {seed}",
    ],
)
def test_a_name_of_its_own_for_each_run_parts_no_group(tmp_path, command):
    found = tagged(tmp_path, command)
    assert [group.label for group in found.verdict.groups] == ["learning_rate=0.0001", "learning_rate=0.0003"]
    named = [row.short for row in found.differences if row.label]
    assert len(named) == ("{name}" in command)
    assert all(f"{name} of the command is taken as a name" in str(found.verdict) for name in named)


def test_an_option_that_may_be_a_setting_parts_groups_and_the_verdict_says_which(tmp_path):
    found = tagged(tmp_path / "numbers", "python t.py --depth {k}")
    assert len(found.verdict.groups) == 6
    assert "not grouped because of --depth" in str(found.verdict)
    same = tagged(tmp_path / "seed", "python t.py --prefix {name}", seeds=(1,))  # two runs: no one can know
    assert len(same.verdict.groups) == 2
    for place, mode in enumerate(("add", "cat", "mul")):  # of one seed: it is what was tried
        made(tmp_path / "modes" / mode, command=f"python t.py --mode {mode}", chance_seed=place)
    assert len(compare_runs(tmp_path / "modes").verdict.groups) == 3


def test_labels_are_names_of_runs_where_settings_are_too_long_to_tell_them_apart(tmp_path):
    for name, seed in (("a", 1), ("b", 1)):
        made(tmp_path / name, seed=seed, command=f"python t.py --text '{'long ' * 20}{name}'")
    assert [group.label for group in compare_runs(tmp_path).verdict.groups] == ["a", "b"]


def test_an_evaluation_or_data_set_that_one_run_does_not_have_is_no_difference(tmp_path):
    both = {"eval": {"bleu": "tok:13a"}, "test": {"bleu": "tok:13a"}}
    train, held_out = ({"class": "Dataset", "n_samples": n, "fingerprint": f"{n}"} for n in (9, 5))
    a = made(tmp_path / "a", text_metrics={"eval": both["eval"]}, data={"train": train})
    b = made(tmp_path / "b", text_metrics=both, data={"train": train, "eval": held_out})
    found = compare_runs([a, b])
    assert names(found) == []
    assert set(found.not_recorded) == {"text_metrics.test.bleu", "data.eval"}
    assert [caution.code for caution in found.warnings] == ["data not known"]
    assert "a did not record it" in found.warnings[0].text


def test_of_what_cannot_be_compared_no_run_is_called_better(tmp_path, sweep):
    better = made(tmp_path / "b", 3e-4, level=30.0, text_metrics={"eval": {"rouge.stemming": "no", "bleu": "a"}})
    other = made(tmp_path / "a", 1e-4, text_metrics={"eval": {"rouge.stemming": "porter", "bleu": "a"}})
    verdict = compare_runs([other, better], metric="eval_rougeL").verdict
    assert verdict.outcome == "cannot be told"
    assert "different ways: rouge.stemming" in str(verdict)
    assert "different ways" not in str(compare_runs([other, better], metric="eval_loss").verdict)

    started = made(tmp_path / "short", 5e-4)
    lines = (started / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (started / "metrics.jsonl").write_bytes(b"".join(lines[: len(lines) // 2]))
    verdict = compare_runs([*sweep.glob("r0.0003_*"), started]).verdict
    assert verdict.outcome == "cannot be told"
    assert "short is not finished" in str(verdict)
    changed(started, arguments={"learning_rate": 3e-4, "seed": 9, "output_dir": str(started), "logging_steps": 1})
    verdict = compare_runs([*sweep.glob("r0.000[13]_*"), started]).verdict
    assert sorted(len(group.values) for group in verdict.groups) == [3, 3]
    assert "short is not finished, and no part" in str(verdict)


def test_scores_of_another_kind_part_groups(tmp_path):
    for place, tokenizer in enumerate(("mecab", "spaces")):
        for seed in (1, 2):
            scored = {"eval": {"rouge.tokenizer": tokenizer}}
            made(tmp_path / f"{tokenizer}{seed}", seed=seed, chance_seed=9 * place + seed, text_metrics=scored)
    found = compare_runs(tmp_path, metric="eval_rougeL")
    assert [len(group.runs) for group in found.verdict.groups] == [2, 2]
    assert found.verdict.outcome == "cannot be told"
    page = found.to_html(tmp_path / "page.html").read_text()
    assert page.index("cannot be compared at all") < page.index("What differs")  # in the box, too


@pytest.mark.parametrize("what", ["label_smoothing_factor", "world_size"])
def test_a_loss_that_is_computed_in_another_way_is_no_verdict(tmp_path, what):
    for rate, value in ((1e-4, 1), (3e-4, 2)):
        for seed in (1, 2):
            run = made(tmp_path / f"{rate}_{seed}", rate, seed, level=20 * value, chance_seed=value * 7 + seed)
            arguments = orjson.loads((run / "run.json").read_bytes())["arguments"]
            own = {"arguments": arguments | {what: value / 10}} if what[0] == "l" else {"devices": {what: value}}
            changed(run, **own)
    found = compare_runs(tmp_path, metric="eval_loss")
    assert found.verdict.outcome == "cannot be told"
    assert found.warnings[0].text.startswith(f"eval_loss is computed in different ways ({what})")
    assert compare_runs(tmp_path, metric="eval_rougeL").verdict.outcome != "cannot be told"


def test_files_of_data_that_are_not_known_matter(tmp_path):
    known = {"train": {"class": "Dataset", "n_samples": 9, "fingerprint": "9"}}
    for data, matters in ((known, False), ({"train": {"class": "IterableDataset"}}, True)):
        for name in ("old", "new"):
            made(tmp_path / f"{matters}" / name, data=data, command=f"python t.py --train_file {name}.jsonl")
        (row,) = compare_runs(tmp_path / f"{matters}").differences
        assert (row.name, row.matters) == ("command.--train_file", matters)


def test_the_config_follows_from_another_class_of_model(tmp_path):
    a = made(tmp_path / "a", model={"class": "T5", "config": {"d_kv": 8, "d_ff": 4, "x": 1, "y": 2}})
    b = made(tmp_path / "b", model={"class": "Bart", "config": {"layers": 2}})
    found = compare_runs([a, b])
    assert names(found) == ["model.class"]
    assert "and 2 more" in str(found)


def test_it_warns_of_whatever_makes_numbers_incomparable(tmp_path):
    data = {"eval": {"class": "Dataset", "n_samples": 5, "fingerprint": "a"}, "train": {"class": "Own", "n_samples": 9}}
    git = {"commit": "a", "dirty": True}
    a = made(tmp_path / "a", data=data, git=git, text_metrics={"eval": {"bleu": "tok:13a"}}, packages={"torch": "1"})
    b = made(
        tmp_path / "b",
        data={**data, "eval": {"class": "Dataset", "n_samples": 6, "fingerprint": "b"}},
        git={**git, "dirty": False},
        text_metrics={"eval": {"bleu": "tok:ko-mecab"}},
        packages={"torch": "2"},
    )
    lines = (b / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (b / "metrics.jsonl").write_bytes(b"".join(lines[: len(lines) // 2]))
    codes = [caution.code for caution in compare_runs([a, b]).warnings]
    expected = ["scores", "evaluation data", "code", "packages", "status", "steps", "evaluations", "data not known"]
    assert codes == expected


@pytest.mark.parametrize("verdict", ["as logged", "scaled", "undetermined", None])
def test_losses_of_several_processes_compare_where_they_are_known_to_be_right(tmp_path, verdict):
    """Records of before do not say, and the Trainer multiplies such losses by the number of processes."""
    one = made(tmp_path / "one", devices={"world_size": 1})
    said = {} if verdict is None else {"eval_loss_scaling": {"verdict": verdict, "reason": "words"}}
    two = made(tmp_path / "two", devices={"world_size": 2}, **said)
    found = compare_runs([one, two], metric="eval_loss")
    warned = [caution.text for caution in found.warnings if caution.code == "scores"]
    assert bool(warned) == (verdict in ("undetermined", None))
    assert all("world_size" in text for text in warned)
    assert "devices.world_size" in names(found)
    assert "eval_loss_scaling.verdict" not in [row.name for row in found.differences if row.parts]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Three learning rates with three seeds each: two that are alike, and one that is far better."""
    folder = tmp_path_factory.mktemp("sweep")
    for place, (rate, level) in enumerate(((1e-4, 0.0), (2e-4, 0.0), (3e-4, 8.0))):
        for seed in range(3):
            made(folder / f"r{rate:g}_s{seed}", rate, seed, level=level, chance_seed=10 * place + seed)
    return folder


def test_seeds_form_groups_and_only_more_than_chance_is_called_clear(sweep):
    found = compare_runs(sweep)
    assert names(found) == ["arguments.learning_rate", "arguments.seed"]
    assert [len(group.values) for group in found.verdict.groups] == [3, 3, 3]
    assert found.verdict.outcome == "clear difference"
    assert {pair.method for pair in found.verdict.pairs} == {"welch"}
    assert "is of learning_rate=0.0003" in found.verdict.sentences[0]
    assert all(pair.clear for pair in found.verdict.pairs)

    alike = compare_runs([*sweep.glob("r0.0001_*"), *sweep.glob("r0.0002_*")])
    assert alike.verdict.outcome == "no clear difference"
    assert str(alike.verdict).startswith("No clear difference.")
    assert str(alike.verdict).lower().count("no clear difference") == 1


def test_a_run_against_a_group_and_a_metric_of_which_less_is_better(sweep):
    runs = [*sorted(sweep.glob("r0.0001_*")), sweep / "r0.0003_s0"]
    (pair,) = compare_runs(runs).verdict.pairs
    assert (pair.method, pair.clear) == ("one and many", True)
    assert pair.low > 0
    lower = compare_runs(runs, metric="loss").verdict  # eval_loss
    assert (lower.metric, lower.greater_is_better) == ("eval_loss", False)
    means = [group.mean for group in lower.groups]
    assert means[lower.pairs[0].best] == min(means)
    assert math.copysign(1, lower.pairs[0].difference) == -1


def test_single_runs_are_compared_by_their_samples_which_is_not_about_the_seed(tmp_path, sweep):
    rows = {"metric": "eval_rougeL"}
    a, b = made(tmp_path / "a", 1e-4, level=0.0), made(tmp_path / "b", 3e-4, level=30.0)
    texts = [orjson.loads(line) for line in (a / "predictions.jsonl").read_bytes().splitlines()]
    better = [{**row, "rougeL": min(100.0, row["rougeL"] + 20 + row["index"] % 7)} for row in texts]
    (b / "predictions.jsonl").write_bytes(
        b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in better)
    )
    found = compare_runs([a, b], **rows).verdict
    assert found.outcome == "clear on these texts"
    assert (found.pairs[0].method, found.pairs[0].n) == ("samples", 30)
    assert "clearly" not in str(found)
    assert "not the seed" in found.sentences[1]  # beside the claim, wherever that is shown
    (b / "predictions.jsonl").unlink()
    assert compare_runs([a, b], **rows).verdict.outcome == "cannot be told"
    # Two evaluations of other texts are not compared sample by sample.
    other = compare_runs([sweep / "r0.0001_s0", sweep / "r0.0002_s0"]).verdict
    assert other.outcome == "cannot be told"
    assert "not of the same samples" in str(other)


def test_folds_of_one_split_are_paired(tmp_path):
    for rate, gain in ((1e-4, 0.0), (3e-4, 3.0)):
        for fold in range(1, 6):
            held_out = {"eval": {"class": "Dataset", "n_samples": 5, "fingerprint": f"f{fold}"}}
            made(tmp_path / f"{rate}" / f"fold_{fold}", rate, level=10.0 * fold + gain, data=held_out, chance_seed=fold)
    found = compare_runs(tmp_path)
    assert names(found) == ["arguments.learning_rate", "fold"]  # the data follow from the fold
    (pair,) = found.verdict.pairs
    assert (pair.method, pair.n) == ("folds", 5)
    assert pair.difference == pytest.approx(3.0)
    one = compare_runs(tmp_path / "0.0001")
    assert len(one.verdict.groups) == 1
    assert "differ by fold only" in str(one.verdict)


def test_runs_of_one_seed_are_one_repetition(tmp_path):
    runs = [made(tmp_path / f"r{k}", 1e-4, 5, chance_seed=k) for k in range(3)]
    verdict = compare_runs(runs).verdict
    assert len(verdict.groups[0].values) == 1
    assert "count as one" in str(verdict)
    two = compare_runs([*runs, made(tmp_path / "worse", 3e-4, level=-9.0)], metric="eval_rougeL").verdict
    assert "(mean of 3 runs of one seed)" in str(two)


def lines_of(run, file="metrics.jsonl"):
    return [orjson.loads(line) for line in (run / file).read_bytes().splitlines()]


def written(run, rows, file="metrics.jsonl"):
    (run / file).write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))
    return run


def diverged(run, after=0):
    """Make what is measured after a step NaN."""
    nan = {"$float": "nan"}
    lost = [
        {k: nan if k == "loss" or k.startswith("eval_") else value for k, value in row.items()}
        if row["step"] > after
        else row
        for row in lines_of(run)
    ]
    return written(run, lost)


def raised(run, by, to):
    """Give a run the texts of another one, with better scores."""
    rows = [
        {**row, **{k: min(100.0, row[k] + by + row["index"] % 7) for k in ("rougeL", "score")}}
        for row in lines_of(run, "predictions.jsonl")
    ]
    return written(to, rows, "predictions.jsonl")


def test_samples_that_say_the_opposite_of_the_metric_confirm_nothing(tmp_path):
    a, b = made(tmp_path / "a", 1e-4), made(tmp_path / "b", 3e-4, chance_seed=0)
    raised(a, 20, b)
    written(b, [{**row, "eval_loss": row["eval_loss"] + 0.3} if "eval_loss" in row else row for row in lines_of(b)])
    found = compare_runs([a, b], metric="eval_loss").verdict
    assert found.outcome == "cannot be told"
    assert found.pairs[0].contrary
    assert found.pairs[0].clear is None
    assert "By eval_loss a" in str(found)
    assert "by score of the texts b (learning_rate=0.0003) is clearly ahead" in str(found)
    assert "clearly better" not in str(found)
    agrees = compare_runs([a, b], metric="eval_rougeL").verdict  # the same texts are of that metric
    assert agrees.pairs[0].contrary == (agrees.pairs[0].difference < 0)


def test_a_score_of_the_test_set_is_not_compared_by_the_texts_of_another_set(tmp_path):
    a, b = made(tmp_path / "a", 1e-4), made(tmp_path / "b", 3e-4, chance_seed=0)
    raised(a, 20, b)
    for run, score in ((a, 20.0), (b, 30.0)):
        rows = lines_of(run)
        end = {"time": rows[-1]["time"] + 1, "attempt": 1, "step": 60, "kind": "predict", "test_rougeL": score}
        written(run, [*rows, {**end, "standalone": True}])
    assert compare_runs([a, b], metric="test_rougeL").verdict.outcome == "cannot be told"
    for run in (a, b):
        own = [{**row, "name": "test"} for row in lines_of(run, "predictions.jsonl") if row["step"] == 60]
        written(run, own, "predictions.jsonl")
    found = compare_runs([a, b], metric="test_rougeL").verdict
    assert (found.outcome, found.pairs[0].metric) == ("clear on these texts", "rougeL")


def test_texts_are_those_of_the_best_step(tmp_path):
    a, b = made(tmp_path / "a", 1e-4), made(tmp_path / "b", 3e-4, chance_seed=0)
    raised(a, 20, b)
    best = {}
    for run, level in ((a, 90.0), (b, 95.0)):  # the best step is 36; the texts after it are those of the other run
        rows = [
            {**row, "eval_rougeL": level} if row["step"] == 36 and "eval_rougeL" in row else row
            for row in lines_of(run)
        ]
        written(run, rows)
        best[run] = [row for row in lines_of(run, "predictions.jsonl") if row["step"] == 36]
    later = {run: [{**row, "step": 60} for row in best[other]] for run, other in ((a, b), (b, a))}
    for run in (a, b):
        written(run, best[run] + later[run], "predictions.jsonl")
    (pair,) = compare_runs([a, b], metric="eval_rougeL").verdict.pairs
    assert pair.difference > 15


@pytest.mark.parametrize("how", ["diverged", "crashed"])
def test_of_runs_done_again_the_texts_of_the_one_with_values_are_read(tmp_path, how):
    first, again = made(tmp_path / "first", 1e-4), made(tmp_path / "again", 1e-4)
    other = raised(again, 20, made(tmp_path / "other", 3e-4, level=20.0, chance_seed=0))
    if how == "diverged":
        diverged(first)
    else:
        written(first, [row for row in lines_of(first) if row["step"] < 10])
        (first / "predictions.jsonl").unlink()
    found = compare_runs([first, again, other], metric="eval_rougeL").verdict
    assert found.outcome == "clear on these texts"
    assert found.groups[0].diverged == []


def test_a_setting_that_diverges_does_not_win_by_its_survivors(tmp_path):
    runs = [made(tmp_path / f"good{seed}", 1e-4, seed) for seed in range(3)]
    bad = [made(tmp_path / f"bad{seed}", 0.1, seed, level=9.0, chance_seed=10 + seed) for seed in range(3)]
    diverged(bad[1])
    diverged(bad[2], after=36)
    seen = {"time": 1.8e9, "attempt": 1, "step": 50, "kind": "event", "event": "error", "type": "KeyboardInterrupt"}
    written(
        bad[2], [*(row for row in lines_of(bad[2]) if row["step"] <= 50), seen]
    )  # it was stopped when that was seen
    found = compare_runs(runs + bad, metric="eval_rougeL")
    assert found.verdict.outcome == "cannot be told"
    assert "(1 of 3 runs)" in str(found.verdict)
    assert "2 of 3 runs of learning_rate=0.1 ended without a finite eval_rougeL (diverged?)" in str(found.verdict)
    (said,) = [caution.text for caution in found.warnings if caution.code == "diverged"]
    assert "bad1 (eval_rougeL, eval_loss, loss: never finite)" in said
    # A setting that is worse even by its survivors is worse.
    written(bad[0], [{**row, "eval_rougeL": 5.0} if "eval_rougeL" in row else row for row in lines_of(bad[0])])
    assert compare_runs(runs + bad, metric="eval_rougeL").verdict.outcome == "clear difference"


def test_nan_at_the_end_is_shown_and_said(tmp_path):
    a, b = made(tmp_path / "a", 1e-4), diverged(made(tmp_path / "b", 3e-4), after=36)
    found = compare_runs([a, b])
    assert math.isnan(found.runs[1].loss)
    assert math.isnan(found.runs[1].metrics["eval_loss"].last)
    assert math.isfinite(found.runs[1].metrics["eval_loss"].best)
    (said,) = [caution.text for caution in found.warnings if caution.code == "diverged"]
    assert "b (eval_rougeL, eval_loss: NaN from step 48; loss: NaN from step 37)" in said
    json.dumps(found.to_dict(), allow_nan=False)
    assert "NaN" in found.to_html(tmp_path / "page.html").read_text(encoding="utf-8")


def test_folds_are_paired_only_where_both_are_known_to_hold_out_the_same(tmp_path):
    for rate in (1e-4, 3e-4):
        for fold in range(1, 4):
            made(tmp_path / f"{rate}" / f"fold_{fold}", rate, level=10.0 * fold)
    (pair,) = compare_runs(tmp_path, metric="eval_rougeL").verdict.pairs
    assert pair.method == "welch"
    assert "that both hold out the same samples is not known" in pair.note


def test_equal_runs_are_said_to_be_equal(tmp_path):
    runs = [made(tmp_path / name, rate) for name, rate in (("a", 1e-4), ("b", 3e-4))]
    found = compare_runs(runs, metric="eval_rougeL")
    assert "All have the same best eval_rougeL" in str(found.verdict)
    assert "it has the same score of every sample" in str(found.verdict)
    assert "two more seeds" not in str(found.verdict)
    assert found.best_run("eval_rougeL") is None


def test_runs_that_began_as_copies_are_named_and_those_that_ended_will_not_get_better(tmp_path):
    a, b = made(tmp_path / "a", 1e-4, run_id="one"), made(tmp_path / "b", 1e-4, run_id="one")
    assert [w.text for w in compare_runs([a, b]).warnings if w.code == "copy"] == [
        "All of them are copies of one run (one)."
    ]
    fork = written(made(tmp_path / "fork", 3e-4, run_id="one"), [])
    warnings = {w.code: w.text for w in compare_runs([a, b, fork]).warnings}
    assert "differ since (arguments.learning_rate)" in warnings["copy"]
    open_ended = lines_of(a)[:-1]
    error = {"time": open_ended[-1]["time"], "attempt": 1, "step": 60, "kind": "event", "event": "error"}
    for end, status, expected in (
        ([], "unknown", "best values may still come"),
        ([{**error, "type": "ValueError", "message": "x"}], "crashed", "these have the best until their end only"),
    ):
        found = compare_runs([a, written(made(tmp_path / "open", 3e-4), open_ended + end)])
        assert [w.text for w in found.warnings if w.code == "status"] == [
            f"Not all runs are finished (open: {status}): {expected}."
        ]


def test_time_memory_speed_and_energy_are_what_the_rows_say(tmp_path):
    a, b = made(tmp_path / "a", 1e-4), made(tmp_path / "b", 3e-4)
    year = 365 * 86400.0
    back = [{**row, "time": row["time"] - year * (row["step"] > 30)} for row in lines_of(b)]
    speeds = iter([1.0, 100.0, 7.0] * 20)
    written(b, [{**row, "samples_per_second": next(speeds)} if row["kind"] == "timing" else row for row in back])
    system = lines_of(b, "system.jsonl")
    peaks = [
        {**row, "torch_reserved_peak_mib": 100.0 + k, "energy_j": 3600.0 * k} if row["kind"] == "gpu" else row
        for k, row in enumerate(system)
    ]
    written(b, peaks, "system.jsonl")
    first, second = compare_runs([a, b]).runs
    assert first.seconds == 60.0
    assert second.seconds == 59.0  # the clock was set back by a year
    assert second.samples_per_second == 7.0
    places = [k for k, row in enumerate(system) if row["kind"] == "gpu"]
    assert (second.gpu_memory_peak_mib, second.gpu_memory_of) == (100.0 + places[-1], "torch")
    assert second.energy_wh == places[-1] - places[0]


def test_p_values_are_corrected_for_every_pair_of_groups(sweep):
    verdict = compare_runs(sweep, metric="eval_rougeL").verdict
    assert verdict.n_comparisons == 3
    best, *others = sorted((list(group.values.values()) for group in verdict.groups), key=sum, reverse=True)
    raw = [chance.welch(best, other).p for other in others]
    assert [pair.p for pair in verdict.pairs] == pytest.approx(chance.holm(raw, 3))
    assert chance.holm([0.01, None, 0.04, 0.011], 4) == pytest.approx([0.04, None, 0.08, 0.04])


def test_curves_are_drawn_as_they_are():
    from hf_monitor.charts.curves import Curve
    from hf_monitor.report.comparison_page import _series

    series = _series("a", Curve("loss", [1, 2, 3], [3.0, math.nan, 1.0]))
    assert series.x == [1, 2, 3]
    assert series.y == pytest.approx([3.0, math.nan, 1.0], nan_ok=True)


def test_statistics_agree_with_scipy():
    from scipy import stats

    a, b = [1.0, 2.5, 3.0, 4.0], [2.0, 5.0, 9.0]
    expected = stats.ttest_ind(a, b, equal_var=False)
    assert chance.welch(a, b).p == pytest.approx(expected.pvalue)
    assert chance.welch(a, b)[1:3] == pytest.approx(tuple(expected.confidence_interval()))
    t = (4.0 - 2.0) / (1.0 * math.sqrt(1 + 1 / 3))  # Crawford and Howell
    assert chance.one_and_many(4.0, [1.0, 2.0, 3.0]).p == pytest.approx(2 * stats.t.sf(t, 2))
    assert chance.folds([1.0, 2.0, 3.0], 3).p > stats.ttest_1samp([1.0, 2.0, 3.0], 0).pvalue
    differences = [math.sin(k) + 0.3 for k in range(100)]
    found = chance.resampled(differences)
    assert found == chance.resampled(differences)
    assert found.p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, rel=0.2)
    assert chance.welch([1.0, 1.0], [2.0, 2.0]).p is None  # no spread: nobody knows what chance makes


def test_what_cannot_be_compared_is_refused_clearly(tmp_path, sweep):
    run = sweep / "r0.0001_s0"
    with pytest.raises(InputError, match="only one"):
        compare_runs(run)
    with pytest.raises(InputError, match="given twice"):
        compare_runs([run, sweep / "r0.0002_s0", run / "." / ""])
    with pytest.raises(RunFolderError, match="no run folder"):
        compare_runs([run, tmp_path / "missing"])
    with pytest.raises(InputError, match="Did you mean 'eval_rougeL'"):
        compare_runs(sweep, metric="eval_rougel")
    newer = changed(made(tmp_path / "newer"), format=99)
    with pytest.raises(RunFolderError, match="format 99"):
        compare_runs([run, newer])


def test_a_table_with_a_line_a_run_and_the_same_as_json(sweep):
    found = compare_runs(sweep)
    frame = found.to_pandas()
    assert len(frame) == 9
    assert {"name", "status", "arguments.learning_rate", "eval_rougeL", "seconds", "gpu_memory_peak_mib"} <= set(frame)
    assert frame["gpu_memory_peak_mib"].tolist() == [15000.0] * 9
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["verdict"]["outcome"] == "clear difference"


def _without_system(*runs):
    for run in runs:
        (run / "system.jsonl").unlink(missing_ok=True)
    return compare_runs(runs)


def test_the_page_is_the_same_twice_and_shows_hostile_texts_as_text(tmp_path):
    attack = "<script>alert(1)</script>\"' onload=x"
    a = made(tmp_path / "<b>a&", note=attack, model={"name_or_path": attack, "config": {attack: 1}})
    b = made(tmp_path / "b", 2e-4, note="한국어 ثلاثة", model={"name_or_path": "y" * 5000, "config": {attack: 2}})
    pages = [compare_runs([a, b]).to_html(tmp_path / name).read_bytes() for name in ("1.html", "2.html")]
    assert pages[0] == pages[1]
    assert pages[0].count(b"best eval_rougeL") == 1
    text = pages[0].decode()
    assert "<script" not in text
    assert "<b>a&" not in text
    assert not re.search(r"<[^>]* (style|on\w+)=", text)
    assert "&lt;script&gt;" in text
    assert "한국어" in text
    found = re.findall(r' id="([^"]+)"', text)
    assert len(found) == len(set(found))
    shown = compare_runs([a, b])._repr_html_()
    assert "<script" not in shown
    assert shown.count("<table>") >= 3
    assert "energy" not in _without_system(a, b)._repr_html_()


def test_the_command_prints_and_writes_and_spares_what_is_not_ours(sweep, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [str(path) for path in sorted(sweep.iterdir())]
    assert main(["compare", *runs]) == 0
    said = capsys.readouterr().out
    assert said.index("What differs") < said.index("Best values") < said.index("Verdict")
    assert (tmp_path / "comparison.html").is_file()
    assert main(["compare", *runs]) == 0  # an earlier one is written over
    capsys.readouterr()
    assert main(["compare", "--json", *runs]) == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 9
    (tmp_path / "mine.html").write_text("mine")
    assert main(["compare", "--html", "mine.html", *runs]) == 2
    assert (tmp_path / "mine.html").read_text() == "mine"
    assert "no comparison of ours" in capsys.readouterr().err
    assert main(["compare", "--no_html", runs[0]]) == 2
    assert "two runs or more" in capsys.readouterr().err


def test_a_terminal_without_blocks_gets_curves_of_plain_characters(sweep):
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print_comparison(compare_runs(sweep), file)
    file.flush()
    assert re.search(r"_.*[~=*#]", file.buffer.getvalue().decode())
    assert b"????" not in file.buffer.getvalue()


def test_of_many_runs_the_best_are_drawn_and_the_page_says_so(sweep, tmp_path):
    for place in range(9, 14):
        made(tmp_path / f"r{place}", place * 1e-4, level=-place)
    found = compare_runs([sweep, tmp_path])
    text = found.to_html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "The best run of each of the 8 best groups of 8 (14 runs)." in text
    assert found.runs[found.order[0]].metrics["eval_rougeL"].best == max(
        run.metrics["eval_rougeL"].best for run in found.runs
    )


@pytest.mark.no_cover
def test_the_page_can_be_read_in_every_dress_and_runs_nothing(browser, sweep, tmp_path):
    hostile = [hostile_run(tmp_path / name) for name in ("<svg onload=alert(0)>", "요약 \u202eabc")]
    shown = browser.open(compare_runs([*hostile, sweep / "r0.0001_s0"]).to_html(tmp_path / "page.html"))
    shown.open_details()
    for dress in DRESSES:
        shown.dress(*dress)
        seen = shown.look()
        assert seen["wider"] <= 0, (dress, seen["widest"])
        assert seen["smallest"] >= 10, (dress, seen["small"])
        assert seen["faintest"] >= 4.5, (dress, seen["faint"])
        assert seen["clipped"] == [], dress
        assert seen["same"] == [], dress
    assert shown.caught == []


def test_without_a_metric_the_score_judges_and_what_saving_adds_to_a_configuration_is_no_difference(tmp_path):
    saved = {"architectures": ["T5ForConditionalGeneration"], "dtype": "float32", "d_model": 64}
    for name, config, way in (("a", {"d_model": 64}, 1), ("b", saved, 2)):
        writer = RunWriter(tmp_path / name)
        model = {"class": "T5ForConditionalGeneration", "dtype": ["float32"], "config": config}
        writer.begin_attempt({"model": model, "arguments": {"seed": way}})
        writer.event("train_begin", 0)
        for step in (1, 2, 3):
            scores = {f"eval_en_{score}": way * step for score in ("bleu", "score", "rougeL", "rouge1")}
            writer.row("eval", step, {"eval_en_loss": 1 / step, **scores})
        writer.event("train_end", 3)
    found = compare_runs([tmp_path / "a", tmp_path / "b"])
    assert found.verdict.metric == "eval_en_score"
    assert names(found) == ["arguments.seed"]
    shown = found._repr_html_()
    captions = re.findall("<caption>(best values.*?)</caption>", shown)
    assert captions == [
        "best values: eval_en_score, eval_en_loss",
        "best values: eval_en_bleu, eval_en_rougeL, eval_en_rouge1",
    ]
    assert shown.count('fill="none" stroke="currentColor"') == 2  # curves are seen on black, too
