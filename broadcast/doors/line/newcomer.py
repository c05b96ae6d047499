"""The checks of a connection until its first line in the room: other protocols, and the time without a line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from broadcast.doors.line.protocol_sniffing import Sniffer, sniff_first_line, sniff_later_line

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from broadcast.doors.line.codec import LineCodec

LINE_END_SECONDS: Final = 60
"""Time that text in the room may wait for its line end before the hint, in seconds."""
LINE_END_HINT: Final = r"Your text has no line end (\n) yet; nothing was said. End each line with \n."


class Newcomer:
    r"""A client that has not sent a line to the room yet. Beginners' programs send text without ``\n``.

    *reject* is called with the reason if there is no nickname within *seconds*, unless *is_logging_in* returns true.
    Then the time begins again: the client waits for the server. *hint* is called with a text if input in the room waits
    too long for its line end.
    """

    __slots__ = (
        "_clock", "_codec", "_has_sent_line", "_hint", "_is_logging_in", "_reject", "_seconds", "_sniffer", "_timer",
        "joined",
    )  # fmt: skip

    def __init__(
        self,
        codec: LineCodec,
        clock: IReactorTime,
        seconds: float,
        is_logging_in: Callable[[], bool],
        reject: Callable[[str], None],
        hint: Callable[[str], None],
    ) -> None:
        self.joined = False
        """Whether the client has a nickname."""
        self._codec = codec
        self._clock = clock
        self._seconds = seconds
        self._is_logging_in = is_logging_in
        self._reject = reject
        self._hint = hint
        self._sniffer = Sniffer()
        self._has_sent_line = False
        self._timer: IDelayedCall | None = clock.callLater(seconds, self._reject_late)

    @property
    def undecided(self) -> bool:
        """Whether the input so far has to wait for the rest of a PROXY header."""
        return self._sniffer.undecided

    @property
    def is_new(self) -> bool:
        """Whether no input has arrived yet."""
        return self._sniffer.is_new

    def sniff_data(self, data: bytes) -> str | None:
        """Check *data*, the next chunk. Return why to reject the client, or None."""
        return self._sniffer.sniff_data(data)

    def sniff_line(self, line: bytes) -> str | None:
        """Check *line*, which would become the nickname. Return why to reject the client, or None."""
        if self._has_sent_line:
            return sniff_later_line(line)
        self._has_sent_line = True
        return sniff_first_line(line)

    def join(self) -> None:
        """Stop waiting for the nickname: the client has one."""
        self.stop()
        self.joined = True

    def watch_line_end(self) -> None:
        """Start to wait for the line end of the input in the room, if it has none."""
        if self.joined and self._timer is None and self._codec.has_unfinished_line:
            self._timer = self._clock.callLater(LINE_END_SECONDS, self._give_hint)

    def stop(self) -> None:
        """Stop all timers."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _reject_late(self) -> None:
        if self._is_logging_in():
            self._timer = self._clock.callLater(self._seconds, self._reject_late)
        elif self._codec.has_unfinished_line and not self._has_sent_line:
            self._reject(rf"No line end (\n) came in {self._seconds:g} seconds.")
        else:
            self._reject(f"No nickname in {self._seconds:g} seconds.")

    def _give_hint(self) -> None:
        # The timer stays set, so that there is one hint only.
        if self._codec.has_unfinished_line:
            self._hint(LINE_END_HINT)
        else:
            self._timer = None  # the text was erased
