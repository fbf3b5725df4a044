"""``TextMetrics``: a Trainer's ``compute_metrics`` that yields ROUGE, BLEU and the texts behind them."""

from __future__ import annotations

import logging
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hf_monitor.errors import InputError
from hf_monitor.metrics.decoding import Ending, TokenDecoder
from hf_monitor.metrics.evaluation_state import DecodedSoFar, Inputs, Link, error_words, world_size
from hf_monitor.metrics.evaluation_texts import EvaluationTexts, sample_indices
from hf_monitor.metrics.extra import ExtraMetrics, check_extra, run_extra
from hf_monitor.metrics.language import judge_language
from hf_monitor.metrics.rouge import ROUGE_KEYS
from hf_monitor.metrics.scoring import ScoreOptions, check_lengths, score_samples
from hf_monitor.metrics.signature import Signature
from hf_monitor.metrics.text_statistics import text_statistics
from hf_monitor.metrics.texts import clean_predictions, clean_references
from hf_monitor.metrics.tokenization import Tokenization, resolve_tokenization

__all__ = ["TextMetrics"]

_log = logging.getLogger(__name__)
_NUMBERS = re.compile(r"\d+")

References = Sequence[Any] | Mapping[str, Sequence[Any]]


class TextMetrics:
    """Score generated texts in ``compute_metrics``, with the keys of Hugging Face's summarization example.

    Yields ``rouge1``, ``rouge2``, ``rougeL``, ``rougeLsum``, ``bleu`` (0 to 100), ``gen_len`` (mean number of generated
    tokens that are not padding) and ``score`` (mean of rouge1, rouge2 and rougeL). Takes what the Trainer really hands
    over: -100 in predictions and labels, tuples, lists of batches (``eval_do_concat_batches=False``), tensors batch by
    batch (``batch_eval_metrics=True``).

    Language and tokenizer are judged at the first evaluation of each evaluation set (by the name given to
    `begin_evaluation`) and then stay for the life of the object; a set that turns out otherwise is reported.

    Parameters
    ----------
    tokenizer
        The tokenizer that made the labels (or a processor that has one).
    language, korean_tokenizer, multi_reference, stem, confidence
        See `score_texts`, which gives the same values for the same texts.
    split_sentences
        For ROUGE-Lsum only. False: the sentences of a text are its lines, exactly as in rouge_score. True: as Hugging
        Face's summarization example prepares its texts, with each sentence on a line of its own. The signature says
        which.
    references
        Texts that replace the decoded labels (which are cut at ``max_target_length``, and are one per sample): a
        mapping of evaluation names (``"eval"``, ``"eval_korean"`` or ``"korean"``, ``"test"``) to sequences, or a bare
        sequence, which belongs to the first evaluation set and to no other. Per sample one text or several.
    references_column
        Column of an evaluation's data set that replaces the labels where it holds texts, one or a list of them a
        sample (read by `TextMetricsCallback`), unless `references` are given. None: no column does.
    max_predictions
        Write down at most so many predictions per evaluation, the same seeded sample each time. None: all.
    seed
        For that sample and for the intervals.
    extra
        Metrics of your own, see `score_texts`.

    Raises
    ------
    InputError
        If an argument is unknown or the tokenizer cannot decode.

    Examples
    --------
    >>> trainer = Seq2SeqTrainer(..., compute_metrics=TextMetrics(tokenizer))  # doctest: +SKIP
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        language: str = "auto",
        korean_tokenizer: str = "mecab",
        multi_reference: str = "max",
        stem: bool = True,
        split_sentences: bool = False,
        references: References | None = None,
        references_column: str | None = "references",
        max_predictions: int | None = None,
        seed: int = 0,
        extra: ExtraMetrics | None = None,
        confidence: float | None = None,
    ) -> None:
        self._decoder = TokenDecoder(tokenizer)
        self._options = ScoreOptions(
            language, korean_tokenizer, multi_reference, stem, split_sentences, confidence, seed=seed
        )
        check_extra(extra)
        if isinstance(references, str) or not (references is None or hasattr(references, "__len__")):
            raise InputError(
                f"references must be a sequence or a mapping of names to sequences, not {type(references).__name__}."
            )
        if max_predictions is not None and max_predictions < 0:
            raise InputError(f"max_predictions={max_predictions} must be 0 or more, or None for all.")
        self._extra = extra
        self._references = references
        self._references_of: str | None = None  # the evaluation that a bare sequence belongs to
        self.references_column = references_column if references is None else None
        self._max_predictions = max_predictions
        self._tokenizations: dict[str, Tokenization] = {}
        self._said: set[str] = set()
        self._link: Link | None = None
        self._texts: DecodedSoFar | None = None
        self._broken = False
        #: Texts and scores of the last complete evaluation; None before it, and from `begin_evaluation` to its end.
        self.last: EvaluationTexts | None = None
        #: How the last scores were computed; None before the first evaluation.
        self.signature: Signature | None = None
        self._keys: tuple[str, ...] = (*ROUGE_KEYS, "bleu", "gen_len", "score")
        if isinstance(extra, Mapping):
            self._keys += tuple(extra)

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the metrics: as promised before the first evaluation, as returned after it."""
        return self._keys

    def begin_evaluation(
        self,
        *,
        n_samples: int | None,
        inputs: Inputs | None = None,
        references: Sequence[Any] | None = None,
        references_from: str = "given texts",
        name: str = "",
        ending: Ending | None = None,
        on_problem: Callable[[str], None] | None = None,
    ) -> None:
        """Tell what is known about the evaluation that comes next; valid for that one only.

        Parameters
        ----------
        n_samples
            Length of the data set. Predictions beyond it are duplicates that the ranks add at the end, and are cut.
            None if unknown.
        inputs
            Index -> input text, for predictions.jsonl.
        references
            Per sample one text or several; replaces the decoded labels.
        references_from
            Where they come from, for the signature.
        name
            Name of the evaluation set; language and tokenizer are decided once per name.
        ending
            How the model ends a text, so that those cut at the length limit can be told; None: with the tokenizer's end
            token.
        on_problem
            Given inside a training: a problem is told to it (each once) and the text scores are left out. None:
            problems raise.
        """
        self.reset()
        self.last = None
        self._link = Link(n_samples, inputs, references, references_from, name, ending, on_problem)

    def reset(self) -> None:
        """Forget batches of an evaluation that did not end, and what `begin_evaluation` said about it."""
        self._link = None
        self._texts = None
        self._broken = False

    def __call__(self, eval_prediction: Any, compute_result: bool | None = None) -> dict[str, float]:
        """Score an evaluation, or take one batch of it.

        Parameters
        ----------
        eval_prediction
            What the Trainer gives: ``predictions`` and ``label_ids`` (or a pair of the two).
        compute_result
            With ``batch_eval_metrics=True`` the Trainer gives False for each batch but the last, and True for that one.
            None: the evaluation comes as a whole.

        Returns
        -------
        dict of str to float
            The metrics; empty for a batch that is not the last, or if a problem was reported instead.

        Raises
        ------
        InputError
            If the predictions are no token ids, lengths differ or there are no samples; unless `begin_evaluation` gave
            ``on_problem``.
        """
        link = self._link or Link()
        if compute_result is None:
            self._texts = None  # batches of an evaluation that was broken off
        values: dict[str, float] = {}
        try:
            if not self._broken:
                texts = self._add(eval_prediction, link)
                if compute_result is not False:
                    self._finish(texts, link, values)
        except Exception as error:
            self.last = None
            if link.on_problem is None:
                self.reset()
                raise
            # Whatever it is (also from a tokenizer that is not ours): a training goes on without its scores.
            self._texts, self._broken = None, True
            where = f" of {link.name!r}" if link.name else ""
            words = error_words(error)
            # Shapes and lengths are others at each evaluation; what is wrong is the same.
            topic = f"scores{where}: {_NUMBERS.sub('0', words)}"
            self._problem(f"text metrics{where} are left out: {words}", link, topic)
            values = {key: value for key, value in values.items() if key == "gen_len"}
        if compute_result is not False:
            self.reset()
        return values

    def _add(self, eval_prediction: Any, link: Link) -> DecodedSoFar:
        if hasattr(eval_prediction, "predictions"):
            predictions, labels = eval_prediction.predictions, eval_prediction.label_ids
        else:
            predictions, labels = eval_prediction
        decoded = self._decoder.decode(predictions, "predictions", link.ending)
        texts = self._texts = self._texts or DecodedSoFar()
        texts.predictions += decoded.texts
        texts.lengths += decoded.lengths
        texts.ended += decoded.ended
        texts.beyond += decoded.ids_beyond_vocabulary
        if link.references is None and labels is not None:
            truth = self._decoder.decode(labels, "labels")
            texts.labels += truth.texts
            texts.labels_ended += truth.ended
            texts.beyond += truth.ids_beyond_vocabulary
        return texts

    def _finish(self, texts: DecodedSoFar, link: Link, values: dict[str, float]) -> None:
        counts: Counter[str] = Counter(ids_beyond_vocabulary=texts.beyond)
        n = len(texts.predictions)
        if link.n_samples is not None and n > link.n_samples:
            counts["duplicates_cut"] = n - link.n_samples
            n = link.n_samples
        elif link.n_samples is None and world_size() > 1:
            self._warn(
                "TextMetrics does not know the length of the data set, and there are several processes: samples that "
                "they duplicate to fill the last batch are scored twice. Use hf_monitor.attach(trainer).",
                link,
            )
        if n:
            values["gen_len"] = sum(texts.lengths[:n]) / n  # first: it stands also where texts cannot be scored
        predictions = clean_predictions(texts.predictions[:n], counts)
        given, given_from = self._given_references(n, link)
        source = texts.labels[: link.n_samples] if given is None else given
        references = clean_references(source, counts)
        check_lengths(n, len(references))
        tokenization = self._tokenization(references, link)
        scores, notes = score_samples(predictions, references, tokenization, self._options, counts)
        for note in notes:
            self._warn(note, link)
        values.update({key: scores[key] for key in (*ROUGE_KEYS, "bleu")})
        values["gen_len"] = values.pop("gen_len")  # in the order of Hugging Face's example
        values["score"] = scores["score"]
        if self._extra is not None:

            def report(metric: str, message: str) -> None:
                self._problem(message, link, topic=f"extra {metric}")

            run_extra(self._extra, predictions, references, values, None if link.on_problem is None else report)
        scores.signature["references_from"] = given_from
        indices = sample_indices(n, self._max_predictions, self._options.seed)
        self.signature = scores.signature
        self._keys = tuple(values)
        inputs = self._inputs(n, indices, link)
        self.last = EvaluationTexts(
            name=link.name,
            n_samples=n,
            inputs=inputs,
            predictions=predictions,
            references=references,
            per_sample=scores.per_sample,
            languages=scores.languages,
            scores=dict(values),
            signature=scores.signature,
            counts=scores.counts,
            intervals=scores.intervals,
            indices=indices,
            seed=self._options.seed,
            texts=text_statistics(
                predictions,
                references,
                ended=texts.ended[:n],
                references_ended=texts.labels_ended[:n],
                inputs=inputs,
            ),
        )

    def _given_references(self, n: int, link: Link) -> tuple[Sequence[Any] | None, str]:
        own, name = self._references, link.name
        if link.references is not None:
            return link.references, link.references_from
        if isinstance(own, Mapping):
            key = name if name in own else name.removeprefix("eval_")
            if key in own and len(own[key]) != n:
                raise InputError(f"references[{key!r}] are for {len(own[key])} samples, but {n} were evaluated.")
            if key in own:
                return own[key], "given texts"
        elif own is not None:
            if len(own) != n and self._references_of is None:
                raise InputError(
                    f"TextMetrics(references=...) has references for {len(own)} samples, but {n} were evaluated. Give "
                    "as many in the same order, or a mapping of evaluation names to references."
                )
            if len(own) == n and name and self._references_of is None:
                self._references_of = name
            if len(own) == n and name in ("", self._references_of):  # alone there is no name to tell sets apart
                return own, "given texts"
            self._warn_of_labels(len(own), n, link)
        return None, "decoded labels"

    def _warn_of_labels(self, n_references: int, n: int, link: Link) -> None:
        here = f"evaluation {link.name!r}" if link.name else "this evaluation"
        why = (
            f"for {n_references} samples, {here} has {n}"
            if n_references != n
            else f"those of {self._references_of!r}, the first evaluation of that length"
        )
        self._warn(
            f"TextMetrics(references=...) are {why}: {here} is scored against its labels. Give a mapping of names to "
            f"references, for example references={{{link.name or 'eval'!r}: [...]}}.",
            link,
            topic=f"references not of {link.name}",
        )

    def _tokenization(self, references: list[list[str]], link: Link) -> Tokenization:
        frozen = self._tokenizations.get(link.name)
        if frozen is None:
            options = self._options
            frozen, notes = resolve_tokenization(
                references, language=options.language, korean=options.korean_tokenizer, stem=options.stem
            )
            self._tokenizations[link.name] = frozen
            for note in notes:
                self._warn(note, link)
        elif frozen.judged and frozen.language != "mixed" and (now := judge_language(references)) != frozen.language:
            self._warn(
                f"The references of this evaluation look like language={now!r}, but {frozen.language!r} was judged at "
                "the first evaluation and is kept, so that scores stay comparable. Give "
                "TextMetrics(language='mixed') to choose the tokenizer for each sample.",
                link,
            )
        return frozen

    def _inputs(self, n: int, indices: list[int], link: Link) -> list[str | None]:
        texts: list[str | None] = [None] * n
        if link.inputs is None:
            return texts
        look_up = link.inputs if callable(link.inputs) else link.inputs.__getitem__
        try:
            for index in indices:
                text = look_up(index)
                texts[index] = None if text is None else str(text)
        except Exception as error:
            # The data set is the user's; inputs are for reading only, so scores stand without them.
            if link.on_problem is None:
                raise
            self._problem(f"input texts are left out of the predictions: {error_words(error)}", link, topic="inputs")
        return texts

    def _problem(self, message: str, link: Link, topic: str) -> None:
        if topic not in self._said and link.on_problem is not None:
            self._said.add(topic)
            link.on_problem(message)

    def _warn(self, message: str, link: Link, topic: str | None = None) -> None:
        if (topic or message) in self._said:
            return
        self._said.add(topic or message)
        if link.on_problem is None:
            warnings.warn(message, UserWarning, stacklevel=4)
        else:
            _log.warning(
                message
            )  # not `warnings`: a filter that makes errors of them would cost the training its scores
