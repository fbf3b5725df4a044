"""BLEU as an `evaluate` module: the scores of ``hf_monitor.metrics.score_texts``, right in Korean, no network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import evaluate

from hf_monitor.metrics import evaluate_module
from hf_monitor.metrics.scoring import score_texts

_DESCRIPTION = """\
Corpus BLEU by sacrebleu, 0 to 100 (not 0 to 1). English texts go by its tokenizer 13a, Korean ones by ko-mecab; samples
may have different numbers of references.
"""

_CITATION = """\
@inproceedings{post-2018-call,
    title = "A Call for Clarity in Reporting {BLEU} Scores",
    author = "Post, Matt",
    booktitle = "Proceedings of the Third Conference on Machine Translation",
    year = "2018",
}
"""

_INPUTS = """
Args:
    predictions: list of texts.
    references: list of texts, or list of lists of texts.
    with_signature: also return sacrebleu's signature, under "signature" (str).
    language, korean_tokenizer: see hf_monitor.metrics.score_texts.
Returns:
    bleu: float, 0 to 100.
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class Bleu(evaluate_module.TextModule):
    """BLEU in English and Korean."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=evaluate_module.text_features(),
            reference_urls=["https://aclanthology.org/W18-6319/"],
        )

    def _compute(
        self, predictions: Sequence[Any], references: Sequence[Any], with_signature: bool = False, **options: Any
    ) -> dict[str, Any]:
        scores = score_texts(predictions, references, **options)
        values: dict[str, Any] = {"bleu": scores["bleu"]}
        return {**values, "signature": scores.signature["bleu"]} if with_signature else values
