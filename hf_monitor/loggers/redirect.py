"""Copy what goes to the console into log files, line by line, without changing anything for those who write.

A :class:`Tee` sits on one stream object, a :class:`~hf_monitor.loggers.tap.Tap` turns what passes there into the lines
of one log file, and :func:`attach` / :func:`detach` bring loggers and streams together.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from hf_monitor.loggers.console import disown_bars
from hf_monitor.loggers.direct import Direct
from hf_monitor.loggers.ipython import cells_beneath
from hf_monitor.loggers.tap import Doing, LineSink, Tap, exclusively, local, renew_lock

__all__ = ["attach", "detach", "flush", "mark", "standard_streams", "unwrapped", "write_directly"]

_tees: dict[int, Tee] = {}
_consoles: dict[int, int] = {}  # while descriptors are captured: where each of them led before
_catch_up: Callable[[], None] = lambda: None  # noqa: E731
_prepared = False


def mark(wrapper: Any, wrapped: Any) -> None:
    """Make a wrapper known as ours; not so anything to which functools.wraps copies its attributes."""
    wrapper.__hf_monitor__ = (wrapper, wrapped)


def unwrapped(function: Any) -> Any:
    """Look through a wrapper of ours that is inert by now and was put back by somebody who had kept it."""
    known = getattr(function, "__hf_monitor__", None)
    return known[1] if known is not None and known[0] is function else function


class Tee:
    """Sits on one stream object: `write` and `writelines` do what they did, then hand a copy to the taps.

    The methods are replaced on the object itself, so that everything that was bound to the stream earlier is seen, and
    `isatty`, `fileno`, `encoding` and identity stay. A stream that takes no attributes gets a stand-in in :mod:`sys`.

    While the stream's descriptor is captured, text goes to the console directly: the descriptor's own way would bring
    it into the log once more.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.taps: tuple[Tap, ...] = ()
        self.direct: Direct | None = None
        self._found: dict[str, Any] = {}  # instance attributes as they were
        self._set: dict[str, Any] = {}  # ours
        self._proxies: dict[str, Any] = {}

    def install(self) -> None:
        """Begin to see what is written."""
        space = getattr(self.stream, "__dict__", None)
        if isinstance(space, dict):
            for name in _METHODS:
                self._patch(space, name)
        if "write" not in self._set:
            self._stand_in()
        self.follow_descriptor()

    def follow_descriptor(self) -> None:
        """Write to the console directly if, and only as long as, the stream's descriptor is captured."""
        before, self.direct = self.direct, None
        if before is not None:
            with contextlib.suppress(OSError):
                before.flush()
        space = getattr(self.stream, "__dict__", None)
        if isinstance(space, dict) and "write" in self._set and (console := _console_of(self.stream)) is not None:
            if "flush" not in self._set:
                self._patch(space, "flush")
            self.direct = Direct(self.stream, console, _catch_up)

    def _patch(self, space: dict[str, Any], name: str) -> None:
        bound = getattr(self.stream, name, None)
        if bound is None:
            return
        if beneath := list(cells_beneath(bound)):
            self._found[name] = unwrapped(beneath[-1].cell_contents)
            self._set[name] = beneath[-1].cell_contents = self._wrapper(name, self._found[name])
            return
        bound = unwrapped(bound)
        wrapper = self._wrapper(name, bound)
        missing = object()
        found = space.get(name, missing)
        space[name] = wrapper
        if getattr(self.stream, name, None) is not wrapper:  # a class that decides itself what its attributes are
            if found is missing:
                del space[name]
            else:
                space[name] = found
            return
        self._set[name] = wrapper
        if found is not missing:
            self._found[name] = found

    def _wrapper(self, name: str, bound: Callable[..., Any]) -> Callable[..., Any]:
        finalizing = sys.is_finalizing

        def write(text: Any, /) -> Any:
            if local is None:  # the modules are empty already, and a bar that is left over is drawn
                return bound(text)  # type: ignore[unreachable]
            direct = self.direct
            doing = local.doing
            if not self.taps or not isinstance(text, str):
                if direct is not None and doing.passing and isinstance(text, str):
                    return direct.write(text)  # seen on another stream, of which this is the end
                return bound(text)
            outer = doing.passing
            doing.passing = (*outer, text)
            try:
                result = bound(text) if direct is None else direct.write(text)
            finally:
                doing.passing = outer
            try:
                self._copy(text, outer, doing)
            except Exception:
                if not finalizing():  # then some modules are empty
                    raise
            return result

        def writelines(lines: Iterable[Any], /) -> Any:
            if local is None or not self.taps:
                return bound(lines)
            seen: list[str] = []
            doing = local.doing

            def remember() -> Iterator[Any]:
                outer = doing.passing
                try:
                    for line in lines:
                        if isinstance(line, str):
                            seen.append(line)
                            doing.passing = (*outer, line)  # most classes' writelines calls write: no second copy
                        yield line
                finally:
                    doing.passing = outer

            outer = doing.passing
            try:
                return bound(remember())
            finally:
                doing.passing = outer
                self._copy("".join(seen), outer, doing)

        def flush() -> Any:
            if self.direct is not None:
                self.direct.flush()
            return bound()

        wrappers: dict[str, Callable[..., Any]] = {"write": write, "writelines": writelines, "flush": flush}
        wrapper = wrappers[name]
        mark(wrapper, bound)
        return wrapper

    def _copy(self, text: str, outer: tuple[str, ...], doing: Doing) -> None:
        if not text or (outer and any(text in other or other in text for other in outer)):
            return  # handed on by a wrapping stream, where it has been seen
        for tap in self.taps:
            if tap.file is doing.skip or (doing.logging and any(sink.capture_logging for sink in tap.sinks)):
                continue
            tap.feed(text, doing)

    def _stand_in(self) -> None:
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is self.stream:
                proxy = _Proxy(self.stream, {m: self._wrapper(m, getattr(self.stream, m)) for m in _METHODS})
                self._proxies[name] = proxy
                setattr(sys, name, proxy)

    def uninstall(self) -> None:
        """Leave the stream as it was found; what others have put over ours meanwhile stays, and ours passes on."""
        space = getattr(self.stream, "__dict__", {})
        for name, wrapper in self._set.items():
            for beneath in cells_beneath(space.get(name)):
                if beneath.cell_contents is wrapper:
                    beneath.cell_contents = unwrapped(wrapper)
            if space.get(name) is wrapper:
                if name in self._found:
                    space[name] = self._found[name]
                else:
                    del space[name]
        for name, proxy in self._proxies.items():
            if getattr(sys, name) is proxy:
                setattr(sys, name, self.stream)


_METHODS = ("write", "writelines")


def _console_of(stream: Any) -> int | None:
    if not _consoles or not isinstance(stream, io.TextIOWrapper):
        return None
    try:
        return _consoles.get(stream.fileno())
    except (OSError, ValueError):  # closed, or without one
        return None


class _Proxy:
    """Stands in for a stream whose attributes cannot be set."""

    def __init__(self, stream: Any, methods: dict[str, Callable[[Any], Any]]) -> None:
        self._hf_monitor_stream = stream
        self.write = methods["write"]
        self.writelines = methods["writelines"]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hf_monitor_stream, name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._hf_monitor_stream)


def standard_streams() -> list[tuple[str, Any]]:
    """List the streams of this process that can be written to, each object once."""
    streams: list[tuple[str, Any]] = []
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name, None)
        stream = getattr(stream, "_hf_monitor_stream", stream)
        if stream is None or getattr(stream, "closed", False) or any(stream is other for _, other in streams):
            continue
        streams.append((name, stream))
    return streams


def attach(sink: LineSink) -> None:
    """Let a logger have what is written to the present standard streams; no change where it has that already."""
    _prepare()
    with exclusively():
        for name, stream in standard_streams():
            tee = _tees.get(id(stream))
            if tee is None:
                tee = Tee(stream)
                tee.install()
                _tees[id(stream)] = tee
            tap = next((tap for tap in tee.taps if tap.file is sink.file), None)
            if tap is None:
                tap = Tap(name, sink.file, sink.progress_interval_seconds)
                tee.taps = (*tee.taps, tap)
            if sink not in tap.sinks:
                tap.sinks = (*tap.sinks, sink)


def detach(sink: LineSink) -> None:
    """Take a logger off all streams: a file's last one writes what is pending, a stream's last one restores it."""
    with exclusively():
        for key, tee in list(_tees.items()):
            for tap in tee.taps:
                if sink not in tap.sinks:
                    continue
                if len(tap.sinks) == 1:
                    tap.flush(final=True)
                    tee.taps = tuple(other for other in tee.taps if other is not tap)
                tap.sinks = tuple(other for other in tap.sinks if other is not sink)
            _drop_if_idle(key, tee)


def write_directly(consoles: dict[int, int], catch_up: Callable[[], None]) -> None:
    """Let what Python code writes to captured descriptors go to the console directly; nothing captured: no more.

    Parameters
    ----------
    consoles : dict of int to int
        Where each captured descriptor led before.
    catch_up : callable
        As :class:`~hf_monitor.loggers.direct.Direct` takes it.
    """
    global _consoles, _catch_up
    with exclusively():
        _consoles, _catch_up = consoles, catch_up
        for stream in (sys.__stdout__, sys.__stderr__):  # those that wrap them end there
            if id(stream) not in _tees and _console_of(stream) is not None:
                tee = Tee(stream)
                tee.install()
                _tees[id(stream)] = tee
        for key, tee in list(_tees.items()):
            tee.follow_descriptor()
            _drop_if_idle(key, tee)


def _drop_if_idle(key: int, tee: Tee) -> None:
    if not tee.taps and tee.direct is None:
        tee.uninstall()
        del _tees[key]


def flush(sink: LineSink, *, final: bool) -> None:
    """Write what a logger's taps hold: the state of progress displays, or, if `final`, everything."""
    with exclusively():
        taps = [tap for tee in _tees.values() for tap in tee.taps if sink in tap.sinks]
    for tap in taps:
        tap.flush(final=final)


def _prepare() -> None:
    global _prepared
    if not _prepared:
        _prepared = True
        atexit.register(_at_exit)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_in_child)


def _at_exit() -> None:
    """Write the last state of bars and unfinished lines of a program that never stopped its redirection."""
    for tee in list(_tees.values()):
        for tap in tee.taps:
            tap.flush(final=True)


def _in_child() -> None:
    """Let a forked child write whole lines of its own; the parent's locks and half lines are not its."""
    renew_lock()
    disown_bars()
    for tee in _tees.values():
        if tee.direct is not None:
            tee.direct.reset()
        for tap in tee.taps:
            tap.reset()
