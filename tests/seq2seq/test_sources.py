import json

import pytest

from hf_monitor.errors import InputError
from hf_monitor.seq2seq.arguments import DataArguments
from hf_monitor.seq2seq.sources import load_demo_splits, load_splits


@pytest.fixture
def files(tmp_path):
    (tmp_path / "train.jsonl").write_text(
        "\n".join(json.dumps(row) for row in [{"dialogue": "a", "summary": "b"}, {"dialogue": "c", "summary": ""}])
    )
    (tmp_path / "dev.csv").write_text("document,summary1,summary2\nx,y,z\nu,v,w\n")
    (tmp_path / "test.json").write_text(json.dumps([{"text": "p"}]))
    return {
        "train_file": str(tmp_path / "train.jsonl"),
        "validation_file": str(tmp_path / "dev.csv"),
        "test_file": str(tmp_path / "test.json"),
    }


def test_columns_are_found_for_each_file_on_its_own(files):
    said = []
    wanted = {"train": None, "validation": 1, "test": None}
    splits = load_splits(DataArguments(**files), wanted, tell=said.append)
    assert splits["train"].texts == ["a"]  # the other has no summary to learn from
    assert splits["validation"].references == [["y", "z"]]
    assert splits["test"].references is None
    assert any("1 samples with an empty text or summary" in line for line in said)
    assert any("document -> summary1, summary2" in line for line in said)


def test_only_what_is_wanted_is_read(files):
    files["train_file"] = "nowhere.jsonl"
    assert set(load_splits(DataArguments(**files), {"test": None}, tell=print)) == {"test"}
    with pytest.raises(InputError, match="nowhere"):
        load_splits(DataArguments(**files), {"train": None}, tell=print)


def test_a_data_set_of_the_datasets_library(files, tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "train.jsonl").write_text('{"article": "a", "highlights": "b"}\n{"article": "c", "highlights": "d"}\n')
    arguments = DataArguments(dataset_name=str(folder), validation_file=files["validation_file"])
    options = {"cache_dir": str(tmp_path / "cache")}
    splits = load_splits(arguments, {"train": 1, "validation": None}, tell=print, hub_options=options)
    assert (splits["train"].texts, splits["train"].references) == (["a"], [["b"]])
    assert splits["validation"].texts == ["x", "u"]
    with pytest.raises(InputError, match="has no split 'test', only train"):
        load_splits(arguments, {"test": None}, tell=print, hub_options=options)


def test_what_is_missing_is_said(files, tmp_path):
    with pytest.raises(InputError, match="--do_eval needs data: give a --validation_file"):
        load_splits(DataArguments(train_file=files["train_file"]), {"validation": None}, tell=print)
    with pytest.raises(InputError, match=r"the data set '.*nothing' cannot be loaded"):
        load_splits(DataArguments(dataset_name=str(tmp_path / "nothing")), {"train": None}, tell=print)


def test_demo_with_its_languages():
    splits, languages = load_demo_splits({"train": 12, "validation": None})
    assert len(splits["train"].texts) == len(languages["train"]) == 12
    assert set(languages["validation"]) == {"ko", "en"}
    assert all(splits["validation"].references)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("dialogue,summary\n,a\n ,b\n", r"every text of .*dev\.csv is empty \(column 'dialogue'\).*--text_column"),
        ("dialogue,summary\na,\nb,\n", r"every summary of .*dev\.csv is empty \(columns dialogue -> summary\)"),
    ],
)
def test_a_validation_part_that_cannot_be_scored_is_refused(tmp_path, rows, words):
    (tmp_path / "dev.csv").write_text(rows)
    arguments = DataArguments(validation_file=str(tmp_path / "dev.csv"))
    with pytest.raises(InputError, match=words):
        load_splits(arguments, {"validation": None}, tell=print)


def test_one_empty_text_or_summary_keeps_its_place(tmp_path):
    (tmp_path / "dev.csv").write_text("dialogue,summary\n,a\nb,\n")
    arguments = DataArguments(validation_file=str(tmp_path / "dev.csv"))
    found = load_splits(arguments, {"validation": None}, tell=print)["validation"]
    assert (found.texts, found.references) == (["", "b"], [["a"], [""]])
