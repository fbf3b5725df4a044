"""docs/alerts.md says what the code decides by."""

import re
from pathlib import Path

from hf_monitor import AlertThresholds
from hf_monitor.diagnosis.rules import RULES

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")


def test_every_threshold_stands_there_with_its_value_and_reason():
    found = re.findall(r"^\| `(\w+)` \| ([\d.e+-]+) \| (.*) \|$", DOC, re.MULTILINE)
    described = AlertThresholds().describe().items()
    assert [(name, float(value), why.lower()) for name, value, why in found] == [
        (name, float(value), why.lower()) for name, (value, why) in described
    ]
    assert all(len(why) > 15 for _, (_, why) in described)  # a reason, not a word


def test_every_threshold_belongs_to_a_rule():
    names = {rule.name for rule in RULES} | {"collapse", "overlap"}  # generation_collapse, data_overlap
    for threshold in AlertThresholds().describe():
        assert any(threshold.startswith(f"{name}_") for name in names), threshold


def test_every_rule_stands_there():
    table = re.findall(r"^\| `(\w+)` \| (?:error|warning|info)", DOC, re.MULTILINE)
    assert table == [rule.name for rule in RULES]
    assert f"shown to {len(RULES)} rules" in (ROOT / "README.md").read_text(encoding="utf-8")
