"""What a mask knows by value: forms, words that stay, how it travels, what it costs."""

import base64
import json
import pickle
import time
from urllib.parse import quote

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hf_monitor import Logger
from hf_monitor.run import RunWriter, load_run
from hf_monitor.run.secret_sources import argument_values, environment_values, file_values
from hf_monitor.run.secrets import HarmlessText, SecretMask

_VALUES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=8, max_size=40).filter(
    lambda value: any(c.isalpha() for c in value.strip()) and value.strip("*") and len(value.strip()) >= 8
)
_AROUND = st.text(" \t,;:!?()[]{}<>'\"/|=&가나.\n", max_size=5)


def _written(value):
    yield value
    yield quote(value, safe="")
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield repr(value)[1:-1]


@pytest.mark.no_cover
@settings(max_examples=300, deadline=None)
@given(value=_VALUES, before=_AROUND, after=_AROUND)
@example(value="true-or-false", before="", after="")
@example(value="pass\\word'\"", before="'", after="'")
def test_a_known_value_is_masked_in_every_way_it_may_be_written(value, before, after):
    mask = SecretMask()
    mask.learn({"hub_token": value})
    if not mask._values:  # a number, a boolean, a single word under a name that says little
        return
    for form in _written(value):
        assert form not in mask.text(before + form + after)
        assert form not in mask.data(before + form + after)
    for text in (value, f"me:{value}", f"user:{value}", f"u2:{value}:x"):
        encoded = base64.b64encode(text.encode()).decode()
        assert encoded not in mask.text(f"{before}{encoded}{after}")
    row = orjson.dumps({"prediction": before + value + after})
    assert mask.may_change(row)


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_a_text_without_secrets_is_left_alone_by_known_values_and_shapes(text):
    assert SecretMask(["correct-horse-battery"]).data(text) == text


def test_a_single_word_is_masked_as_a_word_and_never_in_the_names_of_values():
    mask = SecretMask(["learning"])
    assert mask.text("learning_rate 1, learning goes on") == "learning_rate 1, *** goes on"
    assert mask.values({"learning": 1, "note": "learning"}) == {"learning": 1, "note": "***"}


def test_public_words_are_masked_only_where_they_are_assigned(tmp_path, monkeypatch):
    """`transformers` as somebody's token: gone everywhere, it would tell what the token is, and spoil the record."""
    monkeypatch.setenv("HF_TOKEN", "transformers")
    monkeypatch.setenv("MY_SECRET", "google-t5/t5-small")
    monkeypatch.setenv("DB_PASSWORD", tmp_path.name)
    writer = RunWriter(tmp_path / "run")
    model = {"name_or_path": "google-t5/t5-small", "class": "T5"}
    writer.begin_attempt({"model": model, "arguments": {"output_dir": str(tmp_path), "hub_token": "transformers"}})
    facts = load_run(writer.run_dir).facts
    assert facts["model"] == model
    assert facts["packages"]["transformers"]
    assert facts["arguments"] == {"output_dir": str(tmp_path), "hub_token": "***"}
    assert writer.mask.text("HF_TOKEN=transformers, from transformers") == "HF_TOKEN=***, from transformers"


@pytest.mark.parametrize(
    ("argv", "secret"),
    [
        (["--hub_token", "abcdefgh1"], "abcdefgh1"),
        (["--api-key=abcdefgh1"], "abcdefgh1"),
        (["db.password=abcdefgh1"], "abcdefgh1"),
        (["+model.token=abcdefgh1"], "abcdefgh1"),
        (['{"x": {"token": "abcdefgh1"}}'], "abcdefgh1"),
        (['--kwargs={"token": "abcdefgh1"}'], "abcdefgh1"),
        (["https://me:abcdefgh1@h/x"], "abcdefgh1"),
    ],
)
def test_command_lines_are_known(argv, secret):
    assert set(argument_values(["train.py", *argv, "--lr", "1"])) == {secret}


def test_settings_of_a_command_line_are_no_secrets(tmp_path):
    (tmp_path / "c.yaml").write_text("hub:\n  token: abcdefgh1\n  sort_key: published_on\n")
    argv = [
        "--text_key",
        "dialogue_text",
        "--eos_token",
        "</s_longer>",
        "--max_new_tokens",
        "100000000",
        "--key",
        "--x",
    ]
    assert list(argument_values(argv)) == []
    # or there would be no `eval_rougeL` in any row
    assert (
        list(argument_values(["--metric_key", "eval_rougeL", "--sort_key=eval_rouge2", "best_key=dialogueText"])) == []
    )
    assert list(argument_values(["--my_key", "aB3xYz9qLm", "--sort_key", "correct-horse"])) == [
        "aB3xYz9qLm",
        "correct-horse",
    ]
    assert list(argument_values([str(tmp_path / "c.yaml"), "missing.json"])) == ["abcdefgh1"]
    (tmp_path / "data.json").write_text('{"key": "dialogue 17"}')
    (tmp_path / "list.json").write_text('[{"key": "dialogue 17"}]')
    assert list(argument_values(["--train_file", str(tmp_path / "data.json"), "x", str(tmp_path / "list.json")])) == []
    assert list(argument_values(["--config", str(tmp_path / "data.json")])) == ["dialogue 17"]


def test_environment_and_stored_logins_are_known(tmp_path):
    environ = {
        "DATABASE_URL": "postgresql://me:p%40ssw0rd1@db/x",
        "AZURE": "AccountName=a;AccountKey=abcdEFGH12==;EndpointSuffix=x",
        "CREDENTIALS": '{"private_key": "inner-key-1", "user": "me"}',
        "TOKEN_FILE": "/not/there/at/all",
        "SSH_AUTH_SOCK": str(tmp_path),
        "AUTH_MODE": "none",
    }
    found = set(environment_values(environ))
    assert found == {"p%40ssw0rd1", "p@ssw0rd1", "abcdEFGH12==", environ["CREDENTIALS"], "inner-key-1"}
    (tmp_path / "token").write_text("stored-token-1\n")
    (tmp_path / "stored_tokens").write_text("[work]\nhf_token = stored-token-2\n")
    (tmp_path / ".netrc").write_text("machine api.wandb.ai\n login user\n password 0123456789abcdef\n")
    home = {"HOME": str(tmp_path), "HF_HOME": str(tmp_path)}
    assert set(file_values(home)) == {"stored-token-1", "stored-token-2", "0123456789abcdef"}
    (tmp_path / ".netrc").write_text("machine \x00 garbage\n  word")
    (tmp_path / "stored_tokens").write_bytes(b"\xff\xfe no ini")
    assert set(file_values(home)) == {"stored-token-1"}


def test_a_mask_can_be_pickled_and_used_by_a_logger(tmp_path):
    mask = pickle.loads(pickle.dumps(SecretMask(["correct-horse-1"], public=["transformers"])))
    Logger(tmp_path / "x.log", print_also=False, mask=mask).write("with correct-horse-1")
    assert "with ***" in (tmp_path / "x.log").read_text()
    assert mask(HarmlessText("loss 1")) == "loss 1"


def test_a_private_key_is_masked_line_by_line_and_what_follows_is_not():
    mask = SecretMask()
    lines = ["-----BEGIN EC PRIVATE KEY-----", "MHcCAQEEIBkg" * 5, "AwEHoUQD==", "-----END EC PRIVATE KEY-----", "done"]
    assert [mask(line) for line in lines] == [lines[0], "***", "***", lines[3], "done"]
    assert mask("\n".join(lines)) == f"{lines[0]}***{lines[3]}\ndone"


def test_secrets_as_names_of_values_and_within_objects(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "correct-horse-1")
    writer = RunWriter(tmp_path)
    for _ in range(2):
        writer.numbers("train", 1, {"loss": 1.0, "at correct-horse-1": 2.0})
        writer.numbers("train", 2, {"loss": 1.0})
    writer.row("log", 3, {"error": ValueError("correct-horse-1"), "a ghp_" + "a1B2" * 9: 1, "b ghp_" + "a1B2" * 9: 2})
    writer.rows("predictions.jsonl", [{"prediction": "correct-horse-1", "references": ["ok"], "score": float("nan")}])
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"correct-horse" not in written
    assert b"ghp_" not in written
    rows = load_run(tmp_path).rows
    assert [row.get("at ***") for row in rows[:4]] == [2.0, None, 2.0, None]
    assert (rows[4]["a ***"], rows[4]["b ***"]) == (1, 2)
    assert load_run(tmp_path).predictions[0]["prediction"] == "***"


def test_what_is_learned_later_holds_for_names_seen_before(tmp_path):
    writer = RunWriter(tmp_path)
    writer.numbers("train", 1, {"loss of late-secret-1": 1.0})
    assert b"late-secret-1" in (tmp_path / "metrics.jsonl").read_bytes()  # nobody could know
    writer.learn({"api_key": "late-secret-1"})
    writer.numbers("train", 2, {"loss of late-secret-1": 1.0})
    assert load_run(tmp_path).rows[-1]["loss of ***"] == 1.0


@pytest.mark.no_cover
def test_predictions_cost_little_more_with_a_mask(tmp_path, monkeypatch):
    """10 000 texts: measured as about the time that they take without; the bound has room for a busy machine."""
    monkeypatch.setenv("MY_TOKEN", "correct-horse-1")
    monkeypatch.setenv("MY_PASSWORD", "Tr0ub4dor&3 and more")
    text = "오늘 회의는 세 시다 the meeting is at three tomorrow and #Person1# asks a well-known question "
    rows = [{"index": i, "input": text * 10, "prediction": text, "references": [text]} for i in range(10_000)]

    def seconds(writer):
        took = []
        for _ in range(3):
            began = time.process_time()
            writer.rows("predictions.jsonl", rows)
            took.append(time.process_time() - began)
        return min(took)

    masked, plain = RunWriter(tmp_path / "a"), RunWriter(tmp_path / "b")
    for writer in (masked, plain):
        writer.begin_attempt()
    plain.mask.may_change = lambda encoded: False
    assert seconds(masked) < 4 * seconds(plain) + 0.05
