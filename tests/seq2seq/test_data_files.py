import json

import pytest

from hf_monitor.errors import InputError
from hf_monitor.seq2seq.data_files import read_rows

ROWS = [{"dialogue": '안녕, "너"\n나', "summary": "인사,"}, {"dialogue": "a\u2028b", "summary": "c"}]


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)),
        ("a.jsonl", "\n\n".join(json.dumps(row) for row in ROWS) + "\r\n"),
        ("a.json", json.dumps(ROWS, ensure_ascii=False, indent=1)),
        ("a.json", json.dumps({"version": 1, "data": ROWS})),
        ("a.json", "\n".join(json.dumps(row) for row in ROWS)),
        ("A.CSV", 'dialogue,summary\r\n"안녕, ""너""\n나","인사,"\r\na\u2028b,c\r\n'),
        ("a.tsv", 'dialogue\tsummary\n"안녕, ""너""\n나"\t인사,\n\na\u2028b\tc\n'),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_each_kind_of_file_gives_the_same_rows(tmp_path, name, text, encoding):
    path = write(tmp_path / name, text, encoding)
    assert read_rows(path) == ROWS
    assert read_rows(path, limit=1) == ROWS[:1]


def test_one_object_alone_is_one_row(tmp_path):
    assert read_rows(write(tmp_path / "a.json", json.dumps(ROWS[0]))) == ROWS[:1]


def test_a_field_longer_than_the_csv_modules_limit(tmp_path):
    long = "x" * 300_000
    assert read_rows(write(tmp_path / "a.csv", f"text,summary\n{long},y\n"))[0]["text"] == long


def test_with_a_limit_what_comes_after_is_not_read(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"a": 1}\nbroken\n')
    assert read_rows(path, limit=1) == [{"a": 1}]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.jsonl", '{"a": 1}\n\n{"a": \n', "line 3 of .*broken JSON"),
        ("a.jsonl", '{"a', "broken JSON: Unterminated string starting at column 2\\."),
        ("a.jsonl", "[1]\n", "line 1 of .*must be a JSON object, got list"),
        ("a.json", '[{"a": 1},\n {"a" 2}]', "line 2 of .*broken JSON"),
        ("a.json", '[{"a": 1}, "b"]', "record 2 of .*must be a JSON object, got str"),
        ("a.json", '"text"', "must hold an array of objects, not str"),
        ("a.json", '{"a": 1}\n{"a": 2\n', "line 2 of .*broken JSON"),
        ("a.csv", "a,b\n1,2\n3\n", "line 3 of .*has 1 fields, its header 2"),
        ("a.csv", "a,b\n1,2,3\n", "line 2 of .*has 3 fields"),
        ("a.csv", 'a,b\n1,"2"x\n', "line 2 of .*broken CSV"),
        ("a.csv", "a,b,a\n1,2,3\n", "the column 'a' more than once"),
        ("a.csv", "a,b\n", "holds no samples"),
        ("a.csv", "", "holds no samples"),
        ("a.jsonl", "\n\n", "holds no samples"),
        ("a.json", "[]", "holds no samples"),
        ("a.json", "", "holds no samples"),
        ("a.parquet", "x", r"unknown extension '.parquet': use .json, .jsonl, .csv"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence_with_its_place(tmp_path, name, text, words):
    path = write(tmp_path / name, text)
    with pytest.raises(InputError, match=words) as found:
        read_rows(path)
    assert name in str(found.value)
    assert "\n" not in str(found.value)


def test_other_encodings_are_named(tmp_path):
    with pytest.raises(InputError, match=r"not UTF-8 .*Excel"):
        read_rows(write(tmp_path / "a.csv", "text,summary\n안녕,인사\n", "cp949"))


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError, match=r"no\.csv' is no file that exists"):
        read_rows(tmp_path / "no.csv")
    with pytest.raises(InputError, match="is a folder"):
        read_rows(tmp_path)
