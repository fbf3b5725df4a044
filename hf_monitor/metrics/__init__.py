"""Texts -> scores: ROUGE and BLEU, right in Korean and in English, with no network.

``score_texts`` scores lists of texts, ``TextMetrics`` is a Trainer's ``compute_metrics``, and ``module_path`` says
where the ``evaluate`` modules lie in the installed package.
"""

from hf_monitor._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "EvaluationTexts": "hf_monitor.metrics.evaluation_texts",
        "TextMetrics": "hf_monitor.metrics.text_metrics",
        "TextScores": "hf_monitor.metrics.scoring",
        "module_path": "hf_monitor.metrics.modules",
        "score_texts": "hf_monitor.metrics.scoring",
    },
)
