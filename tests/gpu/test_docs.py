"""docs/gpu.md says what the code does: every code, every threshold."""

from pathlib import Path

from hf_monitor.gpu.causes import CAUSES, NOTES
from hf_monitor.gpu.tiers import TIERS

DOC = (Path(__file__).parents[2] / "docs" / "gpu.md").read_text(encoding="utf-8")


def table(title):
    """Give the first column of the table after a title."""
    lines = DOC[DOC.index(title) :].split("\n")
    rows = lines[next(k for k, line in enumerate(lines) if line.startswith("|")) + 2 :]
    return [row.split("|")[1].strip().strip("`") for row in rows[: rows.index("")]]


def test_every_code_stands_in_the_docs():
    assert table("### What it can say") == list(CAUSES)
    assert table("`report.notes` may hold") == list(NOTES)


def test_the_number_of_causes_is_the_one_that_readme_and_changelog_name():
    for name in ("README.md", "CHANGELOG.md"):
        text = (Path(__file__).parents[2] / name).read_text(encoding="utf-8")
        assert f"{len(CAUSES)} causes" in text


def test_the_tiers_stand_in_the_docs_as_they_are():
    for tier in TIERS.values():
        (row,) = [line for line in DOC.split("\n") if line.startswith(f"| {tier.name} ")]
        cells = [cell.strip() for cell in row.split("|")][2:6]
        few, most = tier.batch_sizes
        least, largest = tier.accumulation
        accumulation = f"{least}" if least == largest else f"{least} - {largest}"
        assert cells[1:] == [f"{few} - {most}", accumulation, "{} x {}".format(*tier.start)]
        if tier.memory_from_mib:
            assert cells[0] == f"from {tier.memory_from_mib / 1024:.1f} GiB"
