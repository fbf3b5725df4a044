"""``score_texts``: predictions and references -> ROUGE and BLEU with their signature."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hf_monitor.errors import InputError
from hf_monitor.metrics.bleu import corpus_bleu
from hf_monitor.metrics.bootstrap import percentile_intervals
from hf_monitor.metrics.extra import ExtraMetrics, run_extra
from hf_monitor.metrics.rouge import ROUGE_KEYS, rouge_multi, tokenize_text
from hf_monitor.metrics.signature import Signature, make_signature
from hf_monitor.metrics.texts import clean_predictions, clean_references
from hf_monitor.metrics.tokenization import Tokenization, check_choices, resolve_tokenization

__all__ = ["SCORE_KEYS", "ScoreOptions", "TextScores", "means_by_language", "score_samples", "score_texts"]

#: What `score_texts` always yields.
SCORE_KEYS = (*ROUGE_KEYS, "bleu", "score")

_shown: set[str] = set()


@dataclass(frozen=True)
class TextScores(Mapping[str, float]):
    """Scores of a set of texts: a mapping of names to values from 0 to 100, and what stands behind them.

    Parameters
    ----------
    values_by_name
        ``rouge1``, ``rouge2``, ``rougeL``, ``rougeLsum``, ``bleu``, ``score`` (mean of the first three), and what
        ``extra`` added.
    signature
        How they were computed; ``str(signature)`` is one line.
    per_sample
        Per sample the ROUGE values and ``score``, 0 to 100. Their means are the values above (BLEU has no such parts).
    languages
        Per sample the language by which it was tokenized, ``"en"`` or ``"ko"``.
    counts
        What was odd: empty and missing texts, cut characters ... Only what occurred; ``samples`` is always there.
    intervals
        Name -> (low, high); empty unless ``confidence`` was given.
    """

    values_by_name: dict[str, float]
    signature: Signature
    per_sample: list[dict[str, float]]
    languages: list[str]
    counts: dict[str, int]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def by_language(self) -> dict[str, dict[str, float]]:
        """ROUGE and ``score`` of the samples of each language; empty unless there are several languages."""
        return means_by_language(self.per_sample, self.languages)

    def __getitem__(self, key: str) -> float:
        return self.values_by_name[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_name)

    def __len__(self) -> int:
        return len(self.values_by_name)

    def __repr__(self) -> str:
        values = ", ".join(f"{key}={value:.2f}" for key, value in self.items())
        return f"TextScores({values}; {self.counts.get('samples', 0)} samples)"


def means_by_language(per_sample: list[dict[str, float]], languages: list[str]) -> dict[str, dict[str, float]]:
    """Average the scores of the samples of each language: one mean hides a language that is not learned.

    Parameters
    ----------
    per_sample
        Scores of each sample.
    languages
        Language of each sample.

    Returns
    -------
    dict of str to dict of str to float
        ``{"en": {"rouge1": ..., "score": ...}, "ko": {...}}``; empty unless there are several languages.
    """
    rows: dict[str, list[dict[str, float]]] = {language: [] for language in sorted(set(languages))}
    for language, row in zip(languages, per_sample, strict=True):
        rows[language].append(row)
    if len(rows) < 2:
        return {}
    return {
        language: {key: sum(row[key] for row in own) / len(own) for key in own[0]} for language, own in rows.items()
    }


@dataclass(frozen=True)
class ScoreOptions:
    """The choices behind a score, checked when made.

    Parameters
    ----------
    language, korean_tokenizer, multi_reference, stem, split_sentences, confidence, resamples, seed
        See `score_texts`.

    Raises
    ------
    InputError
        If a choice is unknown or out of range.
    MissingPackageError
        If ``korean_tokenizer="kiwi"`` is asked for and kiwipiepy is not installed.
    """

    language: str = "auto"
    korean_tokenizer: str = "mecab"
    multi_reference: str = "max"
    stem: bool = True
    split_sentences: bool = False
    confidence: float | None = None
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        check_choices(self.language, self.korean_tokenizer)
        if self.multi_reference not in {"max", "mean"}:
            raise InputError(f"multi_reference={self.multi_reference!r} is unknown; choose 'max' or 'mean'.")
        if self.confidence is not None and not 0 < self.confidence < 1:
            raise InputError(f"confidence={self.confidence!r} must lie between 0 and 1, for example 0.95.")
        if self.resamples < 1:
            raise InputError(f"resamples={self.resamples!r} must be at least 1.")


def score_texts(
    predictions: Sequence[str | None],
    references: Sequence[str | None] | Sequence[Sequence[str | None]],
    *,
    language: str = "auto",
    korean_tokenizer: str = "mecab",
    multi_reference: str = "max",
    stem: bool = True,
    split_sentences: bool = False,
    confidence: float | None = None,
    resamples: int = 1000,
    seed: int = 0,
    extra: ExtraMetrics | None = None,
) -> TextScores:
    """Score predictions against references with ROUGE and BLEU; no network, exact means, right in Korean.

    Parameters
    ----------
    predictions
        One text per sample; None counts as empty.
    references
        Per sample one text or a list of texts (their number may differ).
    language
        ``"auto"`` judges from the references: ``"en"``, ``"ko"``, or ``"mixed"`` (each sample by its own references, so
        that English samples score as with rouge_score and Korean ones by morphemes). Or one of these three.
    korean_tokenizer
        ``"mecab"`` (extra ``korean``; without it single characters, with a warning and another signature), ``"kiwi"``,
        or ``"character"``.
    multi_reference
        ``"max"``: per sample and metric the best reference (rouge_score's ``score_multi``); ``"mean"``: their mean.
        BLEU always takes all references at once.
    stem
        Porter stemming for English.
    split_sentences
        For ROUGE-Lsum only. False: the sentences of a text are its lines, exactly as in rouge_score and ``evaluate``.
        True: lines are cut at ``. ! ?`` too, as Hugging Face's summarization example prepares its texts.
    confidence
        For example 0.95: percentile bootstrap intervals over samples in ``.intervals``.
    resamples, seed
        For the bootstrap.
    extra
        Metrics of your own: name -> function, or one function that returns a dict. Each is called with the predictions
        (list of str) and the references (list of lists of str).

    Returns
    -------
    TextScores
        Mapping with ``rouge1``, ``rouge2``, ``rougeL``, ``rougeLsum``, ``bleu`` and ``score``, 0 to 100.

    Raises
    ------
    InputError
        If lengths differ, there is no sample, or an argument is unknown.
    MissingPackageError
        If ``korean_tokenizer="kiwi"`` is needed and not installed.

    Examples
    --------
    >>> score_texts(["the cat sat"], ["the cat sat down"])["rouge1"]
    85.71428571428571
    """
    options = ScoreOptions(
        language, korean_tokenizer, multi_reference, stem, split_sentences, confidence, resamples, seed
    )
    counts: Counter[str] = Counter()
    texts = clean_predictions(predictions, counts)
    reference_lists = clean_references(references, counts)
    check_lengths(len(texts), len(reference_lists))
    tokenization, notes = resolve_tokenization(reference_lists, language=language, korean=korean_tokenizer, stem=stem)
    scores, more_notes = score_samples(texts, reference_lists, tokenization, options, counts)
    for note in (*notes, *more_notes):
        if note not in _shown:  # once a process: in a loop over files the second warning only hides the first
            _shown.add(note)
            warnings.warn(note, UserWarning, stacklevel=2)
    if extra is not None:
        run_extra(extra, texts, reference_lists, scores.values_by_name)
    return scores


def check_lengths(n_predictions: int, n_references: int) -> None:
    """Refuse what would be scored wrongly without a word.

    Parameters
    ----------
    n_predictions, n_references
        Numbers of samples.

    Raises
    ------
    InputError
        If the numbers differ or are 0.
    """
    if n_predictions != n_references:
        raise InputError(
            f"There are {n_predictions} predictions but references for {n_references} samples; they must be equally "
            "many and in the same order."
        )
    if not n_predictions:
        raise InputError("There is nothing to score: predictions and references are empty.")


def score_samples(
    predictions: list[str],
    references: list[list[str]],
    tokenization: Tokenization,
    options: ScoreOptions,
    counts: Counter[str],
) -> tuple[TextScores, list[str]]:
    """Score cleaned texts by tokenizers that are already decided.

    Parameters
    ----------
    predictions
        One text per sample.
    references
        At least one text per sample.
    tokenization
        Language and tokenizers.
    options
        The other choices.
    counts
        What was counted while cleaning; taken over into the result.

    Returns
    -------
    tuple of TextScores and list of str
        The scores, and warnings to show to the user.
    """
    per_sample: list[dict[str, float]] = []
    languages: list[str] = []
    blind = 0
    for prediction, texts in zip(predictions, references, strict=True):
        language, tokenizer = tokenization.pick(texts)
        languages.append(language)
        cut = tokenizer.rouge_tokens
        tokenized = [tokenize_text(text, cut, split=options.split_sentences) for text in texts]
        blind += any(not one.tokens and any(map(str.isalpha, text)) for one, text in zip(tokenized, texts, strict=True))
        f1 = rouge_multi(
            tokenized, tokenize_text(prediction, cut, split=options.split_sentences), options.multi_reference
        )
        row = {key: 100.0 * value for key, value in zip(ROUGE_KEYS, f1, strict=True)}
        row["score"] = (row["rouge1"] + row["rouge2"] + row["rougeL"]) / 3
        per_sample.append(row)
    bleu = corpus_bleu(predictions, references, tokenization)
    values = {key: sum(row[key] for row in per_sample) / len(per_sample) for key in ROUGE_KEYS}
    values["bleu"] = bleu.score
    values["score"] = (values["rouge1"] + values["rouge2"] + values["rougeL"]) / 3
    notes: list[str] = []
    if blind:
        counts["references_without_tokens"] += blind
        notes.append(
            f"There are references in which the tokenizer for language={tokenization.language!r} finds not one word "
            "(rouge_score's sees a-z and 0-9 only); they score 0 and are counted as references_without_tokens. "
            + (
                "A sample with one reference in each language is taken for English or Korean as a whole; language='ko' "
                "reads both."
                if tokenization.language == "mixed"
                else "Give language='mixed' or 'ko' if they are Korean."
            )
        )
    intervals, words = {}, None
    if options.confidence is not None:
        intervals = percentile_intervals(
            per_sample, bleu.statistics, options.confidence, resamples=options.resamples, seed=options.seed
        )
        words = f"{options.confidence:g}, percentile bootstrap, {options.resamples} resamples, seed {options.seed}"
    signature = make_signature(
        tokenization,
        references,
        multi_reference=options.multi_reference,
        split_sentences=options.split_sentences,
        bleu=bleu.signature,
        intervals=words,
    )
    occurred: dict[str, int] = {"samples": len(predictions), **{key: n for key, n in counts.items() if n}}
    return TextScores(values, signature, per_sample, languages, occurred, intervals), notes
