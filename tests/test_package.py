import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import untraced

import hf_monitor

ROOT = Path(hf_monitor.__file__).parent.parent


def python(code, *arguments, **kwargs):
    done = subprocess.run([sys.executable, *arguments, "-c", code], capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_brings_nothing_heavy():
    loaded = python("import sys; before = set(sys.modules); import hf_monitor; print(*(set(sys.modules) - before))")
    roots = {name.partition(".")[0] for name in loaded.split()}
    assert roots & {"torch", "matplotlib", "wandb", "transformers", "numpy", "pandas", "orjson", "psutil"} == set()
    assert len(loaded.split()) < 15


@pytest.mark.parametrize("name", sorted(hf_monitor.__all__))
def test_every_public_name_loads(name):
    assert getattr(hf_monitor, name) is not None
    assert name in dir(hf_monitor)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Nothing"):
        hf_monitor.Nothing  # noqa: B018


def test_reading_drawing_and_logging_need_no_torch(tmp_path):
    code = f"""
import sys
sys.modules["torch"] = sys.modules["transformers"] = None
from hf_monitor import RunWriter, load_run, Logger
from hf_monitor.charts import draw_history
writer = RunWriter({str(tmp_path)!r})
writer.row("train", 1, {{"loss": 1.0}})
assert draw_history(load_run({str(tmp_path)!r}).metrics, {str(tmp_path / "plots")!r})
with Logger({str(tmp_path / "a.log")!r}) as logger:
    logger.write("x")
"""
    python(code)


def test_versions_agree():
    from importlib.metadata import version

    assert version("hf-monitor") == hf_monitor.__version__


def test_every_package_that_is_imported_is_declared():
    """The wheel is tested beside this environment's packages, where an undeclared one is there by chance."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *extras["korean"], *extras["kiwi"], *extras["lora"]]
    declared = {plain_name(re.split(r"[\[<>=!~ ;]", line, maxsplit=1)[0]) for line in lines}
    providers = packages_distributions()
    undeclared = {
        f"{module} in {path.relative_to(ROOT)}"
        for path in (ROOT / "hf_monitor").rglob("*.py")
        for module in imported_by(path) - {"hf_monitor", *sys.stdlib_module_names}
        if not declared & {plain_name(name) for name in providers.get(module, [module])}
    }
    assert undeclared == set()


def imported_by(path):
    """First names of all modules that a file imports, also inside functions."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    return {name.partition(".")[0] for name in names}


def plain_name(distribution):
    return re.sub(r"[-_.]+", "-", distribution).lower()


@pytest.mark.slow
def test_a_wheel_installs_into_an_empty_environment_and_attach_works_there(tmp_path):
    """The environment sees this one's third-party packages, but not the project: only what the wheel holds."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(ROOT)],
        check=True,
        capture_output=True,
        env=untraced.ENVIRONMENT,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    command = [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")]
    subprocess.run(command, check=True, env=untraced.ENVIRONMENT)
    inner = tmp_path / "env" / "bin" / "python"
    site = Path(
        subprocess.run(
            [inner, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
    )
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)],
        check=True,
        capture_output=True,
        env=untraced.ENVIRONMENT,
    )
    # Third-party packages of this environment, without its editable install of the project.
    third_party = Path(sys.prefix) / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (site / "zz_third_party.pth").write_text(f"{third_party}\n")
    code = """
import json, sys
from pathlib import Path
import hf_monitor, torch
from hf_monitor import attach, TextMetrics
from hf_monitor.demo import load_demo
from hf_monitor.seq2seq.demo_model import build_demo_model, build_demo_tokenizer
from datasets import Dataset
from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments
rows = load_demo("validation")[:6]
tokenizer = build_demo_tokenizer([row["dialogue"] for row in rows])
model = build_demo_model(tokenizer)
data = Dataset.from_list([{"input_ids": tokenizer(row["dialogue"])["input_ids"],
                           "labels": tokenizer(row["summary"])["input_ids"]} for row in rows])
args = Seq2SeqTrainingArguments("out", max_steps=1, logging_steps=1, eval_strategy="steps", eval_steps=1, use_cpu=True,
                                predict_with_generate=True, generation_max_length=8, report_to="none",
                                save_strategy="no")
trainer = Seq2SeqTrainer(model, args, train_dataset=data, eval_dataset=data, processing_class=tokenizer,
                         data_collator=DataCollatorForSeq2Seq(tokenizer, model), compute_metrics=TextMetrics(tokenizer))
monitor = attach(trainer)
trainer.train()
package = Path(hf_monitor.__file__).parent
print(json.dumps({"package": str(package), "typed": (package / "py.typed").exists(), "status": monitor.run().status}))
"""
    done = subprocess.run([inner, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result == {"package": str(site / "hf_monitor"), "typed": True, "status": "finished"}
    done = subprocess.run([inner, "-m", "hf_monitor", "gpu", "--json"], cwd=tmp_path, capture_output=True, text=True)
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["usable"] else 1)
    assert report["torch_version"]  # the probe runs in that environment, too
    assert (site / "bin" / "hf-monitor").is_file()
