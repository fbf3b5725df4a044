"""The evaluate modules load from the package with no network and an empty cache, also in two processes at once."""

import json
import subprocess
import sys
import textwrap

import pytest
import untraced

from hf_monitor.errors import InputError
from hf_monitor.metrics import module_path, score_texts

PREDICTIONS = ["the cat sat on the mat.", "철수는 오늘 학교에 갔다.", None, "a b"]
REFERENCES = [["the cat sat down on a mat.", "a cat"], ["영희는 오늘 집에 갔다.", None], ["x"], ["a b", "c"]]

SCRIPT = """
    import json, socket, sys
    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked for")
    socket.socket.connect = refuse
    socket.getaddrinfo = refuse
    import evaluate
    from hf_monitor.errors import InputError
    from hf_monitor.metrics import module_path
    predictions, references = json.loads(sys.argv[1])
    rouge = evaluate.load(module_path("rouge"))
    bleu = evaluate.load(module_path("bleu"))
    refused = []
    for p, r in (([], []), (["a", "b"], ["a", ["b", "c"]]), (["a"], ["a", "b"])):
        try:
            evaluate.load(module_path("rouge")).compute(predictions=p, references=r)
        except ValueError as error:
            refused.append(str(error))
    several = evaluate.load(module_path("rouge"))
    several.add_batch(predictions=["a b"], references=["a b"])
    several.add_batch(predictions=["c"], references=["d"])
    print(json.dumps({
        "rouge": rouge.compute(predictions=predictions, references=references, multi_reference="mean"),
        "bleu": bleu.compute(predictions=predictions, references=references, with_signature=True),
        "plain": several.compute(),
        "refused": refused,
    }))
"""


def test_two_processes_offline_in_an_empty_cache(tmp_path):
    environment = {
        **untraced.ENVIRONMENT,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": "1",
        "HF_EVALUATE_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
    }
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), json.dumps([PREDICTIONS, REFERENCES])]
    both = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    expected = score_texts(PREDICTIONS, REFERENCES, multi_reference="mean")
    for text, _ in outputs:
        result = json.loads(text.splitlines()[-1])
        assert result["rouge"] == pytest.approx({key: expected[key] for key in expected if key != "bleu"}, abs=1e-9)
        assert result["bleu"]["bleu"] == pytest.approx(expected["bleu"], abs=1e-9)
        assert result["bleu"]["signature"] == expected.signature["bleu"]
        assert result["plain"]["rouge1"] == 50.0
        nothing, mixture, unequal = result["refused"]
        assert "nothing to score" in nothing
        assert "list of texts for every sample" in mixture
        assert "Mismatch" in unequal


def test_unknown_module():
    with pytest.raises(InputError, match="bleu, rouge"):
        module_path("meteor")


def test_the_room_is_imported_lazily():
    heavy = ["torch", "numpy", "sacrebleu", "nltk", "evaluate"]
    script = f"import sys, hf_monitor.metrics; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
