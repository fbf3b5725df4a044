"""A loop of one's own in a run folder and in W&B: what is written down, ordered and refused."""

import argparse
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest
from mirrors import FakeMirror

from hf_monitor import WandBLogger, load_run
from hf_monitor.errors import InputError, MissingPackageError
from hf_monitor.loggers.mirror import staging
from hf_monitor.loggers.mirror.identity import mirrored_runs
from hf_monitor.loggers.mirror.staging import stage


@pytest.fixture(autouse=True)
def made(monkeypatch):
    """The mirrors that were made; no run of wandb is open."""
    monkeypatch.setattr(FakeMirror, "made", [])
    for name in ("ProcessMirror", "ThreadMirror"):
        monkeypatch.setattr(f"hf_monitor.loggers.mirror.link.{name}", FakeMirror)
    for name in ("WANDB_MODE", "WANDB_DISABLED", "WANDB_DIR", "WANDB_PROJECT", "WANDB_RUN_ID", "WANDB_RESUME"):
        monkeypatch.delenv(name, raising=False)
    return FakeMirror.made


def ordered(run_dir):
    file = run_dir / "wandb.jsonl"
    return [orjson.loads(line) for line in file.read_bytes().splitlines()] if file.exists() else []


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "checkpoint-10"
    (folder / "more").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes(staging._COPIED_BYTES))
    (folder / "optimizer.pt").write_bytes(b"o")
    (folder / "more" / "config.json").write_text("{}")
    return folder


def test_a_loop_is_in_the_run_folder_and_ordered_for_wandb(tmp_path, made, checkpoint):
    from matplotlib.figure import Figure

    run_dir, picture = tmp_path / "run", tmp_path / "a.png"
    picture.write_bytes(b"first")
    with WandBLogger("p", {"lr": 0.1, "api_token": "abcdef123456"}, run_dir=run_dir, name="n", tags=["t"]) as logger:
        logger.log({"loss": 2.0})
        logger.log({"loss": 1.5, "rouge": float("nan")})
        logger.log({"loss": 1.0}, 7)
        logger.log({"loss": 0.5})
        logger.log_summary({"best_rouge": 0.4, "hub_token": "abcdef123456"})
        logger.log_image("a/b", picture)
        picture.write_bytes(b"second")
        logger.log_image("a/b", picture)
        logger.log_image("figure", Figure(), 3)
        logger.log_table("texts", [{"in": "가", "out": 1}, {"in": "b", "more": None}])
        logger.log_table("pairs", [(1, 2.5)], columns=["x", "y"])
        logger.log_checkpoint(checkpoint, ["best"])
        logger.alert("slow", "why", level="ERROR")
        assert logger.url.endswith(logger.id)
    run = load_run(run_dir)
    assert [row["step"] for row in run.rows.of("log")] == [0, 1, 7, 8]
    assert [event["event"] for event in run.events] == ["train_begin", "train_end"]
    (mirror,) = made
    assert mirror.calls == ["start", ("finish", 0)]
    spec = mirror.spec
    assert (spec.project, spec.name, spec.tags, spec.rewrite, spec.attempts) == ("p", "n", ("t",), False, (1,))
    assert spec.config["lr"] == 0.1
    assert "abcdef123456" not in str(spec) + (run_dir / "wandb.jsonl").read_text() + (run_dir / "run.json").read_text()
    found = {(order["do"], order.get("name", "")): order for order in ordered(run_dir)}
    assert found["summary", ""]["values"]["best_rouge"] == 0.4
    pictures = [order for order in ordered(run_dir) if order["do"] == "images"]
    assert [(name, order["step"]) for order in pictures for name in order["pictures"]] == [
        *(("a/b", 8), ("a/b", 8), ("figure", 3))
    ]
    first, second, drawn = (Path(path).read_bytes() for order in pictures for path in order["pictures"].values())
    assert (first, second, drawn[:4]) == (b"first", b"second", b"\x89PNG")
    texts = found["table", "texts"]
    assert (texts["columns"], texts["rows"]) == (["in", "out", "more"], [["가", 1, None], ["b", None, None]])
    assert found["table", "pairs"]["rows"] == [[1, 2.5]]
    assert found["alert", ""]["level"] == "ERROR"
    kept = found["checkpoint", f"model-{spec.wandb_id}"]
    assert (kept["aliases"], kept["staged"]) == (["best"], True)


def test_it_goes_on_in_the_same_wandb_run_and_an_error_is_recorded(tmp_path, made):
    run_dir = tmp_path / "run"
    with WandBLogger("p", run_dir=run_dir) as first:
        first.log({"loss": 1.0}, 4)
    second = WandBLogger("p", run_dir=run_dir, resume=True)
    second.log({"loss": 0.5})
    with pytest.raises(ZeroDivisionError), second:
        1 / 0  # noqa: B018
    WandBLogger("p", run_dir=run_dir).finish(3)
    assert first.id == second.id
    assert [(one.spec.attempts, one.spec.resumed) for one in made] == [((1,), False), ((1, 2), True), ((3,), False)]
    assert [one.calls[-1] for one in made] == [("finish", 0), ("finish", 1), ("finish", 3)]
    assert [one.attempts for one in mirrored_runs(run_dir)] == [(1, 2), (3,)]
    run = load_run(run_dir)
    assert [row["step"] for row in run.rows.of("log")][-1] == 5
    errors = [event for event in run.events if event["event"] == "error"]
    assert [error["message"] for error in errors] == ["division by zero", "exit code 3"]
    assert "ZeroDivisionError" in errors[0]["traceback"]


def test_the_id_of_the_variable_is_taken_once_and_continued_where_that_is_asked_for(tmp_path, made, monkeypatch):
    monkeypatch.setattr("hf_monitor.loggers.mirror.link._begun", set())
    monkeypatch.setenv("WANDB_RUN_ID", "sweep7")
    first, second = (WandBLogger("p", run_dir=tmp_path / name) for name in ("a", "b"))
    monkeypatch.setattr("hf_monitor.loggers.mirror.link._begun", set())  # another process
    again = WandBLogger("p", run_dir=tmp_path / "a")
    monkeypatch.setenv("WANDB_RESUME", "allow")
    restarted = WandBLogger("p", run_dir=tmp_path / "a")
    for logger in (first, second, again, restarted):
        logger.finish()
    assert (first.id, restarted.id) == ("sweep7", "sweep7")
    assert "sweep7" not in (second.id, again.id)
    assert [one.spec.resumed for one in made] == [False, False, False, True]
    assert made[3].spec.attempts == (1, 3)


def test_what_a_loop_has_at_hand_is_taken_as_it_is(tmp_path, made, capsys):
    class Frame:  # as pandas has it
        columns = ("x",)

        def to_dict(self, kind):
            return [{"x": kind}]

    config = argparse.Namespace(lr=0.1)
    with WandBLogger("p", config, run_dir=tmp_path / "run", tags=None, resume=True) as logger:
        logger.log({"loss": 1.0}, 7)
        logger.log({"late": 1.0}, 3)
        logger.log({"loss": 1.0})
        logger.log_table("frame", Frame())
        logger.alert("only a title")
    assert "resume=True found none to go on in, and a new one begins" in capsys.readouterr().out
    assert [row["step"] for row in load_run(logger.run_dir).rows.of("log")] == [7, 3, 8]
    assert (made[0].spec.config, made[0].spec.tags) == ({"lr": 0.1}, ())
    assert [order.get("rows") for order in ordered(logger.run_dir)] == [[["records"]], None]


def test_arguments_with_a_secret_are_not_given_to_wandb(tmp_path, made, checkpoint, caplog):
    torch = pytest.importorskip("torch")
    arguments = checkpoint / "training_args.bin"
    with WandBLogger("p", {"hub_token": "plain-word-secret"}, run_dir=tmp_path / "run") as logger:
        for held in ("nothing", "plain-word-secret", "plain-word-secret"):
            torch.save(SimpleNamespace(hub_token=held, output_dir="out", learning_rate=1e-3), arguments)
            logger.log_checkpoint(checkpoint)
    first, *others = (Path(order["folder"]) for order in ordered(logger.run_dir))
    assert (first / arguments.name).exists()
    assert not any((other / arguments.name).exists() for other in others)
    assert [record.getMessage() for record in caplog.records] == [
        "hf_monitor: training_args.bin of the checkpoints holds a secret (hub_token, say): W&B is not given it."
    ]


def test_an_open_run_is_told_and_waited_for(tmp_path, made, monkeypatch):
    run = SimpleNamespace(id="mine", log=print, summary={})
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(run=run))
    with WandBLogger(run_dir=tmp_path / "run") as logger:
        assert logger.id == "mine"
    (mirror,) = made
    assert mirror.run is run
    assert mirror.calls == ["start", "drain", ("finish", 0)]


def test_where_it_records_without_being_told_and_what_it_says(tmp_path, monkeypatch, capsys, made):
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    with WandBLogger() as logger:
        pass
    assert re.fullmatch(r"hf_monitor-\d{8}_\d{6}-[0-9a-f]{6}", logger.run_dir.name)
    assert logger.run_dir.parent == tmp_path / "wandb"
    assert f"recording to {logger.run_dir}, W&B run {logger.id}\n" in capsys.readouterr().out
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with WandBLogger() as logger:
        logger.log({"loss": 1.0})
    assert "W&B: it is switched off by WANDB_MODE;" in capsys.readouterr().out
    assert len(made) == 1
    assert len(load_run(logger.run_dir).rows.of("log")) == 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda logger: logger.log([1.0]), "log() takes a mapping"),
        (lambda logger: logger.log({1: 2.0}), "log() takes a mapping"),
        (lambda logger: logger.log({"a": SimpleNamespace(savefig=print)}), "log() records numbers and texts"),
        (lambda logger: logger.log({"a": 1}, 1.5), "step must be a whole number from 0 on, got 1.5"),
        (lambda logger: logger.log({"a": 1}, -1), "step must be a whole number from 0 on, got -1"),
        (lambda logger: logger.log_summary(3), "log_summary() takes a mapping"),
        (lambda logger: logger.log_image("a", "no.png"), "there is no file 'no.png'"),
        (lambda logger: logger.log_image("a", __file__), "takes pictures (.png"),
        (lambda logger: logger.log_image("a", 3), "a matplotlib Figure or a PIL Image, got int"),
        (lambda logger: logger.log_image("", "a.png"), "name must be a text"),
        (lambda logger: logger.log_table("a", []), "a list of mappings, or rows and columns"),
        (lambda logger: logger.log_table("a", [(1, 2)], ["x"]), "1 columns, and a row of 2 values"),
        (lambda logger: logger.log_checkpoint("nowhere"), "a folder with the files of a checkpoint, got 'nowhere'"),
        (lambda logger: logger.log_checkpoint(Path(__file__).parent, "best"), "aliases must be a list"),
        (lambda logger: logger.alert("a", "b", "LOUD"), "level is one of INFO, WARN, ERROR"),
        (lambda logger: WandBLogger(3), "project_name must be a text"),
        (lambda logger: WandBLogger("a/b"), "none of / \\ # ? % :; got 'a/b'"),
        (lambda logger: WandBLogger("p", [1]), "config must be a mapping"),
        (lambda logger: WandBLogger("p", tags="a"), "tags must be a list of texts"),
        (lambda logger: WandBLogger("p", run="r"), "run must be a run that wandb.init() gave, got str"),
        (lambda logger: WandBLogger("p", run_dir=3), "run_dir must be the path of a folder"),
        (lambda logger: WandBLogger("p", resume=True), "name its folder"),
        (lambda logger: WandBLogger("p", settings=3), "settings must be a mapping"),
        (lambda logger: WandBLogger("p", settings={"api_key": "k"}), "set WANDB_API_KEY"),
        (lambda logger: (logger.finish(), logger.log({"a": 1})), "has finished"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(tmp_path, call, words):
    with (
        WandBLogger("p", run_dir=tmp_path / "run") as logger,
        pytest.raises(InputError, match=re.escape(words)),
    ):
        call(logger)


def test_without_wandb_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: SimpleNamespace(origin=None, submodule_search_locations=["./wandb"])
    )  # a folder of runs
    with pytest.raises(MissingPackageError, match="pip install wandb"):
        WandBLogger("p", run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_wandb_that_cannot_start_stops_nothing(tmp_path, monkeypatch, caplog):
    def start(self):
        raise RuntimeError("no interpreter")

    monkeypatch.setattr(FakeMirror, "start", start)
    with WandBLogger("p", run_dir=tmp_path / "run") as logger:
        logger.log({"loss": 1.0})
    assert [record.getMessage() for record in caplog.records] == [
        "hf_monitor: W&B could not be started: RuntimeError: no interpreter. The run folder has everything."
    ]
    assert len(load_run(tmp_path / "run").rows.of("log")) == 1


def test_a_staged_checkpoint_outlives_its_folder_and_costs_no_room(tmp_path, checkpoint):
    import shutil

    inode = (checkpoint / "model.safetensors").stat().st_ino
    staged = stage(checkpoint, tmp_path / "run", "step-10")
    again = stage(checkpoint, tmp_path / "run", "step-10", weights_only=True)
    (checkpoint / "more" / "config.json").write_text("other")  # in its place, as torch and json write
    shutil.rmtree(checkpoint)
    assert staged.ours
    names = sorted(str(path.relative_to(staged.folder)) for path in staged.folder.rglob("*") if path.is_file())
    assert names == ["model.safetensors", "more/config.json", "optimizer.pt"]
    assert (staged.folder / "model.safetensors").stat().st_ino == inode
    assert (staged.folder / "more" / "config.json").read_text() == "{}"
    assert again.folder.name == "step-10-2"
    assert not (again.folder / "optimizer.pt").exists()
    with pytest.raises(FileNotFoundError):
        stage(checkpoint, tmp_path / "run", "gone")


def test_where_nothing_can_be_linked_the_checkpoint_is_given_as_it_is(tmp_path, checkpoint, monkeypatch, caplog):
    def refuse(*paths):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    with WandBLogger("p", run_dir=tmp_path / "run") as logger:
        logger.log_checkpoint(checkpoint)
        logger.log_checkpoint(checkpoint)
    orders = ordered(tmp_path / "run")
    assert [(order["folder"], order["staged"]) for order in orders] == [(str(checkpoint), False)] * 2
    assert list((tmp_path / "run" / "wandb" / "staging").iterdir()) == []
    (record,) = caplog.records
    assert "cannot be linked into the run folder (Invalid cross-device link)" in record.getMessage()


def test_where_the_disk_is_nearly_full_no_checkpoint_is_kept_for_wandb(tmp_path, checkpoint, monkeypatch, caplog):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=2 * staging._COPIED_BYTES))
    with WandBLogger("p", run_dir=tmp_path / "run") as logger:
        logger.log_checkpoint(checkpoint)
    assert ordered(tmp_path / "run") == []
    (record,) = caplog.records
    assert "is not kept for W&B: the disk has no room for 2 more of 1 MiB" in record.getMessage()


def test_a_full_disk_loses_the_picture_and_not_the_loop(tmp_path, made, monkeypatch, caplog):
    picture = tmp_path / "a.png"
    picture.write_bytes(b"p")

    def full(*given):
        raise OSError(28, "No space left on device")

    with WandBLogger("p", run_dir=tmp_path / "run") as logger:
        monkeypatch.setattr("shutil.copyfile", full)
        logger.log_image("a", picture)
        logger.log({"loss": 1.0})
    assert not ordered(tmp_path / "run")
    assert "'a' cannot be kept: No space left on device" in caplog.text


def test_an_error_that_cannot_say_what_it_is_reaches_the_user_and_is_recorded(tmp_path, made):
    class Speechless(Exception):
        def __str__(self):
            raise RuntimeError("no words")

    with pytest.raises(Speechless), WandBLogger("p", run_dir=tmp_path):
        raise Speechless
    (error,) = [event for event in load_run(tmp_path).events if event["event"] == "error"]
    assert (error["type"], error["message"]) == ("Speechless", "<exception str() failed>")
