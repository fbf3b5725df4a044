"""Token ids as a Trainer hands them over -> texts, whatever shape they come in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_monitor.errors import InputError
from hf_monitor.metrics.tokenizers import SPEAKER_MARK

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["DecodedTexts", "Ending", "TokenDecoder", "id_batches"]


@dataclass(frozen=True)
class Ending:
    """How a model ends a text.

    Parameters
    ----------
    end_ids
        Its end tokens, besides the tokenizer's.
    forced_at
        Tokens (the first one included) at which the end token is forced upon it (``forced_eos_token_id``): a text of
        that length was cut. None: it is not forced.
    """

    end_ids: tuple[int, ...] = ()
    forced_at: int | None = None


@dataclass(frozen=True)
class DecodedTexts:
    """Texts and what was counted on the way.

    Parameters
    ----------
    texts
        One per sample, without surrounding blanks.
    lengths
        Tokens per sample that are not padding (start and end tokens count, as in Hugging Face's ``gen_len``).
    ids_beyond_vocabulary
        Ids for which the tokenizer has no token: left out of the texts.
    ended
        Per sample whether it has an end token, apart from one that begins a prediction; None where there is none to
        look for.
    """

    texts: list[str]
    lengths: list[int]
    ids_beyond_vocabulary: int
    ended: list[bool | None]


def id_batches(value: Any, what: str, *, nested: bool = False) -> list[NDArray[np.int64]]:
    """Take apart what the Trainer calls predictions or label_ids.

    Parameters
    ----------
    value
        An array or tensor of shape (samples, tokens); a tuple whose first element is that; a list of such batches with
        different widths (``eval_do_concat_batches=False``); or a list of rows.
    what
        ``"predictions"`` or ``"labels"``, for messages.
    nested
        True inside a list, where a one-dimensional array is one sample's ids.

    Returns
    -------
    list of ndarray
        Batches of shape (samples, tokens), int64.

    Raises
    ------
    InputError
        If these are logits (three dimensions or floating point), or no ids at all.
    """
    import numpy as np

    if isinstance(value, tuple) and value:
        return id_batches(value[0], what, nested=nested)
    if isinstance(value, list):
        if value and nested and all(isinstance(item, (int, np.integer)) for item in value):
            return [np.asarray([value], dtype=np.int64)]
        return [batch for item in value for batch in id_batches(item, what, nested=True)]
    dimensions = getattr(value, "ndim", None)
    if dimensions is None:
        raise InputError(f"{what} are of type {type(value).__name__}; they must be arrays of token ids.")
    shape = tuple(value.shape)
    if dimensions > 2:
        raise InputError(
            f"{what} have shape {shape}: these are logits (a score for every word of the vocabulary), not generated "
            "token ids, so there is no text to score. Use Seq2SeqTrainer with Seq2SeqTrainingArguments(..., "
            "predict_with_generate=True)."
        )
    if dimensions < (1 if nested else 2):
        raise InputError(f"{what} have shape {shape}; token ids of shape (samples, tokens) are needed.")
    array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    if array.dtype == object:
        return id_batches(array.tolist(), what, nested=nested)
    if array.dtype.kind not in "iu":
        raise InputError(
            f"{what} have shape {shape} and type {array.dtype}; token ids are whole numbers. Use Seq2SeqTrainer with "
            "predict_with_generate=True."
        )
    return [np.atleast_2d(array).astype(np.int64, copy=False)]


class TokenDecoder:
    """Decode ids with a tokenizer, in spite of -100, of ids that it does not know, and with or without a pad token.

    Parameters
    ----------
    tokenizer
        A Hugging Face tokenizer, or a processor that has one.

    Raises
    ------
    InputError
        If it cannot decode.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not hasattr(tokenizer, "pad_token_id") and hasattr(tokenizer, "tokenizer"):
            tokenizer = tokenizer.tokenizer
        if not callable(getattr(tokenizer, "batch_decode", None)):
            raise InputError(
                f"TextMetrics needs the tokenizer that made the labels; received {type(tokenizer).__name__}, which has "
                "no batch_decode."
            )
        self.tokenizer = tokenizer
        self._known: NDArray[np.bool_] | None = None

    def decode(self, value: Any, what: str, ending: Ending | None = None) -> DecodedTexts:
        """Decode predictions or labels.

        Parameters
        ----------
        value
            See `id_batches`.
        what
            ``"predictions"`` or ``"labels"``.
        ending
            How the model ends a text; None: with the tokenizer's end token.

        Returns
        -------
        DecodedTexts
            Texts in the order of the ids.

        Raises
        ------
        InputError
            See `id_batches`.
        """
        import numpy as np

        pad = self.tokenizer.pad_token_id
        special = set(getattr(self.tokenizer, "all_special_ids", ()))
        # Speaker marks are often added as special tokens; they are words of the summary and must survive decoding.
        control = self._control_ids(special)
        texts: list[str] = []
        lengths: list[int] = []
        ended: list[bool | None] = []
        beyond = 0
        for ids in id_batches(value, what):
            unknown = self._unknown(ids)
            negative = ids < 0
            beyond += int((unknown & ~negative).sum())
            lengths += (n_tokens := self._lengths(ids, negative))
            ended += self._ended(ids, n_tokens, what, ending or Ending())
            drop = unknown if control is None else unknown | np.isin(ids, control)
            if not drop.any():
                rows = ids.tolist()
            elif control is None and pad in special:
                rows = np.where(drop, pad, ids).tolist()
            else:
                rows = [row[keep].tolist() for row, keep in zip(ids, ~drop, strict=True)]
            if rows:
                decoded = self.tokenizer.batch_decode(rows, skip_special_tokens=control is None)
                texts += [str(text).strip() for text in decoded]
        return DecodedTexts(texts, lengths, beyond, ended)

    def _control_ids(self, special: set[int]) -> NDArray[np.int64] | None:
        """Give the special ids to drop by hand, or None if the tokenizer may drop all of its special tokens itself."""
        import numpy as np

        if not special or not hasattr(self.tokenizer, "convert_ids_to_tokens"):
            return None
        ids = sorted(special)
        tokens = self.tokenizer.convert_ids_to_tokens(ids)
        control = [
            one for one, token in zip(ids, tokens, strict=True) if not SPEAKER_MARK.fullmatch(str(token).strip())
        ]
        return np.asarray(control, dtype=np.int64) if len(control) < len(ids) else None

    def _lengths(self, ids: NDArray[np.int64], negative: NDArray[np.bool_]) -> list[int]:
        import numpy as np

        pad, end = self.tokenizer.pad_token_id, getattr(self.tokenizer, "eos_token_id", None)
        if pad is not None:
            counted = ~negative & (ids != pad)
            return [int(n) for n in np.count_nonzero(counted, axis=1)]
        lengths: list[int] = []
        for row, absent in zip(ids, negative, strict=True):
            tokens = row[~absent]
            n = len(tokens)
            # Without a pad token the Trainer pads with the end token: of a run at the end, one is real.
            while end is not None and n > 1 and tokens[n - 1] == end and tokens[n - 2] == end:
                n -= 1
            lengths.append(n)
        return lengths

    def _ended(self, ids: NDArray[np.int64], n_tokens: list[int], what: str, ending: Ending) -> list[bool | None]:
        import numpy as np

        own = getattr(self.tokenizer, "eos_token_id", None)
        ends = [*ending.end_ids, *([own] if isinstance(own, int) else [])]
        if not ends:
            return [None] * len(ids)
        looked_at = ids[:, 1:] if what == "predictions" else ids  # BART's decoder starts with the end token
        found = np.asarray(np.isin(looked_at, ends).any(axis=1))
        if ending.forced_at is not None and what == "predictions":
            n_with_start = np.asarray(n_tokens) + np.isin(ids[:, :1], [self.tokenizer.pad_token_id]).any(axis=1)
            found &= n_with_start < ending.forced_at
        return [bool(one) for one in found]

    def _unknown(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Mark what cannot be decoded: negatives (-100) and ids without a token (T5 heads are wider than its words)."""
        import numpy as np

        if self._known is None:
            if hasattr(self.tokenizer, "get_vocab"):
                present = np.fromiter(self.tokenizer.get_vocab().values(), dtype=np.int64)
            elif hasattr(self.tokenizer, "__len__"):
                present = np.arange(len(self.tokenizer), dtype=np.int64)
            else:
                return ids < 0
            known = np.zeros(int(present.max(initial=-1)) + 2, dtype=np.bool_)
            known[present] = True  # the last cell stays False: it stands for everything beyond
            self._known = known
        known = self._known
        return ~known[np.clip(ids, -1, len(known) - 1)]
