"""What differs between runs, cause by cause: what follows from another difference is no row of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hf_monitor.gpu.report_text import one_line
from hf_monitor.report.compared_facts import Absent, absent_value, area_of, canonical
from hf_monitor.report.run_labels import labels, of_each_word
from hf_monitor.run.rows import plain

__all__ = ["SEEDS", "Difference", "find_differences", "seeds_of", "shown"]

#: Differences that a repetition is made of: runs that differ by nothing else form a group.
SEEDS = frozenset({"arguments.seed", "arguments.data_seed", "seed", "fold"})
#: What cannot change what a model learns: it is listed, and does not part runs into groups.
_BESIDE = re.compile(
    r"arguments\.(log(ging)?_.*|disable_tqdm|report_to|project|trackio_.*|save_total_limit|save_on_each_node"
    r"|dataloader_(num_workers|pin_memory|persistent_workers|prefetch_factor)|push_to_hub|hub_.*|ddp_timeout"
    r"|skip_memory_metrics|include_num_input_tokens_seen|do_predict|debug)"
    r"|alerts(\..*)?|python|platform|cpu_count|memory_total_mib|devices\.(device|gpus|threads)|text_metrics(\..*)?"
    r"|packages\.(hf-monitor|matplotlib|nvidia-ml-py|wandb|rouge-score|sacrebleu|evaluate|mecab-ko)"
)
#: They change nothing where the data themselves are known to be the same.
_FILES = re.compile(r"command\.--(train|validation|eval|test|data\w*)_(file|dir|path|folder)")
_BATCH = (
    r"arguments\.(per_device_train_batch_size|gradient_accumulation_steps|auto_find_batch_size)|devices\.world_size"
)
_MODEL = r"model\.(class|name_or_path|config\..*)"
#: (what follows, from what): it is listed only where nothing that it may follow from differs.
_FOLLOWS = [
    (r"model\.config\..*", r"model\.class"),
    (r"optimizer\.learning_rates", r"arguments\.(learning_rate|optim.*)|optimizer\.class"),
    (r"optimizer\.class", r"arguments\.optim.*"),
    (r"train_batch_size_total", _BATCH),
    (r"max_steps", rf"arguments\.(max_steps|num_train_epochs|dataloader_drop_last)|data\.train|{_BATCH}"),
    (r"mixed_precision", r"arguments\.(bf16|fp16)"),
    (r"precision", r"arguments\.(bf16|fp16)|mixed_precision|model\.dtype"),
    (r"model\.dtype", rf"{_MODEL}"),
    (r"model\.(n_parameters|n_trainable)", rf"{_MODEL}|model\.trained"),
    (r"model\.trained", rf"{_MODEL}"),
    (r"loss_scaling(\..*)?", rf"{_MODEL}|{_BATCH}|arguments\.label_smoothing_factor"),
    (r"eval_loss_scaling(\..*)?", rf"{_MODEL}|devices\.world_size|arguments\.(label_smoothing|predict_with|average).*"),
    (r"command\.--.*(file|data|corpus).*", r"data\..*"),
    (r"devices\.cuda", r"packages\.torch"),
    (r"devices\.device", r"devices\.(gpus|cuda)|arguments\.use_cpu"),
    (r"seed", r"arguments\.seed"),
]
_NO_DATA_KEY = ("fingerprint_error",)
_FOLLOWERS = 3  # named


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same in all runs.

    Attributes
    ----------
    name : str
        ``"arguments.learning_rate"``, ``"git.commit"``, ``"data.train"`` ...
    area : str
        ``"configuration"``, ``"environment"``, ``"data"``, ``"devices"`` or ``"scores"``.
    values : list
        One a run, in the order of the runs.
    matters : bool
        Whether it may change what a model learns.
    follows : list of str
        What else differs because of it.
    label : bool
        Whether it only names the runs (``--run_tag``): it parts no groups.
    """

    name: str
    area: str
    values: list[Any]
    matters: bool = True
    follows: list[str] = field(default_factory=list)
    label: bool = False

    @property
    def parts(self) -> bool:
        """Whether runs that differ by it are no repetitions of one setting."""
        return self.matters and not self.label and self.name not in SEEDS

    @property
    def beside(self) -> str:
        """Words for what counts less than the rest; empty otherwise."""
        return "names the runs only" if self.label else "" if self.matters else "changes nothing that is learnt"

    @property
    def short(self) -> str:
        """The name without the part that says where it stands in ``run.json``."""
        return self.name.removeprefix("arguments.").removeprefix("command.").removeprefix("arguments.")

    @property
    def followers(self) -> str:
        """What follows from it, a few of many."""
        more = f" and {len(self.follows) - _FOLLOWERS} more" if len(self.follows) > _FOLLOWERS else ""
        return ", ".join(self.follows[:_FOLLOWERS]) + more

    @property
    def by_value(self) -> list[tuple[str, list[int]]]:
        """Each value as text, and the places of the runs that have it; numbers ascend, others come as they do."""
        found: dict[str, tuple[str, list[int]]] = {}
        places = list(range(len(self.values)))
        if all(isinstance(value, int | float) and value == value for value in self.values):
            places.sort(key=self.values.__getitem__)
        for place, value in ((place, self.values[place]) for place in places):
            found.setdefault(canonical(value), (shown(value), []))[1].append(place)
        return list(found.values())

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain data."""
        values = [str(value) if isinstance(value, Absent) else plain(value) for value in self.values]
        head = {"name": self.name, "area": self.area, "values": values}
        return {**head, "matters": self.matters, "follows": self.follows, "label": self.label}


def shown(value: Any, longest: int = 120) -> str:
    """Write a value on one line."""
    if isinstance(value, Mapping) and ("fingerprint" in value or "n_samples" in value or "class" in value):
        samples = value.get("n_samples")
        parts = [str(value["fingerprint"])] if value.get("fingerprint") else []
        parts += [f"{samples:,} samples" if isinstance(samples, int) else f"{samples} samples"] if samples else []
        parts += [f"{key} {inner}" for key, inner in value.items() if key not in ("fingerprint", "n_samples")]
        return one_line(", ".join(parts), longest)
    if isinstance(value, list):
        return one_line(", ".join(map(str, value)) if value else "[]", longest)
    if value is None:
        return "None"
    return one_line(value if not isinstance(value, float) else f"{value:.10g}", longest) or '""'


def find_differences(facts: Sequence[Mapping[str, Any]]) -> tuple[list[Difference], dict[str, list[int]]]:
    """Find what differs, and what is not recorded.

    Parameters
    ----------
    facts : sequence of mapping
        Of :func:`flat_facts`, one a run.

    Returns
    -------
    list of Difference
        By area, configuration first.
    dict of str to list of int
        Names that some runs do not record, and the places of these runs.
    """
    names = list(dict.fromkeys(name for one in facts for name in one))
    columns: dict[str, list[Any]] = {}
    missing: dict[str, list[int]] = {}
    for name in names:
        column = [one[name] if name in one else absent_value(name, one) for one in facts]
        if lacking := [place for place, value in enumerate(column) if value is Absent.NOT_RECORDED]:
            missing[name] = lacking
        if len({canonical(value) for value in column if value is not Absent.NOT_RECORDED}) > 1:
            columns[name] = _only_what_differs(column) if area_of(name) == "data" and name != "fold" else column
    columns = of_each_word(_once_a_signature(columns))
    follows = _followers(columns)
    causes: dict[str, list[str]] = {}
    for name, cause in follows.items():
        while cause in follows:
            cause = follows[cause]
        causes.setdefault(cause, []).append(name)
    areas = ["configuration", "environment", "data", "devices", "scores"]
    beside = [_BESIDE, _FILES] if all(map(_knows_its_data, facts)) else [_BESIDE]
    matters = {name: not any(pattern.fullmatch(name) for pattern in beside) for name in columns if name not in follows}
    parting = [name for name, does in matters.items() if does and name not in SEEDS]
    names_only = labels(columns, parting, seeds_of(facts))
    rows = [
        Difference(name, area_of(name), columns[name], does, causes.get(name, []), name in names_only)
        for name, does in matters.items()
    ]
    return sorted(rows, key=lambda row: (areas.index(row.area), not row.matters)), missing


def _knows_its_data(facts: Mapping[str, Any]) -> bool:
    data = [value for name, value in facts.items() if name.startswith("data.")]
    return bool(data) and all(isinstance(value, Mapping) and value.get("fingerprint") for value in data)


def seeds_of(facts: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...] | None]:
    """Give what repetitions differ by, one a run: its seeds and fold; None of a run without a seed on record."""
    return [
        None
        if one.get("arguments.seed", one.get("seed")) is None
        else tuple(canonical(one.get(name, Absent.NOT_RECORDED)) for name in sorted(SEEDS))
        for one in facts
    ]


def _only_what_differs(column: list[Any]) -> list[Any]:
    """Leave of the descriptions of a data set what differs; fingerprint and size stay."""
    told = [value for value in column if isinstance(value, Mapping)]
    keys = list(dict.fromkeys(key for value in told for key in value if key not in _NO_DATA_KEY))
    kept = {"fingerprint", "n_samples"} & set(keys)
    kept |= {key for key in keys if len({canonical(value.get(key)) for value in told}) > 1}
    order = ("fingerprint", "n_samples")
    ordered = [key for key in order if key in kept] + [key for key in keys if key in kept and key not in order]
    return [
        {key: value[key] for key in ordered if key in value}
        if isinstance(value, Mapping)
        else (Absent.NONE if value is None else value)
        for value in column
    ]


def _once_a_signature(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Say of scores that are computed in another way for every evaluation alike only once what is other."""
    kept: dict[str, list[Any]] = {}
    said: set[tuple[str, str]] = set()
    for name, column in columns.items():
        if name.startswith("text_metrics."):
            seen = (name.split(".", 2)[-1], canonical(column))
            if seen in said:
                continue
            said.add(seen)
        kept[name] = column
    return kept


def _followers(columns: Mapping[str, list[Any]]) -> dict[str, str]:
    """Give what follows from another difference, and from which."""
    found: dict[str, str] = {}
    texts = {name: [_as_text(value) for value in column] for name, column in columns.items()}
    for name in columns:
        for effect, cause in _FOLLOWS:
            if re.fullmatch(effect, name):
                source = next((one for one in columns if one != name and re.fullmatch(cause, one)), None)
                if source is not None:
                    found[name] = source
                break
        if name.startswith(("command.--", "command.arguments")):  # --lr 0.1 says the same as arguments.learning_rate
            same = [one for one in columns if not one.startswith("command.") and texts[one] == texts[name]]
            if same:
                found[name] = same[0]
        if name.startswith("data.") and "fold" in columns and _decides(columns["fold"], columns[name]):
            found[name] = "fold"
    return found


def _as_text(value: Any) -> str:
    try:
        return repr(float(value))
    except (TypeError, ValueError, OverflowError):
        return str(value)


def _decides(first: list[Any], second: list[Any]) -> bool:
    """Tell whether runs that have the same value in one column have the same in the other."""
    if any(isinstance(value, Absent) for value in first):
        return False
    pairs = {(canonical(a), canonical(b)) for a, b in zip(first, second, strict=True)}
    return len(pairs) == len({a for a, _ in pairs})
