"""Corpus BLEU through sacrebleu, with sacrebleu's own signature and any number of references a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hf_monitor.metrics.tokenization import Tokenization

__all__ = ["CorpusBleu", "bleu_from_statistics", "corpus_bleu"]


@dataclass(frozen=True)
class CorpusBleu:
    """BLEU of a corpus.

    Parameters
    ----------
    score
        0 to 100.
    signature
        sacrebleu's, for example ``"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0"``.
    precisions
        n-gram precisions for n = 1 to 4, 0 to 100.
    brevity_penalty
        0 to 1.
    prediction_length, reference_length
        Tokens.
    statistics
        Per sample: prediction length, closest reference length, 4 matches, 4 totals. Their sums give BLEU; the
        bootstrap resamples them.
    """

    score: float
    signature: str
    precisions: tuple[float, ...]
    brevity_penalty: float
    prediction_length: int
    reference_length: int
    statistics: list[list[int]]


def corpus_bleu(
    predictions: Sequence[str], references: Sequence[Sequence[str]], tokenization: Tokenization
) -> CorpusBleu:
    """Compute sacrebleu's corpus BLEU.

    English samples go by ``13a`` to the letter, which cuts speaker marks (``# Person1 #``). Korean ones go by
    ``ko-mecab`` (or what stands in for it) with speaker marks whole: ``tok:ko-mecab-...+marks``, and without a mark
    in the texts exactly ``ko-mecab``. In a mixed set each sample is cut by its own tokenizer and all n-grams are
    counted into one corpus; the signature then reads ``tok:mixed(13a,ko-mecab-...+marks)``.

    Parameters
    ----------
    predictions
        One text per sample.
    references
        At least one text per sample; the numbers may differ between samples (sacrebleu's ``nrefs:var``).
    tokenization
        Language and tokenizers.

    Returns
    -------
    CorpusBleu
        Score, signature and the statistics behind them.
    """
    from sacrebleu.metrics.bleu import BLEU

    lines: list[str] = []
    reference_lines: list[list[str]] = []
    for prediction, texts in zip(predictions, references, strict=True):
        cut = tokenization.pick(texts)[1].bleu_line
        lines.append(cut(prediction.rstrip()))
        reference_lines.append([cut(text.rstrip()) for text in texts])
    # Tokenized above, sample by sample: sacrebleu only counts. `force` keeps it from warning about that.
    metric = BLEU(tokenize="none", force=True)
    metric.tokenizer_signature = tokenization.bleu_name
    most = max(map(len, reference_lines))
    streams = [[texts[k] if k < len(texts) else None for texts in reference_lines] for k in range(most)]
    # The two steps of BLEU.corpus_score, taken singly because the bootstrap needs what lies between them.
    statistics = metric._extract_corpus_statistics(lines, streams)  # type: ignore[arg-type]  # None: no such reference
    result = metric._aggregate_and_compute(statistics)
    return CorpusBleu(
        score=float(result.score),
        signature=str(metric.get_signature()),
        precisions=tuple(map(float, result.precisions)),
        brevity_penalty=float(result.bp),
        prediction_length=int(result.sys_len),
        reference_length=int(result.ref_len),
        statistics=statistics,
    )


def bleu_from_statistics(statistics: Sequence[int]) -> float:
    """Compute BLEU from summed statistics.

    Parameters
    ----------
    statistics
        The ten columns of `CorpusBleu.statistics`, summed over samples.

    Returns
    -------
    float
        0 to 100.
    """
    from sacrebleu.metrics.bleu import BLEU

    lengths, correct, total = statistics[:2], list(statistics[2:6]), list(statistics[6:10])
    score = BLEU.compute_bleu(correct, total, int(lengths[0]), int(lengths[1]), smooth_method="exp")
    return float(score.score)
