"""What WANDB_* variables, settings files and .netrc say; the real wandb says whether its variables can be used."""

import subprocess
import sys

import pytest

from hf_monitor.loggers.wandb_environment import usable_environment, wandb_missing, wandb_state

KEY = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.mark.parametrize(
    ("environ", "mode", "asked", "words"),
    [
        ({}, "offline", "online", "no API key for api.wandb.ai"),
        ({"WANDB_API_KEY": KEY}, "online", "online", "is in WANDB_API_KEY"),
        ({"WANDB_API_KEY": f"{KEY} "}, "offline", "online", "41 characters"),
        ({"WANDB_API_KEY": "head.pay_load.sign-ature"}, "online", "online", "is in WANDB_API_KEY"),
        ({"WANDB_API_KEY": KEY, "WANDB_MODE": "offline"}, "offline", "offline", "WANDB_MODE asks for it"),
        ({"WANDB_API_KEY": KEY, "WANDB_MODE": "dryrun"}, "offline", "offline", "WANDB_MODE asks for it"),
        ({"WANDB_API_KEY": KEY, "WANDB_MODE": "ofline"}, "offline", "online", "'ofline', which wandb does not know"),
        ({"WANDB_API_KEY": KEY, "WANDB_MODE": "disabled"}, "disabled", "disabled", "by WANDB_MODE"),
        ({"WANDB_API_KEY": KEY, "WANDB_DISABLED": "1"}, "disabled", "disabled", "by WANDB_DISABLED"),
        ({"WANDB_API_KEY": KEY, "WANDB_DISABLED": "false"}, "online", "online", "is in"),
        ({"WANDB_IDENTITY_TOKEN_FILE": "/none"}, "offline", "online", "names no file"),
        ({"WANDB_IDENTITY_TOKEN_FILE": "/none", "WANDB_API_KEY": KEY}, "offline", "online", "both set"),
        ({"WANDB_BASE_URL": "http://["}, "offline", "online", "no API key for http://["),
        ({"WANDB_BASE_URL": f"https://me:{KEY}@w.local/"}, "offline", "online", "no API key for w.local"),
        ({"WANDB_BASE_URL": f"me:{KEY}@["}, "offline", "online", "no API key for ["),
    ],
)
def test_what_the_variables_say(tmp_path, environ, mode, asked, words):
    state = wandb_state(environ, tmp_path)
    assert (state.mode, state.asked, state.ready) == (mode, asked, mode == asked)
    assert words in state.why
    assert bool(state.advice) == (not state.ready or mode == "disabled")
    assert KEY[:9] not in str(state)


def test_the_folders_settings_win_over_the_users_and_the_variable_over_both(tmp_path):
    (tmp_path / ".config" / "wandb").mkdir(parents=True)
    (tmp_path / ".config" / "wandb" / "settings").write_text(f"[default]\nmode = disabled\napi_key = {KEY}\n")
    assert wandb_state({}, tmp_path).advice == "wandb enabled"
    (tmp_path / "here" / "wandb").mkdir()
    (tmp_path / "here" / "wandb" / "settings").write_text("[default]\nmode = offline\nbase_url = http://w.local:8080\n")
    assert (wandb_state({}, tmp_path).mode, wandb_state({}, tmp_path).host) == ("offline", "w.local")
    online = wandb_state({"WANDB_MODE": "online"}, tmp_path)
    assert (online.mode, online.key_source) == ("online", "the settings of wandb")
    (tmp_path / "here" / "wandb" / "settings").write_bytes(b"\xff\xfe broken")
    assert wandb_state({}, tmp_path).mode == "disabled"


def test_a_key_in_netrc_is_that_of_host_and_port(tmp_path):
    (tmp_path / "keys").write_text(f"machine w.local:8080 login user password {KEY}\n")
    environ = {"NETRC": str(tmp_path / "keys"), "WANDB_BASE_URL": "http://w.local:8080"}
    assert wandb_state(environ, tmp_path).key_source == str(tmp_path / "keys")
    other = wandb_state({**environ, "WANDB_BASE_URL": "http://w.local"}, tmp_path)
    assert (other.mode, other.key_source) == ("offline", None)
    assert "wandb login --host=http://w.local" in other.advice


def test_wandb_starts_with_the_usable_variables_and_not_with_the_users(tmp_path):
    broken = {"WANDB_MODE": "OFFLINE", "WANDB_API_KEY": f"{KEY}\n", "HOME": str(tmp_path), "WANDB_SILENT": "true"}
    state = wandb_state(broken, tmp_path)
    assert wandb_missing() == ""
    code = "import wandb; print(wandb.setup().settings.mode)"

    def start(environ):
        return subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True)

    assert start(broken).returncode != 0
    done = start(usable_environment(broken, state))
    assert (done.returncode, done.stdout.strip()) == (0, "offline"), done.stderr
    shared = {"WANDB_MODE": "shared", "WANDB_API_KEY": KEY}
    assert usable_environment(shared, wandb_state(shared, tmp_path)) == shared
