"""Scenes of trainings that never were."""

import math
import random

from hf_monitor.notebook.scene import Bar, Sample, Scene
from hf_monitor.report.watch.state import State

BEGAN = 1_790_000_000.0
KO = "민수는 목요일에 기차를 타고 부산에 가서 모자를 샀다. "
EN = "#Person1# asks #Person2# to buy a red hat on Thursday. "


def trained(n_logs=400, evaluations=20, alerts=2, broken=()):
    """Give the state of a training on one card; at the steps `broken` the loss was NaN."""
    chance, state = random.Random(0), State()
    state.feed([row("event", 0, event="train_begin", max_steps=2 * n_logs, epochs=3)])
    every = max(n_logs // evaluations, 1)
    for step in range(1, n_logs + 1):
        loss = 1 + 4 * math.exp(-3 * step / n_logs) + chance.gauss(0, 0.15)
        loss = math.nan if step in broken else loss
        state.feed([row("train", step, loss=loss, learning_rate=5e-5 * (1 - step / n_logs / 2), grad_norm=1.5)])
        if step % every == 0:
            rouge = 40 * (1 - math.exp(-3 * step / n_logs)) + chance.gauss(0, 1)
            scores = {"eval_rouge1": rouge + 8, "eval_rougeL": rouge, "eval_rougeLsum": rouge, "eval_bleu": rouge / 2}
            state.feed([row("eval", step, eval_loss=loss + 0.3, eval_gen_len=12.5, **scores)])
    for place in range(alerts):
        severity = ("warning", "error", "info")[place % 3]
        sentence = f"Overfitting since step 52: the validation loss was lowest at step {52 + place}, and is 4.904 now."
        tries = ["load_best_model_at_end=True", "EarlyStoppingCallback(early_stopping_patience=3)"]
        rule = f"rule_{place % 17}"
        step = n_logs * (place + 1) // (alerts + 1)
        state.feed([row("alert", step, rule=rule, severity=severity, sentence=sentence, suggestions=tries)])
    state.feed([row("timing", n_logs, samples_per_second=123.4, tokens_per_second=45_678.9, data_wait_share=0.31)])
    state.feed_samples(
        [
            {
                "kind": "event",
                "event": "sampler_begin",
                "gpus": [{"gpu": 0, "memory_total_mib": 81_559, "name": "H100"}],
            },
            {
                **{"kind": "gpu", "attempt": 1, "gpu": 0, "time": BEGAN + 5, "step": n_logs, "utilization_percent": 97},
                **{"memory_used_mib": 61_234, "temperature_c": 61, "power_w": 412},
            },
        ]
    )
    return state


def row(kind, step, **values):
    return {"time": BEGAN + step, "attempt": 1, "step": step, "kind": kind, **values}


def scene(state=None, status="running", length=200, **more):
    state = trained() if state is None else state
    now = BEGAN + 200
    samples = [
        Sample("3", f"{EN * 2}Then she goes home."[:length], ((EN * 9)[:length], "another"), EN * 10, "rougeL 41.2"),
        Sample(
            "7",
            (KO.replace("목요일에", "목요일부터") * 90)[:length],
            ((KO * 90)[:length],),
            (KO * 90)[:3000],
            "rougeL 12",
        ),
        Sample("8", "", ("ثلاثة رجال ואחת",), "قال الرجل مرحبا"),
    ]
    given = {
        "bars": [
            Bar("training", 400, 800, "epoch 1.50 of 3, about 3 min left"),
            Bar("evaluation", 12, None, "eval_ko"),
        ],
        "samples": samples,
        "messages": ["14:03:11 epoch 1 done", "14:03:22 한국어 메시지"],
        "links": [("report", "outputs/demo/monitor/report.html"), ("folder", "/tmp/outputs/demo")],
        "notes": ["Recorded in outputs/demo/monitor."],
    }
    return Scene("t5-small-dialogue", status, BEGAN, now, state, **{**given, **more})
