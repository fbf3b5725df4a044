"""Where W&B is, before wandb is asked: nobody at the server's address, and a run that W&B never had."""

import os
import socket
from dataclasses import replace

import pytest

from hf_monitor.loggers.mirror.command import _of_trainer
from hf_monitor.loggers.mirror.spec import MirrorSpec
from hf_monitor.loggers.mirror.wandb_open import _is_gone, _settings
from hf_monitor.loggers.wandb_environment import wandb_state

PROXIES = [name for name in os.environ if name.lower().endswith("_proxy")]


@pytest.mark.parametrize("listens", [True, False])
def test_a_server_that_is_gone_is_seen_at_once_unless_a_proxy_leads_to_it(tmp_path, monkeypatch, listens):
    for name in PROXIES:
        monkeypatch.delenv(name)
    spec = MirrorSpec(str(tmp_path), "abc", (1,))
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if listens:
            server.listen()
        port = server.getsockname()[1]
        state = wandb_state({"WANDB_BASE_URL": f"http://127.0.0.1:{port}", "WANDB_API_KEY": "x" * 40}, tmp_path)
        assert (state.mode, state.port) == ("online", port)
        assert _is_gone(state, spec) is not listens
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
        assert not _is_gone(state, spec)


def test_a_run_that_was_never_sent_is_named_as_the_callback_would_have(monkeypatch):
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    arguments = {"output_dir": "out", "run_name": "kobart"}
    assert _of_trainer(arguments, {}) == {"project": "huggingface", "name": "kobart"}
    assert _of_trainer({**arguments, "run_name": "out"}, {"project": "mine"}) == {}
    assert _of_trainer({"lr": 1}, {}) == {}
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    assert _of_trainer(arguments, {"name": "mine"}) == {}


def test_settings_bound_what_a_kill_loses_and_how_long_a_server_is_waited_for(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    spec = MirrorSpec(str(tmp_path), "r1", (1,))
    ours = _settings(wandb.Settings, spec)
    assert (ours.x_transaction_log_flush_interval, ours.init_timeout) == (1.0, 20.0)
    assert (ours.console, ours.silent, ours.save_code) == ("off", True, False)

    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "90")  # of the user: wandb reads it by itself
    assert "init_timeout" not in _settings(wandb.Settings, spec).model_fields_set
    theirs = replace(spec, settings={"x_transaction_log_flush_interval": 5.0, "silent": False})
    assert _settings(wandb.Settings, theirs).x_transaction_log_flush_interval == 5.0
    assert _settings(wandb.Settings, theirs).silent is True
