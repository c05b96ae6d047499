"""The keys that the client adds to a line editor, among them those that move over a letter with its marks."""

from __future__ import annotations

from collections.abc import Callable

from prompt_toolkit.application import get_app
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.filters import Always, Condition, Filter, has_selection, is_searching
from prompt_toolkit.key_binding import KeyBindings, KeyBindingsBase, KeyPressEvent, merge_key_bindings
from prompt_toolkit.keys import Keys
from prompt_toolkit.utils import get_cwidth

JOINER = "\u200d"
"""The zero width joiner. It joins the characters around it to one, as in the emoji of a family."""


def cluster_before(text: str, at: int) -> int:
    """Return the number of characters of the letter that ends at *at*, with its marks."""
    start = at
    while start > 0:
        start -= 1
        if get_cwidth(text[start]) > 0 and not (start > 0 and text[start - 1] == JOINER):
            break
    return at - start


def cluster_after(text: str, at: int) -> int:
    """Return the number of characters of the letter that begins at *at*, with its marks."""
    end = min(at + 1, len(text))
    while end < len(text) and (get_cwidth(text[end]) == 0 or text[end - 1] == JOINER):
        end += 1
    return end - at


def bindings(typing: Buffer, leave: Callable[[], None]) -> KeyBindingsBase:
    """Return the keys for the line that is being typed, which is in *typing*.

    Ctrl-C and Ctrl-D on an empty line call *leave*. A paste of several lines is several lines.
    """
    keys = KeyBindings()
    is_typing = Condition(lambda: get_app().current_buffer is typing)
    is_empty = Condition(lambda: not typing.text)

    def clear_or_leave(_event: KeyPressEvent) -> None:
        if typing.text:
            typing.reset()
        else:
            leave()

    def paste(event: KeyPressEvent) -> None:
        # Some terminals paste CR LF, most CR.
        pasted = event.data.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
        lines, end, rest = pasted.rpartition("\n")
        if end and event.current_buffer is typing:
            typing.insert_text(lines)
            typing.validate_and_handle()
            # Lines that could not be sent are still in the editor.
            rest = f"\n{rest}" if typing.text else rest
        event.current_buffer.insert_text(rest)

    keys.add("c-c", filter=is_typing & ~is_searching)(clear_or_leave)
    keys.add("<sigint>")(clear_or_leave)
    keys.add("c-d", filter=is_typing & is_empty)(lambda _event: leave())
    keys.add("c-z")(lambda event: event.app.suspend_to_background())
    keys.add(Keys.BracketedPaste)(paste)
    return merge_key_bindings([keys, _over_whole_letters(typing, is_typing, is_empty)])


def _over_whole_letters(typing: Buffer, is_typing: Filter, is_empty: Filter) -> KeyBindings:
    """Return the keys that move by a letter and delete one."""
    keys = KeyBindings()

    def bind(names: str, step: Callable[[], object], wanted: Filter) -> None:
        def as_often_as_asked(event: KeyPressEvent) -> None:
            for _ in range(event.arg):
                step()

        for name in names.split():
            keys.add(name, filter=is_typing & wanted)(as_often_as_asked)

    def before() -> int:
        return cluster_before(typing.text, typing.cursor_position)

    def after() -> int:
        return cluster_after(typing.text, typing.cursor_position)

    bind("left c-b", lambda: typing.cursor_left(before()), Always())
    bind("right c-f", lambda: typing.cursor_right(after()), Always())
    bind("backspace", lambda: typing.delete_before_cursor(before()), ~has_selection)
    bind("delete", lambda: typing.delete(after()), ~has_selection)
    bind("c-d", lambda: typing.delete(after()), ~is_empty)
    return keys
