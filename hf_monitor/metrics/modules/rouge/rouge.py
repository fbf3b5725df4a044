"""ROUGE as an `evaluate` module: the scores of ``hf_monitor.metrics.score_texts``, right in Korean, no network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import evaluate

from hf_monitor.metrics import evaluate_module
from hf_monitor.metrics.scoring import score_texts

_DESCRIPTION = """\
ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum F1 as exact means over samples, 0 to 100 (not 0 to 1). English equals
rouge_score with stemming; Korean is cut into morphemes. `score` is the mean of rouge1, rouge2 and rougeL.
"""

_CITATION = """\
@inproceedings{lin-2004-rouge,
    title = "{ROUGE}: A Package for Automatic Evaluation of Summaries",
    author = "Lin, Chin-Yew",
    booktitle = "Text Summarization Branches Out",
    year = "2004",
}
"""

_INPUTS = """
Args:
    predictions: list of texts.
    references: list of texts, or list of lists of texts.
    with_signature: also return how the values were computed, under "signature" (str).
    language, korean_tokenizer, multi_reference, stem, split_sentences: see hf_monitor.metrics.score_texts.
Returns:
    rouge1, rouge2, rougeL, rougeLsum, score: float, 0 to 100.
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class Rouge(evaluate_module.TextModule):
    """ROUGE in English and Korean."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=evaluate_module.text_features(),
            reference_urls=["https://aclanthology.org/W04-1013/"],
        )

    def _compute(
        self, predictions: Sequence[Any], references: Sequence[Any], with_signature: bool = False, **options: Any
    ) -> dict[str, Any]:
        scores = score_texts(predictions, references, **options)
        values: dict[str, Any] = {key: value for key, value in scores.items() if key != "bleu"}
        return {**values, "signature": str(scores.signature)} if with_signature else values
