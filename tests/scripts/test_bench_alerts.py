"""The benchmark of the alerts: its counting, and a few of its trainings."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
OURS = ("alert_counts", "alert_tables", "alert_texts", "alert_trainings", "alert_truth", "bench_alerts")


@pytest.fixture(scope="module")
def bench():
    """The script, with the modules beside it, as `python scripts/bench_alerts.py` finds them."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        spec = importlib.util.spec_from_file_location("bench_alerts", SCRIPTS / "bench_alerts.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["bench_alerts"] = module
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(SCRIPTS))
        for name in OURS:
            sys.modules.pop(name, None)


@pytest.fixture
def truth(bench):
    return sys.modules["alert_truth"]


@pytest.fixture
def counts(bench):
    return sys.modules["alert_counts"]


def judged(truth, fault, seed=0, *said, since=None):
    """A run of 100 steps; what was said as (rule, step) or (rule, step, severity)."""
    return truth.Judged(fault, seed, 100, tuple(truth.Said(r, (*s, "warning")[0], n) for r, n, *s in said), since)


# --- counting ---


def test_a_share_has_wilsons_interval_and_of_nothing_there_is_none(counts):
    assert str(counts.Share(0, 0)) == "-"
    assert str(counts.Share(30, 30)) == "1.000 (0.886 to 1.000)"  # z^2 / (n + z^2) below 1
    assert str(counts.Share(0, 100)) == "0.000 (0.000 to 0.037)"
    assert str(counts.Share(8, 10)) == "0.800 (0.490 to 0.943)"  # as R's prop.test(8, 10, correct=FALSE)


def test_an_alert_is_right_only_in_its_faults(truth, counts):
    runs = [
        judged(truth, "nan", 0, ("nan", 40), ("divergence", 38)),
        judged(truth, "nan", 1, ("nan", 60)),
        judged(truth, "nan", 2, ("overfitting", 60)),
        judged(truth, "healthy", 3, ("nan", 50)),
    ]
    rows = {row["rule"]: row for row in counts.count_rules(runs, ["nan", "divergence", "overfitting", "memory_edge"])}
    nan = rows["nan"]
    assert (nan["expected"], nan["wrong"], nan["misses"], nan["wrong_in"]) == (2, 1, 1, {"healthy": 1})
    assert nan["precision"] == nan["strict"] == (2, 3)
    assert nan["recall"] == (2, 3)
    assert nan["left_median"] == pytest.approx(0.5)
    # divergence is right beside nan, but learning_rate_jump, which is its to find, is not among these runs
    divergence = rows["divergence"]
    assert (divergence["expected"], divergence["along"], divergence["to_find"]) == (0, 1, 0)
    assert divergence["precision"] == (1, 1)
    assert divergence["strict"] == (0, 0)
    assert rows["overfitting"]["wrong_in"] == {"nan": 1}
    assert rows["memory_edge"]["precision"] == (0, 0)


def test_where_several_rules_may_answer_one_is_enough_and_no_recall_is_any_ones_own(truth, counts):
    either = {"nan": truth.Truth(("nan", "divergence"), {"plateau": truth.Reason("it stays", "today")})}
    runs = [
        judged(truth, "nan", 0, ("divergence", 20)),
        judged(truth, "nan", 1, ("nan", 30), ("divergence", 50)),
        judged(truth, "nan", 2, ("plateau", 70)),
    ]
    (row,) = counts.count_faults(runs, either)
    assert row["found"] == (2, 3)
    assert row["missed"] == [2]
    assert row["left_median"] == pytest.approx(0.75)  # of the first that spoke in each
    assert row["by_rule"] == {"divergence": 2, "nan": 1}
    assert row["right"] == {"plateau": 1}
    assert row["wrong"] == {}
    rows = counts.count_rules(runs, ["divergence", "nan"], either)
    assert all(one["to_find"] == 3 and one["recall"] == (0, 0) for one in rows)
    assert [one["shared"] for one in rows] == [(2, 3), (1, 3)]


def test_precision_without_what_is_right_beside_is_not_padded(truth, counts):
    runs = [judged(truth, "shuffled_labels", seed, ("generation_collapse", 50)) for seed in range(4)]
    runs += [judged(truth, "frozen_model", seed, ("generation_collapse", 50)) for seed in range(15)]
    runs += [judged(truth, "healthy", 0, ("generation_collapse", 50))]
    (row,) = counts.count_rules(runs, ["generation_collapse"])
    assert (row["expected"], row["along"], row["wrong"]) == (4, 15, 1)
    assert row["precision"] == (19, 20)
    assert row["strict"] == (4, 5)


@pytest.mark.parametrize(("n", "answer"), [(29, "n too small: precision of nan 29 of 29"), (30, "met: precision of")])
def test_no_goal_is_met_by_too_few_runs(bench, truth, n, answer):
    runs = [judged(truth, "nan", seed, ("nan", 50)) for seed in range(n)]
    runs += [judged(truth, "healthy", seed) for seed in range(99)]
    text = bench.summary(runs, ["nan", "divergence"])
    assert answer in text
    assert ("Not measured yet" in text) is (n < 30)
    assert "0 of 99, share 0.000 (0.000 to 0.037) (goal: at most 0.02 of 100 and more: n too small)" in text
    assert "Not measured (no fault here is theirs to find): divergence" in text


def test_a_goal_that_is_missed_is_short_and_names_the_seeds(bench, truth):
    runs = [judged(truth, "slow_loader", seed, *[("data_bound", 50)] * (seed > 4)) for seed in range(40)]
    text = bench.summary(runs, ["data_bound"])
    assert "short: recall of data_bound 35 of 40" in text
    assert "slow_loader missed: seeds 0, 1, 2, 3, 4" in text


def test_weaker_faults_count_for_no_goal_and_are_told_apart(bench, truth, counts):
    limited = judged(truth, "learning_rate_x30", 1, ("learning_rate_high", 30))
    runs = [
        judged(truth, "healthy", 1)._replace(losses=(4.0, 2.0)),
        limited._replace(losses=(4.0, 3.0), unlimited=(truth.Said("generation_collapse", "warning", 90),)),
        judged(truth, "learning_rate_x30", 2)._replace(losses=(4.0, float("nan"))),  # no healthy one to compare with
        judged(truth, "learning_rate_x10", 1)._replace(losses=(4.0, 2.1)),
    ]
    assert counts.count_faults(runs) == []
    (row,) = counts.count_rules(runs, ["learning_rate_high"])
    assert row["precision"] == (0, 0)
    weak, strong = counts.count_strengths(
        runs, ["learning_rate_x10", "learning_rate_x30"], "learning_rate_high", truth.TRUTH["learning_rate_x100"]
    )
    assert (weak["n"], weak["harmed"], weak["rule"], weak["any"]) == (1, (0, 1), 0, 0)
    assert (strong["n"], strong["harmed"]) == (2, (1, 1))
    assert (strong["rule"], strong["rule_unlimited"], strong["any"], strong["any_unlimited"]) == (1, 0, 1, 1)
    assert "| x30  |    2 | 1 of 1 |" in bench.strength_table(runs, ["learning_rate_x10", "learning_rate_x30"])


def test_what_only_goes_into_the_record_finds_nothing_and_is_no_false_alarm(truth, counts):
    runs = [
        judged(truth, "tiny_training_set", 0, ("overfitting", 50, "info")),
        judged(truth, "healthy", 1, ("plateau", 50, "info")),
        judged(truth, "healthy", 2, ("nan", 50, "error"), ("divergence", 60)),
    ]
    (row,) = counts.count_faults(runs)
    assert row["found"] == (0, 1)
    assert row["info"] == {"overfitting": 1}
    healthy = counts.count_healthy(runs)
    assert healthy["any"] == (1, 2)
    assert healthy["rules"] == {"nan": [2], "divergence": [2]}
    assert healthy["info"] == {"plateau": [1]}


def test_health_by_plain_truth_needs_a_loss_that_ends_low_and_a_score_that_rose(truth):
    healthy = truth.is_plainly_healthy
    assert healthy([4.0, 2.0, 2.05], [10, 30, 29])
    assert not healthy([4.0, 2.0, 2.1], [10, 30, 29])  # rose again
    assert not healthy([4.0, 3.6, 3.4], [10, 30, 29])  # hardly fell
    assert not healthy([4.0, 2.0, 1.9], [30, 20, 29])
    assert not healthy([4.0, float("nan"), float("nan")], [10, 0, 0])


def test_harm_by_plain_truth_is_seen_in_the_losses(truth, counts):
    nan = float("nan")
    assert [truth.is_harmed([4.0, last], [4.0, 2.0]) for last in (2.1, 2.3, nan)] == [False, True, True]
    losses = {"tiny_training_set": [(4.0, 2.0, 2.05), (4.0, 2.0, 2.1)]}
    losses["learning_rate_jump"] = [(4.0, 2.0, 2.9), (4.0, 2.0, 9.0, 2.1), (4.0, 2.0, nan), (4.0, 5.0, 2.0)]
    runs = [judged(truth, fault)._replace(losses=one) for fault, those in losses.items() for one in those]
    assert {fault: share for fault, _, share in counts.count_plainly(runs)} == {
        "tiny_training_set": (1, 2),
        "learning_rate_jump": (2, 4),
    }


def test_the_delay_counts_from_the_step_at_which_the_fault_came(truth, counts):
    runs = [judged(truth, "nan", 0, ("nan", 45), since=40), judged(truth, "nan", 1, ("nan", 41), since=40)]
    (row,) = counts.count_faults(runs)
    assert row["delay_median"] == 3


def test_every_rule_named_in_the_truth_is_there(truth):
    from hf_monitor.diagnosis.rules import RULES

    named = {rule for true in truth.TRUTH.values() for rule in (*true.expected, *true.along)}
    assert named <= {rule.name for rule in RULES}
    assert all(not set(true.expected) & set(true.along) for true in truth.TRUTH.values())
    assert all(reason.why and reason.since for true in truth.TRUTH.values() for reason in true.along.values())


def test_an_interrupted_benchmark_has_some_of_all(bench):
    jobs = bench.jobs_of(["nan", "slow_loader", "learning_rate_x10"], 3, 10, 7, 2)
    assert len(set(jobs)) == len(jobs) == 18
    assert [seed for fault, seed in jobs if fault == "learning_rate_x10"] == [7, 8]
    jobs = bench.jobs_of(["nan", "slow_loader"], 3, 10, 7)
    assert {fault for fault, _ in jobs[:6]} == {"nan", "slow_loader", "healthy"}
    assert sorted(seed for fault, seed in jobs if fault == "nan") == [7, 8, 9]


def test_a_seed_draws_the_same_recipe_whatever_the_fault(bench):
    trainings = sys.modules["alert_trainings"]
    recipes = [trainings.draw_recipe(seed) for seed in range(200)]
    assert recipes == [trainings.draw_recipe(seed) for seed in range(200)]
    assert {r.family for r in recipes} == {"t5", "bart"}
    assert {r.logging_steps for r in recipes} == {1, 5, 10}
    kinds = {trainings.draw_fault("nan", recipe).kind for recipe in recipes}
    assert kinds == {"weight_nan", "weight_inf", "empty_sample"}
    assert all(1 < f.step < r.max_steps for r in recipes if (f := trainings.draw_fault("nan", r)).step is not None)
    leaks = [trainings.draw_fault("leaked_data", recipe) for recipe in recipes]
    assert {leak.kind for leak in leaks} == {"ids", "texts"}
    assert sum(leak.amount < 0.1 for leak in leaks) > 30  # few are not rare
    assert all(leak.amount * r.n_eval > 1.99 for leak, r in zip(leaks, recipes, strict=True))
    jumps = [(trainings.draw_fault("learning_rate_jump", r), r.max_steps) for r in recipes]
    assert all(100 <= jump.amount <= 300 and n // 3 <= jump.step <= 2 * n / 3 for jump, n in jumps)


def test_an_altered_copy_is_the_same_text_and_other_ids(bench):
    from hf_monitor.seq2seq.overlap import text_overlap

    texts = sys.modules["alert_texts"]
    trainings = sys.modules["alert_trainings"]
    pair = texts.make_pairs(1, 3, "en")[0]
    found = trainings.altered(pair)
    assert text_overlap([tuple(found)], [tuple(pair)]).n_shared_pairs == 1
    tokenizer = texts.make_tokenizer("en")
    assert trainings.encode([found], tokenizer) != trainings.encode([pair], tokenizer)


def test_training_and_held_out_dialogues_all_differ(bench):
    pairs = sys.modules["alert_texts"].make_pairs(1500, 3, "both", 0)
    assert len({pair.dialogue for pair in pairs}) == 1500


@pytest.mark.parametrize(
    ("argv", "words"),
    [(["--faults", "flood"], "there is no fault 'flood'"), (["--judge", "/no/such"], "is not a folder")],
)
def test_what_it_cannot_do_is_said(bench, argv, words, capsys):
    with pytest.raises(SystemExit) as end:
        bench.main(argv)
    assert end.value.code == 2
    assert words in capsys.readouterr().err


def test_the_cost_is_of_rules_that_still_watch(bench, tmp_path):
    from hf_monitor.diagnosis.rules import RULES

    for before in (0, 1500):
        found = bench.cost_of_rules(before, 200)
        assert found["rules"] == len(RULES)
        assert 0 < found["median_us"] <= found["p99_us"]
        assert found["spoke"] == []
    callback = bench.cost_of_callback(tmp_path, 40)
    assert 0 < callback["with_us"] <= callback["with_p99_us"]
    rows = (tmp_path / "with" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["kind"] for row in rows[1:4]] == ["train", "timing", "train"]


def test_a_training_that_fails_is_told_and_leaves_no_run_to_judge(bench, tmp_path, monkeypatch):
    def fail(recipe, fault, folder):
        folder.mkdir()
        raise MemoryError("no room")

    monkeypatch.setattr(bench, "train_one", fail)
    assert "healthy 5: Traceback" in (told := bench.train(("healthy", 5), tmp_path))
    assert "MemoryError: no room" in told
    assert bench.folders_in(tmp_path) == []
    monkeypatch.setattr(bench, "train_one", lambda recipe, fault, folder: folder.mkdir())  # the rest of it goes
    assert bench.train(("healthy", 5), tmp_path) == ""


# --- trainings ---


@pytest.fixture(scope="module")
def cache(bench, tmp_path_factory):
    """Real trainings, small, judged as the benchmark judges its own."""
    folder = tmp_path_factory.mktemp("alerts")
    jobs = [("nan", 3), ("leaked_data", 2), ("frozen_model", 3), ("learning_rate_jump", 10)]  # T5 and BART
    for job in (*jobs, ("healthy", 2), ("healthy", 3)):
        assert bench.train(job, folder, small=True) == ""
    return folder


def test_real_faults_are_told_and_healthy_trainings_left_alone(bench, truth, cache, counts):
    found = [bench.judge(folder) for folder in bench.folders_in(cache)]
    runs = [run for run, _ in found]
    assert len(runs) == 6
    assert [row["found"] for row in counts.count_faults(runs)] == [(1, 1)] * 4
    assert [row["wrong"] for row in counts.count_faults(runs)] == [{}] * 4
    assert counts.count_healthy(runs)["any"] == (0, 2)
    assert [line for _, lines in found for line in lines] == []  # diagnose() says the same as the alerts


def test_what_was_trained_is_as_the_recipe_says(cache):
    for path in cache.glob("*/*/truth.json"):
        told = json.loads(path.read_text())
        scores = [evaluation["eval_rougeL"] for evaluation in told["evaluations"]]
        losses = [evaluation["eval_loss"] for evaluation in told["evaluations"]]
        assert len(losses) == 8
        if told["fault"] == "healthy":
            assert losses[-1] < 0.6 * losses[0]
            assert scores[-1] > scores[0] + 10
        if told["fault"] == "frozen_model":
            assert losses[-1] > 0.9 * losses[0]


def test_the_report_names_what_was_judged_and_can_be_made_again_without_training(bench, cache, capsys):
    assert bench.main(["--judge", str(cache)]) == 0
    text = capsys.readouterr().out
    assert "| leaked_data " in text
    assert "Healthy runs with any alert: 0 of 2" in text
    assert "n too small: precision of" in text
    assert "met:" not in text
    assert "  healthy: 2 of 2 (" in text
    assert "  learning_rate_jump: 1 of 1 (half" in text
    assert "| shuffled_labels " in text  # a reason, with its date
    assert "6 runs" in text


def test_the_rate_that_was_used_is_the_one_that_is_written(cache):
    (path,) = cache.glob("learning_rate_jump/*/truth.json")
    told = json.loads(path.read_text())
    rows = [json.loads(line) for line in (path.parent / "metrics.jsonl").read_text().splitlines()]
    rates = {row["step"]: row["learning_rate"] for row in rows if row["kind"] == "train" and "learning_rate" in row}
    step = told["injected"]["step"]
    before, after = (max(rate for s, rate in rates.items() if (s > step) is late) for late in (False, True))
    assert before <= told["recipe"]["learning_rate"]
    assert after > 20 * before
