"""The tables and sentences of bench_alerts: what was counted, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from alert_counts import (
    ENOUGH,
    Share,
    count_faults,
    count_healthy,
    count_plainly,
    count_rules,
    count_strengths,
)
from alert_truth import TRUTH, Judged

__all__ = ["GOAL_US", "fault_table", "plain_truth", "reasons", "rule_table", "strength_table", "summary", "table"]

GOAL_PRECISION, GOAL_RECALL, GOAL_HEALTHY, GOAL_US = 0.95, 0.9, 0.02, 50.0
ENOUGH_HEALTHY = 100
STRONGEST = "learning_rate_x100"
RATE_RULE = "learning_rate_high"


def table(head: Sequence[str], lines: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """Draw a Markdown table that is readable as it is; columns in `numbers` stand to the right."""
    cells = [list(head), *map(list, lines)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]

    def row(line: Sequence[str]) -> str:
        padded = [c.rjust(w) if i in numbers else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
        return f"| {' | '.join(padded)} |"

    rule = "|".join("-" * (w + 1) + (":" if i in numbers else "-") for i, w in enumerate(widths))
    return "\n".join([row(cells[0]), f"|{rule}|", *map(row, cells[1:])])


def _counts(counts: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items()) or "-"


def _of(share: Share) -> str:
    return f"{share.count} of {share.n}" if share.n else "-"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def fault_table(runs: Sequence[Judged]) -> str:
    """Draw what was found of each fault, and by kinds of it."""
    head = ["fault", "runs", "expected: runs", "found, of all (95 %)", "run still to come", "steps after it"]
    head += ["rightly beside it", "wrongly", "only in the record"]
    lines, kinds = [], []
    for row in count_faults(runs):
        expected = ", ".join(f"{rule} {row['by_rule'].get(rule, 0)}" for rule in row["expected"])
        delay = "-" if row["delay_median"] is None else f"{row['delay_median']:.0f}"
        line = [row["fault"], str(row["n"]), expected, str(row["found"]), _percent(row["left_median"]), delay]
        lines.append([*line, _counts(row["right"]), _counts(row["wrong"]), _counts(row["info"])])
        if by_kind := row["by_kind"]:
            found = ", ".join(f"{kind} {_of(share)}" for kind, share in by_kind.items())
            kinds.append(f"Found, by kind of {row['fault']}: {found}.")
    return "\n".join([table(head, lines, (1, 4, 5)), *([""] if kinds else []), *kinds])


def rule_table(runs: Sequence[Judged], rules: Sequence[str]) -> str:
    """Draw what each rule said, right and wrong."""
    head = ["rule", "expected", "beside", "wrong", "missed", "precision without beside (95 %)", "precision (95 %)"]
    head += ["recall (95 %)", "run still to come", "wrong in"]
    lines = []
    for row in count_rules(runs, rules):
        line = [row["rule"], str(row["expected"]), str(row["along"]), str(row["wrong"])]
        if row["to_find"]:
            recall, shared = row["recall"], row["shared"]
            found = str(recall) if recall.n else f"{_of(shared)}, shared"
            line += [str(row["misses"]) if recall.n else "-", str(row["strict"]), str(row["precision"]), found]
        else:
            line += ["-", *["not measured"] * 3]
        lines.append([*line, _percent(row["left_median"]), _counts(row["wrong_in"])])
    return (
        table(head, lines, (1, 2, 3, 4, 8)) + "\n\n"
        "Expected: in runs of a fault that is this rule's to find. Beside: in runs of other faults, for a reason that "
        "is given below;\nthe first precision leaves these out. The same seeds serve for all faults and the healthy "
        "runs, so that runs of one seed share their\nrecipe and texts and are not independent: the intervals of "
        "precision are too narrow by an amount that is not known."
    )


def _goals(runs: Sequence[Judged], rules: Sequence[str]) -> list[tuple[str, Share, float]]:
    goals = []
    for row in count_rules(runs, rules):
        if row["to_find"]:
            goals.append((f"precision of {row['rule']}", row["strict"], GOAL_PRECISION))
            if row["recall"].n:
                goals.append((f"recall of {row['rule']}", row["recall"], GOAL_RECALL))
    shared = [row for row in count_faults(runs) if len(row["expected"]) > 1]  # else it is the rule's recall
    return [*goals, *((f"found of {row['fault']}", row["found"], GOAL_RECALL) for row in shared)]


def summary(runs: Sequence[Judged], rules: Sequence[str]) -> str:
    """Say in words what the tables are to be read for; nothing is met that too few runs were there for."""
    found = count_healthy(runs)
    lines = []
    if (healthy := found["any"]).n:
        goal = "met" if healthy.count / healthy.n <= GOAL_HEALTHY else "short"
        goal = goal if healthy.n >= ENOUGH_HEALTHY else "n too small"
        lines.append(
            f"Healthy runs with any alert: {healthy.count} of {healthy.n}, share {healthy} "
            f"(goal: at most {GOAL_HEALTHY:g} of {ENOUGH_HEALTHY} and more: {goal})"
        )
        for rule, seeds in found["rules"].items():
            lines.append(f"  {rule}: seeds {', '.join(map(str, seeds))}")
        if found["info"]:
            lines.append(f"  only in the record: {_counts({rule: len(s) for rule, s in found['info'].items()})}")
    told: dict[str, list[str]] = {"short": [], "n too small": [], "met": []}
    for name, share, least in _goals(runs, rules):
        told[share.against(least)].append(f"{name} {_of(share)}")
    lines.append(f"Goals: precision without beside {GOAL_PRECISION:g}, recall {GOAL_RECALL:g}, of {ENOUGH} and more.")
    lines += [f"  {answer}: {'; '.join(names)}" for answer, names in told.items() if names]
    for row in count_faults(runs):
        if row["missed"]:
            lines.append(f"  {row['fault']} missed: seeds {', '.join(map(str, row['missed']))}")
    counted = count_rules(runs, rules)
    if few := [f"{row['rule']} ({row['to_find']})" for row in counted if row["to_find"] and not row["measured"]]:
        lines.append(f"Not measured yet (fewer than {ENOUGH} runs of a fault that is theirs to find): {', '.join(few)}")
    if none := [row["rule"] for row in counted if not row["to_find"]]:
        lines.append(f"Not measured (no fault here is theirs to find): {', '.join(none)}")
    return "\n".join(lines)


def strength_table(runs: Sequence[Judged], faults: Sequence[str]) -> str:
    """Draw how strong a learning rate that is too high must be to be found, and by what; empty without such runs."""
    head = ["rate", "runs", "harmed", RATE_RULE, f"{RATE_RULE}, by its signs alone", "any right rule"]
    head.append("any right rule, no limit")
    lines = []
    for row in count_strengths(runs, faults, RATE_RULE, TRUTH[STRONGEST]):
        line = [row["fault"].removeprefix("learning_rate_"), str(row["n"]), _of(row["harmed"])]
        lines.append([*line, *(str(row[name]) for name in ("rule", "rule_unlimited", "any", "any_unlimited"))])
    if not lines:
        return ""
    return (
        "How strong must it be? A learning rate that is too high, by how much:\n\n"
        f"{table(head, lines, range(1, 7))}\n\n"
        "Harmed: the validation loss ends over 10 % above that of the healthy training of the same seed. By its signs "
        "alone: with the limit\nthat calls a rate too high whatever the loss does (learning_rate_high_extreme) out of "
        "reach. Only x100 counts above."
    )


def plain_truth(runs: Sequence[Judged], healthy: Share) -> str:
    """Say how many trainings are what they are called by their validation losses, whatever any rule says."""
    lines = [f"  healthy: {_of(healthy)} (the validation loss ends low, ROUGE-L higher than it began)"] * bool(
        healthy.n
    )
    lines += [f"  {fault}: {_of(share)} ({what})" for fault, what, share in count_plainly(runs)]
    return "\n".join(["By plain truth, whatever any rule says (none is left out):", *lines]) if lines else ""


def reasons() -> str:
    """Say which rules are right beside the expected ones, why, and since when they are called so."""
    head = ["fault", "right beside it", "because", "called so since"]
    return table(head, [[f, rule, *reason] for f, true in TRUTH.items() for rule, reason in true.along.items()])
