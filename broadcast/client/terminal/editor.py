"""The editor of the line that is being typed, which can have several lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from prompt_toolkit.application import get_app
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import Completer, ConditionalCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition, has_selection, is_searching
from prompt_toolkit.formatted_text import AnyFormattedText
from prompt_toolkit.history import History
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import BufferControl
from prompt_toolkit.layout.processors import (
    BeforeInput,
    ConditionalProcessor,
    HighlightIncrementalSearchProcessor,
    HighlightSelectionProcessor,
    PasswordProcessor,
)
from prompt_toolkit.search import stop_search
from prompt_toolkit.widgets import SearchToolbar

from broadcast.client.session.conversation import Conversation
from broadcast.client.terminal.graphemes import StandIns, boundary

SENT_AT_ONCE: Final = 5
"""The most lines of a paste that are sent without a question."""

_PREFIX: Final = re.compile(r"/(?:me|say|reply|r)\s+|/(?:msg|m|tell|w|query)\s+\S+\s+", re.IGNORECASE)
"""The beginning of a command that each part of its text gets again."""
_LONGEST_GRAPHEME: Final = 64
_LITERALLY: Final = "/say "


def size(line: str) -> int:
    """Return the number of bytes of *line*."""
    return len(line.encode(errors="replace"))


def is_divisible(line: str) -> bool:
    """Return whether ``parts`` can divide *line*: it is no command, or one whose text can be said in parts."""
    return not line.startswith("/") or line.startswith("//") or _PREFIX.match(line) is not None


def parts(line: str, limit: int) -> Iterator[str]:
    """Yield *line* in parts of at most *limit* bytes, divided at blanks where possible, and never in a grapheme."""
    if size(line) <= limit:
        yield line
        return
    command = _PREFIX.match(line)
    said = prefix = command[0] if command else ""
    room = max(limit - size(prefix or _LITERALLY), 1)
    start = len(prefix)
    while start < len(line):
        fitting = line[start : start + room].encode(errors="replace")[:room].decode(errors="ignore")
        end = following = start + max(1, len(fitting))
        if end < len(line):
            blank = line.rfind(" ", start + 1, end + 1)
            if blank >= 0:
                end, following = blank, blank + 1
            else:
                rest = line[start : end + _LONGEST_GRAPHEME]
                end = following = start + (boundary(rest, end - start, after=False) or end - start)
        yield f"{said}{line[start:end]}"
        start = following
        # A later part must not become a command, such as "/quit" or "quit".
        said = prefix or (_LITERALLY if line.startswith("/", start) or " " not in line[start : start + room] else "")


class GraphemeBuffer(Buffer):
    """A buffer in which the cursor moves by grapheme, and which deletes whole ones."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]  # prompt_toolkit's options
        self.on_cursor_position_changed += self._leave_grapheme
        self.on_text_changed += self._leave_grapheme

    def reset(self, document: Document | None = None, append_to_history: bool = False) -> None:
        """Begin with another text."""
        super().reset(document, append_to_history)
        self._seen = self.text, self.cursor_position

    def delete_before_cursor(self, count: int = 1) -> str:
        """Delete *count* characters before the cursor, and the rest of a grapheme, and return them."""
        at = self.cursor_position
        return super().delete_before_cursor(at - boundary(self.text, max(0, at - count), after=False))

    def delete(self, count: int = 1) -> str:
        """Delete *count* characters after the cursor, and the rest of a grapheme, and return them."""
        at = self.cursor_position
        return super().delete(boundary(self.text, min(len(self.text), at + count), after=True) - at)

    def append_to_history(self) -> None:
        """Do nothing, because the editor decides what is stored."""

    def _leave_grapheme(self, _buffer: Buffer) -> None:
        """Move a cursor that was moved into a grapheme to its end. Do nothing while the text changes."""
        (text, before), at = self._seen, self.cursor_position
        self._seen = self.text, at
        if text == self.text and at != before:
            self.cursor_position = boundary(text, at, after=at > before)


class Editor:
    """The editor of a draft, which *conversation* takes as one or more lines.

    The answer to a question, such as that for the nickname, is one line, is not stored in *history*, and gets no
    completion. *search_screen* gets the text that is searched, at the second Ctrl-R.

    To embed it, lay out ``control`` and ``search`` (a row of its own while searching), show ``hint()`` in a row if it
    is not empty, and merge ``key_bindings``. Ctrl-C and Ctrl-D on an empty draft are not bound.
    """

    def __init__(
        self,
        conversation: Conversation,
        completer: Completer,
        history: History,
        search_screen: Callable[[str], None],
        prompt: AnyFormattedText = "> ",
    ) -> None:
        self._conversation = conversation
        self._search_screen = search_screen
        self._pasted = False
        """True while the draft is a long paste that the user has neither changed nor accepted."""
        self._hides = False
        self._draft = Document()
        """The draft, while the buffer holds a password."""
        self.buffer = GraphemeBuffer(
            completer=ConditionalCompleter(completer, Condition(lambda: not self._is_answer())),
            history=history,
            multiline=False,
            accept_handler=lambda _buffer: self._send(),
            on_text_changed=lambda _buffer: self._keep_paste(),
        )
        self.search = SearchToolbar(
            GraphemeBuffer(), backward_search_prompt="Search: ", forward_search_prompt="Search: ", ignore_case=True
        )
        self.search.control.input_processors = [*(self.search.control.input_processors or []), StandIns()]
        self.control = BufferControl(
            self.buffer,
            input_processors=[
                HighlightIncrementalSearchProcessor(),
                HighlightSelectionProcessor(),
                ConditionalProcessor(PasswordProcessor(), Condition(lambda: self._hides)),
                BeforeInput(prompt),
                StandIns(),
            ],
            include_default_input_processors=False,
            search_buffer_control=self.search.control,
            preview_search=True,
        )
        self.key_bindings = self._bindings()

    def hint(self) -> str:
        """Return the question about a paste, the counter of a draft that is too long, other help, or an empty text.

        It fits into two rows of 20 columns.
        """
        if is_searching():
            text = self.search.search_buffer.text.casefold()
            if not text:
                return "Type a text to search for."
            drafts = [self.buffer.text, *self.buffer.history.get_strings()]
            result = "" if any(text in draft.casefold() for draft in drafts) else "Not found. "
            return f"{result}Ctrl-R searches the screen."
        lines, limit = self._lines(), self._conversation.line_bytes
        too_long = [line for line in lines if size(line) > limit]
        if too_long:
            counter = f"{max(map(size, too_long)):,}/{limit:,} bytes."
            if not all(map(is_divisible, too_long)):
                return f"{counter} Shorten the command."
            return f"{counter} Enter sends {sum(1 for line in lines for _part in parts(line, limit))} parts."
        return f"Send {len(lines):,} lines? Enter sends, Esc edits." if self._pasted else ""

    def follow_question(self) -> None:
        """Put the draft aside while a password is asked for, so that neither becomes part of the other."""
        question = self._conversation.question
        hides = question is not None and question.is_secret
        if hides is not self._hides:
            self._hides = hides
            if hides:
                self._draft = self.buffer.document
            self._reset()
            if not hides:
                get_app().clipboard.set_text("")  # a part of the password may be in it
                self.buffer.reset(self._draft)

    def _is_answer(self) -> bool:
        return self._conversation.question is not None

    def _lines(self) -> list[str]:
        return [line for line in self.buffer.text.split("\n") if line.strip()]

    def _send(self) -> bool:
        """Send the draft. What cannot be sent stays in it."""
        conversation, lines = self._conversation, self._lines()
        limit = conversation.line_bytes
        if self._is_answer():
            answer = self.buffer.text.replace("\n", " ")
            self._reset()
            conversation.submit(answer)
        elif not lines:
            self._reset()
        elif all(size(line) <= limit or is_divisible(line) for line in lines):
            is_hidden = any(map(conversation.must_hide, lines))
            self._reset()
            rest = conversation.submit("\n".join(part for line in lines for part in parts(line, limit)))
            if not (rest or is_hidden):
                self.buffer.history.append_string("\n".join(lines))
            if self._hides:
                self._draft = Document(rest)
            else:
                self._reset(rest)
        return True

    def _keep_paste(self) -> None:
        self._pasted = False

    def _reset(self, text: str = "") -> None:
        """Begin another draft with *text*."""
        self._pasted = False
        self.buffer.reset(Document(text))

    def paste(self, event: KeyPressEvent) -> None:
        """Insert a paste. Send its whole lines, unless they are many or too long."""
        # Some terminals paste CR LF, most CR.
        pasted = event.data.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
        whole, end, rest = pasted.rpartition("\n")
        limit = self._conversation.line_bytes
        if event.current_buffer is not self.buffer or self._is_answer():
            event.current_buffer.insert_text(pasted.strip("\n").replace("\n", " "))
        elif not end:
            self.buffer.insert_text(rest)
        elif len(pasted.strip("\n").split("\n")) > SENT_AT_ONCE or max(map(size, whole.split("\n"))) > limit:
            self.buffer.insert_text(pasted.rstrip("\n"))
            self._pasted = len(self._lines()) > 1
        else:
            self.buffer.insert_text(whole)
            self.buffer.validate_and_handle()
            # Lines that could not be sent are still in the draft.
            self.buffer.insert_text(f"\n{rest}" if self.buffer.text else rest)

    def _bindings(self) -> KeyBindings:
        keys = KeyBindings()
        is_typing = Condition(lambda: get_app().current_buffer is self.buffer)
        is_empty = Condition(lambda: not self.buffer.text)
        is_asked = Condition(lambda: self._pasted)

        def search_screen(_event: KeyPressEvent) -> None:
            if text := self.search.search_buffer.text:
                stop_search()
                self._search_screen(text)

        keys.add(Keys.BracketedPaste)(self.paste)
        for enter in ("enter", "c-j"):
            keys.add("escape", enter, filter=is_typing)(lambda _event: self.buffer.insert_text("\n"))
        keys.add("escape", filter=is_typing & is_asked, eager=True)(lambda _event: self._keep_paste())
        keys.add("c-c", filter=is_typing & ~is_empty)(lambda _event: self._reset())
        keys.add("c-d", filter=is_typing & ~is_empty & ~has_selection)(lambda _event: self.buffer.delete())
        keys.add("c-r", filter=is_searching)(search_screen)
        keys.add("c-z")(lambda event: event.app.suspend_to_background())
        return keys
