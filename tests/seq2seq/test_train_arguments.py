import json

import pytest

from hf_monitor.errors import InputError
from hf_monitor.seq2seq.arguments import build_arguments, given_arguments


def given(*argv):
    return given_arguments(argv, "train")


def test_only_what_was_given_is_given_also_where_it_equals_the_default():
    assert given() == {}
    assert given("--learning_rate", "5e-5", "--seed=42", "--do_train") == {
        "learning_rate": 5e-5,
        "seed": 42,
        "do_train": True,
    }
    assert given("--do-eval", "false", "--max_steps", "-1") == {"do_eval": False, "max_steps": -1}


def test_yaml_and_json_files_give_the_same_and_options_win(tmp_path):
    values = {
        "train_file": "a.jsonl",
        "learning_rate": 1e-3,
        "do_train": True,
        "num_beams": None,
        "source_prefix": "summarize: ",
        "max_steps": -1,
        "label_names": ["labels"],
        "summary_column": ["b", "c"],
        "lr_scheduler_kwargs": {"num_cycles": 2},
    }
    (tmp_path / "a.json").write_text(json.dumps(values))
    (tmp_path / "a.yaml").write_text(
        "train_file: a.jsonl\nlearning_rate: 1e-3\ndo_train: true\nnum_beams:\nsource_prefix: 'summarize: '\n"
        "max_steps: -1\nlabel_names: [labels]\nsummary_column:\n- b\n- c\n"
        "lr_scheduler_kwargs: {num_cycles: 2}\n"
    )
    from_json = given(str(tmp_path / "a.json"))
    assert given(str(tmp_path / "a.yaml")) == from_json
    assert from_json.keys() == values.keys() - {"num_beams"}
    assert from_json["learning_rate"] == 0.001  # YAML 1.1 reads 1e-3 as a text
    assert given(str(tmp_path / "a.yaml"), "--max_steps", "7")["max_steps"] == 7
    _, data, training = build_arguments({**from_json, "output_dir": str(tmp_path)})
    assert data.source_prefix == "summarize: "
    assert data.summary_column == ["b", "c"]
    assert training.lr_scheduler_kwargs == {"num_cycles": 2}
    assert training.label_names == ["labels"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--learning_rat", "1"], "unrecognized arguments: --learning_rat"),  # no silent abbreviations either
        (["--learning_rate", "fast"], "learning_rate.*invalid float value: 'fast'"),
        (["--max_steps"], "max_steps.*expected one argument"),
        (["stray"], "unrecognized arguments: stray"),
        (["--train_file", ""], "--train_file is empty.*shell variable"),
        (["--model_name_or_path= "], "--model_name_or_path is empty"),
    ],
)
def test_wrong_options_are_named(argv, words):
    with pytest.raises(InputError, match=words):
        given(*argv)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.yaml", "learning_rate: [1\n", r"a\.yaml' is broken YAML: .*line 2"),
        ("a.yaml", "a: b: c\n", "broken YAML"),
        ("a.json", '{"a": 1', "a.json' is broken"),
        ("a.yml", "- 1\n", "must hold names with values .*got list"),
        ("a.yaml", "", "must hold names with values .*got NoneType"),
        ("a.yaml", "learning_rat: 1\n", "has the unknown argument 'learning_rat'"),
        ("a.yaml", "max_steps: many\n", "max_steps.*invalid int value: 'many'"),
        ("a.yaml", "train_file: ''\n", "--train_file is empty"),
    ],
)
def test_wrong_files_are_named(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words):
        given(str(tmp_path / name))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"no\.yaml' cannot be read"):
        given(str(tmp_path / "no.yaml"))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"multi_reference": "median"}, "--multi_reference is 'max' or 'mean'"),
        ({"dtype": "float8"}, "--dtype is float32"),
        ({"max_eval_samples": 0}, "--max_eval_samples must be at least 1, got 0"),
        ({"per_device_eval_batch_size": 0}, "--per_device_eval_batch_size must be at least 1, got 0"),
        ({"gradient_accumulation_steps": -1}, "--gradient_accumulation_steps must be at least 1, got -1"),
        ({"max_source_length": 0}, "--max_source_length must be at least 2, got 0"),
        ({"val_max_target_length": 1}, "--val_max_target_length must be at least 2, got 1"),
        ({"num_beams": 0}, "--num_beams must be at least 1, got 0"),
        ({"learning_rate": float("nan")}, "--learning_rate must be at least 0, got nan"),
        ({"load_best_model_at_end": True, "eval_strategy": "epoch", "save_strategy": "no"}, "(?i)load_best_model"),
        ({"eval_strategy": "sometimes"}, "sometimes"),
    ],
)
def test_values_that_do_not_go_are_refused_in_one_line(tmp_path, values, words):
    with pytest.raises(InputError, match=words) as found:
        build_arguments({"output_dir": str(tmp_path), **values})
    assert "\n" not in str(found.value)
