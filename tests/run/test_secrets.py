import pytest

from hf_monitor.run import RunWriter, load_run
from hf_monitor.run.secrets import environment_secrets, is_secret_name, mask_text, mask_values

PLANTED = {
    "hugging face": "hf_" + "aB3" * 11,
    "openai": "sk-proj-" + "Zz9_" * 8,
    "github": "ghp_" + "a1B2" * 9,
    "github fine": "github_pat_" + "a1B2" * 9,
    "aws": "AKIA" + "ABCD1234EFGH5678",
    "wandb": "wandb_v1_" + "aB3" * 10,
}


@pytest.mark.parametrize("secret", PLANTED.values(), ids=list(PLANTED))
def test_known_shapes_are_masked_anywhere(secret):
    assert secret not in mask_text(f"using ({secret}), ok")


@pytest.mark.parametrize("name", ["hub_token", "WANDB_API_KEY", "apiKey", "db-password", "client_secret", "token"])
def test_secret_names(name):
    assert is_secret_name(name)
    assert mask_values({name: "correct horse"}) == {name: "***"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("eos_token", "</sentence>"),
        ("pad_token_id", 0),
        ("max_new_tokens", "100000000"),
        ("TOKENIZERS_PARALLELISM", "something"),
        ("num_key_value_heads", 8),
        ("additional_special_tokens", ["<extra_id_0>", "<extra_id_1>"]),
        ("include_num_input_tokens_seen", "all-of-them"),
        ("keyword", "a longer text"),
        ("token", "short"),
        ("lang_token", "__korean__"),
        ("--mask-token", "<mask_longer>"),
        ("token", "<extra_id_0>"),
        ("key", "12345678.5"),
        ("push_to_hub_token", "True"),
    ],
)
def test_settings_that_are_no_secret_survive(name, value):
    assert mask_values({name: value}) == {name: value}


def test_command_lines_urls_and_nested_values():
    given = {
        "argv": ["train.py", "--hub_token", "abcdefgh12", "--lr", "3e-4", "--api-key=ABCDEFGH99"],
        "remote": {"url": "https://me:pass-word@git.example.com/x.git"},
    }
    shown = str(mask_values(given))
    for secret in ("abcdefgh12", "ABCDEFGH99", "pass-word"):
        assert secret not in shown
    assert "3e-4" in shown
    assert "git.example.com" in shown


def test_values_of_the_environments_secrets_are_masked_wherever_they_stand(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_SERVICE_TOKEN", "correct-horse-battery")
    assert environment_secrets() == environment_secrets()
    writer = RunWriter(tmp_path)
    writer.begin_attempt({"arguments": {"note": "x correct-horse-battery y", "hub_token": "plain-secret-1"}})
    writer.event("error", 1, message="with correct-horse-battery inside")
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"correct-horse" not in written
    assert b"plain-secret-1" not in written


def test_code_in_a_traceback_stays_readable():
    for line in ("auth = _find_or_prompt_for_key(", "    token = self.tokens.next_token("):
        assert mask_text(line) == line
    assert mask_text("auth = correct-horse(") == "auth = ***"
    assert mask_text("password = hunter2(abc") == "password = ***"
    assert mask_text("client.token = Secret('9f8e7d6c5b4a')  # x") == "client.token = Secret('***')  # x"
    assert mask_text("total = sum('not a secret')") == "total = sum('not a secret')"


def test_folders_in_the_environment_are_no_secrets(tmp_path, monkeypatch):
    """PWD is the working folder, not a password: masked, every path below it would be unreadable."""
    for name in ("PWD", "OLDPWD", "GOOGLE_APPLICATION_CREDENTIALS", "SSH_KEY_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    writer = RunWriter(tmp_path / "run")
    writer.begin_attempt()
    assert load_run(writer.run_dir).facts["working_folder"] == str(tmp_path)
    assert mask_text(f"PWD={tmp_path}", environment_secrets()) == f"PWD={tmp_path}"
    monkeypatch.setenv("MYSQL_PWD", "/no/such/folder")  # a password may begin with a slash
    assert "/no/such/folder" in environment_secrets()


def test_the_arguments_of_a_t5_training_lose_nothing(tmp_path):
    from transformers import Seq2SeqTrainingArguments, T5Config

    arguments = Seq2SeqTrainingArguments(output_dir=str(tmp_path), report_to="none", use_cpu=True).to_dict()
    placeholders = {key: value for key, value in arguments.items() if value == f"<{key.upper()}>"}
    given = {key: value for key, value in arguments.items() if key not in placeholders}
    assert mask_values(given) == given
    config = T5Config().to_dict()
    assert mask_values(config) == config


def test_prose_about_a_pass_stays_as_it_is():
    text = "first pass: validation, forward_pass=checkpointed"
    assert mask_text(text) == text


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("--hub_token 'abc$defgh12345' --lr 1", "defgh12345"),
        ("https://h/x?token=abcdefgh12345&y=1", "abcdefgh12345"),
        ("env:API_KEY=abcdefgh12345", "abcdefgh12345"),
        ("['--hub_token', 'abcdefgh12345']", "abcdefgh12345"),
        ("Authorization: Bearer abcdefgh12345", "abcdefgh12345"),
        ("git clone https://abcdefgh12345@host/x", "abcdefgh12345"),
        ("DB_PWD=abcdefgh12345", "abcdefgh12345"),
        ("DB_PASS=abcdefgh12345", "abcdefgh12345"),
        ("postgres://u:p/ss:word@h/db", "ss:word"),
        ('{"password": "abcdefgh12345"}', "abcdefgh12345"),
    ],
)
def test_where_secrets_hide_in_printed_lines(text, secret):
    assert secret not in mask_text(text)


def test_the_command_is_masked_before_it_is_quoted(tmp_path, monkeypatch):
    import sys

    monkeypatch.setattr(
        sys, "orig_argv", ["python", "t.py", "--hub_token", "a b$c'defgh123", "--password=abc,defg1234567"]
    )
    RunWriter(tmp_path).begin_attempt()
    written = (tmp_path / "run.json").read_text()
    assert "defgh123" not in written
    assert "defg1234567" not in written


def test_a_very_long_word_is_read_once():
    """Each letter as a possible beginning of a name would take minutes here: the count of steps is what is tested."""
    import subprocess
    import sys

    code = "from hf_monitor.run.secrets import mask_text; t = 'a' * 1_000_000; assert mask_text(t) == t"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
