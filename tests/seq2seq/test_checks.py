import os

import pytest

from hf_monitor.errors import InputError, RunFolderError
from hf_monitor.seq2seq.checks import check_output_folder, check_run_folder, words_of


def test_a_folder_that_can_be_made_is_not_made(tmp_path):
    check_output_folder("--output_dir", tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(InputError, match=r"^--run_dir '.*a' is a file, not a folder\.$"):
        check_output_folder("--run_dir", tmp_path / "a")
    with pytest.raises(InputError, match=r"^--run_dir '.*a/b/c' cannot be made: '.*a' is a file, not a folder\.$"):
        check_output_folder("--run_dir", tmp_path / "a" / "b" / "c")


def test_no_permission(tmp_path, monkeypatch):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    if os.access(folder, os.W_OK):  # root may write everywhere
        monkeypatch.setattr(os, "access", lambda path, mode: path != folder)
    with pytest.raises(
        InputError, match=r"--output_dir '.*new' cannot be written: no permission to write in '.*locked'"
    ):
        check_output_folder("--output_dir", folder / "new")


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(InputError, match=r"--output_dir .* cannot be used: File name too long"):
        check_output_folder("--output_dir", tmp_path / ("x" * 300))


def test_a_run_of_a_newer_format(tmp_path):
    check_run_folder(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    (tmp_path / "run.json").write_text('{"format": 99}')
    with pytest.raises(RunFolderError, match="format 99"):
        check_run_folder(tmp_path)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("first\nsecond"), "first"),
        (ValueError("one of:\n  (1) a,\n\n  (2) b."), "one of: (1) a, (2) b."),
        (ValueError(), "ValueError"),
        (KeyError("model"), "'model' is missing in it."),
    ],
)
def test_an_error_in_one_sentence(error, words):
    assert words_of(error) == words
