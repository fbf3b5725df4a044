"""Records of the :mod:`logging` module, taken before any handler, so that none is missed and none comes twice.

No handler is added anywhere: a handler at the root would switch off ``logging.basicConfig`` and Python's last resort,
and would miss loggers that do not propagate (transformers, datasets).
"""

from __future__ import annotations

import logging
from typing import Any, Protocol

from hf_monitor.loggers.levels import level_number
from hf_monitor.loggers.log_file import LogFile
from hf_monitor.loggers.redirect import mark, unwrapped
from hf_monitor.loggers.tap import complain, exclusively, local

__all__ = ["attach_records", "detach_records"]


class RecordSink(Protocol):
    """What is needed of a logger."""

    file: LogFile

    def accepts(self, number: int) -> bool:
        """Whether records of this level are wanted."""

    def put_text(self, number: int, source: str, text: str) -> None:
        """Write a text of one or more lines to the file; never raises."""


_sinks: tuple[RecordSink, ...] = ()
_hook: Any = None
_formatter = logging.Formatter()


def attach_records(sink: RecordSink) -> None:
    """Let a logger have every record from now on."""
    global _sinks, _hook
    with exclusively():
        if sink not in _sinks:
            _sinks = (*_sinks, sink)
        if _hook is None:
            _hook = _make_hook()
            logging.Logger.callHandlers = _hook  # type: ignore[method-assign]


def detach_records(sink: RecordSink) -> None:
    """Take a logger off; the last one puts the method of :class:`logging.Logger` back unless others have wrapped it."""
    global _sinks, _hook
    with exclusively():
        _sinks = tuple(other for other in _sinks if other is not sink)
        if not _sinks and _hook is not None:
            hook, _hook = _hook, None
            if logging.Logger.callHandlers is hook:
                logging.Logger.callHandlers = unwrapped(hook)  # type: ignore[method-assign]


def _make_hook() -> Any:
    original = unwrapped(logging.Logger.callHandlers)

    def callHandlers(self: logging.Logger, record: logging.LogRecord) -> None:
        if _hook is not callHandlers:
            return original(self, record)  # type: ignore[no-any-return]
        local.doing.logging += 1  # what handlers print on this thread is no text of its own
        try:
            return original(self, record)  # type: ignore[no-any-return]
        finally:
            local.doing.logging -= 1
            _write(record)

    mark(callHandlers, original)
    return callHandlers


def _write(record: logging.LogRecord) -> None:
    try:
        _write_to_sinks(record)
    except Exception as error:  # noqa: BLE001 - records can be of any class; the caller only wanted to log something
        complain(error)


def _write_to_sinks(record: logging.LogRecord) -> None:
    number = level_number(record.levelno)
    text = None
    done: list[LogFile] = []
    for sink in _sinks:
        if sink.file in done or not sink.accepts(number):
            continue
        done.append(sink.file)
        if text is None:
            text = _text(record)
        sink.put_text(number, record.name, text)


def _text(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001 - arguments that do not fit their message: logging reports that itself
        text = f"{record.msg!r} {record.args!r}"
    if record.exc_info and record.exc_info[0] is not None:
        text = f"{text}\n{_formatter.formatException(record.exc_info)}"
    elif record.exc_text and not record.exc_info:  # a record that came over a queue
        text = f"{text}\n{record.exc_text}"
    return f"{text}\n{record.stack_info}" if record.stack_info else text
