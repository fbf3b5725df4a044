"""A real training in which secrets are everywhere: none of them is in any byte of the run folder."""

import base64
import json
import random
import string
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
import untraced

HERE = Path(__file__).parent
_ALNUM = string.ascii_letters + string.digits


def planted(seed: int) -> dict[str, str]:
    """Make secrets; the first word of a name says where it is planted."""
    rng = random.Random(seed)

    def some(n: int, letters: str = _ALNUM) -> str:
        return "".join(rng.choices(letters, k=n))

    def hexa(n: int) -> str:
        return some(n, "0123456789abcdef")

    def b64(text: str) -> str:
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    lines = "\n".join(some(64, _ALNUM + "+/") for _ in range(4))
    return {
        "env HF_TOKEN": "hf_" + some(34),
        "env WANDB_API_KEY": hexa(40),
        "env OPENAI_API_KEY": "sk-proj-" + some(40, _ALNUM + "_-"),
        "env AWS_SECRET_ACCESS_KEY": some(40, _ALNUM + "+/"),
        "env PGPASSWORD": "p@ss w/ord+" + some(4) + "%&=",
        "env db_pass": "quote'\"\\back" + some(6),
        "env MY_SECRET": some(12),
        "env KOREAN_PASSWORD": "비밀번호-" + some(6),
        "env SIGNING_KEY": "first line " + some(20) + "\nsecond line " + some(20),
        "env DATABASE_URL": "pg" + some(10),
        "env AZURE_STORAGE": some(43, _ALNUM + "+/") + "=",
        "file netrc": hexa(40),
        "file HF token": "hf_" + some(34),
        "file aws": some(40, _ALNUM + "+/"),
        "file config": "plain-" + some(8),
        "argument hub_token": "horse-battery-" + some(6),
        "argument store_secret_key": "store " + some(10),
        "argument --service-key": some(14),
        "argument --db.password": "a,b;c&" + some(8),
        "config service_token": "svc/" + some(12),
        "config url": "pw" + some(9),
        "shape AWS": "AKIA" + some(16, string.ascii_uppercase + string.digits),
        "shape GitHub": "ghp_" + some(36),
        "shape GitLab": "glpat-" + some(20),
        "shape Google": "AIza" + some(35, _ALNUM + "_-"),
        "shape JWT": f"eyJ{b64(some(20))}.eyJ{b64(some(30))}.{b64(some(24))}",
        "shape Slack": f"xoxb-{some(12, string.digits)}-{some(24)}",
        "shape Stripe": "sk_live_" + some(24),
        "shape npm": "npm_" + some(36),
        "pem": f"-----BEGIN RSA PRIVATE KEY-----\n{lines}\n{some(30)}==\n-----END RSA PRIVATE KEY-----",
        "assigned quoted": "my " + some(5) + " pass",
        "assigned exported": some(5) + "(" + some(6),
        "assigned nested json": some(14),
        "assigned option": some(10),
        "assigned yaml": "two words " + some(4),
        "assigned query": some(18),
        "assigned account key": some(43, _ALNUM + "+/") + "=",
        "header authorization": some(16),
        "header cookie": some(20),
        "header basic": some(11),
        "url password": some(6) + "/" + some(5),
        "url in error": some(9) + "@" + some(4),
        "key in a log": "ghp_" + some(36),
        "log client_secret": some(13),
        "log session_token": "plain-words-" + some(4, string.ascii_lowercase),
    }


def environment(secret: dict[str, str], home: Path) -> dict[str, str]:
    """The environment and the files of a user who has all these."""
    (home / "hub").mkdir(parents=True)
    (home / "hub" / "token").write_text(secret["file HF token"] + "\n")
    (home / ".netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {secret['file netrc']}\n")
    (home / ".aws").mkdir()
    (home / ".aws" / "credentials").write_text(f"[default]\naws_secret_access_key = {secret['file aws']}\n")
    (home / "settings.json").write_text(json.dumps({"store": {"api_token": secret["file config"], "lr": 1}}))
    named = {name.removeprefix("env "): value for name, value in secret.items() if name.startswith("env ")}
    named["DATABASE_URL"] = f"postgresql://me:{named['DATABASE_URL']}@db:5432/x"
    named["AZURE_STORAGE"] = f"AccountName=me;AccountKey={named['AZURE_STORAGE']};EndpointSuffix=core.windows.net"
    kept = {name: value for name, value in untraced.ENVIRONMENT.items() if name not in ("HF_TOKEN_PATH", "NETRC")}
    return {**kept, **named, "HOME": str(home), "HF_HOME": str(home / "hub")}


def train(secret: dict[str, str], folder: Path, *more: str) -> Path:
    folder.mkdir()
    (folder / "planted").write_text(json.dumps(secret))
    options = ["--service-key", secret["argument --service-key"], f"db.password={secret['argument --db.password']}"]
    command = [sys.executable, str(HERE / "leaky_training.py"), str(folder / "out"), str(folder / "planted")]
    done = subprocess.run(
        [*command, *options, str(folder / "home" / "settings.json"), *more],
        env=environment(secret, folder / "home"),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "RuntimeError: login failed" in done.stderr, done.stderr[-3000:]
    return folder / "out" / "monitor"


def leaks(folder: Path, secret: dict[str, str]) -> dict[str, set[str]]:
    """Find secrets in any byte of any file: as they are, line by line, quoted, escaped, in base64."""
    found: dict[str, set[str]] = {}
    for path in folder.rglob("*"):
        written = path.read_bytes() if path.is_file() else str(path).encode()
        for name, value in secret.items():
            lines = [line for line in value.splitlines() if not line.startswith("-----")]
            forms = {value, *lines, quote(value), quote(value, safe=""), quote_plus(value), repr(value)[1:-1]}
            forms |= {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
            forms |= {base64.b64encode(text.encode()).decode() for text in (value, f"me:{value}")}
            if any(form.encode() in written for form in forms):
                found.setdefault(name, set()).add(path.name)
    return found


@pytest.mark.slow
def test_no_planted_secret_is_in_any_byte_of_the_run_folder(tmp_path):
    secret = planted(seed=3)
    assert len(secret) >= 40
    folder = train(secret, tmp_path / "masked")
    assert leaks(folder, secret) == {}
    names = {path.name for path in folder.rglob("*")}
    assert {"run.json", "metrics.jsonl", "predictions.jsonl", "train.log"} <= names
    log = (folder / "train.log").read_text()
    assert "connected with *** at last" in log
    assert "cloning https://***@git.example.com/x.git" in log  # what is no secret is still there
    assert "EndpointSuffix=core.windows.net" in log
    assert '"references":["my login is *** there"]' in (folder / "predictions.jsonl").read_text()


@pytest.mark.slow
def test_each_planted_secret_is_found_where_nothing_is_masked(tmp_path):
    """The control: the search finds what is there, and every secret was on its way into a file."""
    secret = planted(seed=4)
    found = leaks(train(secret, tmp_path / "unmasked", "--unmasked"), secret)
    assert set(secret) - set(found) == set()
    files = set().union(*found.values())
    assert {"run.json", "metrics.jsonl", "predictions.jsonl", "train.log"} <= files
