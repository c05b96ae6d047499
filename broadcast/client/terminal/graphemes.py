"""Graphemes: the characters of one or more code points that a person sees and deletes as one, such as a flag.

prompt_toolkit adds up the widths of the code points: a flag has 4 columns, a family 6. A terminal that joins them shows
two columns, and the cursor stands elsewhere than the user sees it. Here each such grapheme becomes one *stand-in*: a
code point that nobody uses and that prompt_toolkit gives the right width. The output writes the grapheme for it, and
then moves the cursor to the end of that width, whatever the terminal has made of the grapheme.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from prompt_toolkit.application import get_app
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.formatted_text.utils import fragment_list_to_text
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput
from prompt_toolkit.layout.utils import explode_text_fragments
from prompt_toolkit.output import Output
from wcwidth import clip, grapheme_boundary_before, iter_graphemes, wcstwidth

_FIRST: Final = {1: 0x10F000, 2: 0x3F000}
"""The first stand-in for each width: private code points, and unassigned ones of a plane of wide ideographs."""
_STAND_INS: Final = 0x0F00
"""The number of stand-ins for each width. Without one, a grapheme is shown as prompt_toolkit does it."""


_TERMINAL: str | bool = True
"""The name of the terminal for ``wcstwidth``. True: that in ``$TERM_PROGRAM``, or else in ``$TERM``."""
_stand_ins: Final[dict[str, str]] = {}
_graphemes: Final[dict[str, tuple[str, int]]] = {}
"""The grapheme and the width of each stand-in."""


def boundary(text: str, at: int, *, after: bool) -> int:
    """Return *at* if it is a boundary between graphemes of *text*, otherwise the one before it, or the one *after*."""
    if at == len(text):
        return at
    start = grapheme_boundary_before(text, at + 1)
    return start + len(next(iter_graphemes(text, start))) if after and start < at else start


def cell(grapheme: str) -> str:
    """Return the stand-in for *grapheme*, or *grapheme* itself if prompt_toolkit shows it well."""
    if len(grapheme) == 1 and ord(grapheme) < _FIRST[2]:
        return grapheme
    stand_in = _stand_ins.get(grapheme)
    if stand_in is None:
        columns = width(grapheme)
        used = sum(known == columns for _grapheme, known in _graphemes.values())
        if columns not in _FIRST or used >= _STAND_INS:
            # Such a wide grapheme is shown as several ones, also by the terminal.
            return grapheme
        stand_in = _stand_ins[grapheme] = chr(_FIRST[columns] + used)
        _graphemes[stand_in] = (grapheme, columns)
    return stand_in


def cells(text: str) -> str:
    """Return *text* with stand-ins, as prompt_toolkit lays it out."""
    return text if text.isascii() else "".join(map(cell, iter_graphemes(text)))


def width(text: str) -> int:
    """Return the number of columns of *text*, which contains no control character, on this terminal."""
    return max(0, wcstwidth(text, term_program=_TERMINAL))


def beginning(text: str, columns: int) -> str:
    """Return the beginning of *text* that has at most *columns* columns."""
    return clip(text, 0, max(0, columns), fillchar="", term_program=_TERMINAL)


def write_graphemes(output: Output) -> None:
    """Let *output* write the grapheme for each stand-in."""
    write = output.write

    def write_cell(data: str) -> None:
        grapheme, columns = _graphemes.get(data, ("", 0)) if len(data) == 1 else ("", 0)
        if grapheme:
            # Save the cursor, restore it, and move it to the right. A grapheme contains no control character.
            output.write_raw(f"\x1b7{grapheme}\x1b8\x1b[{columns}C")
        else:
            write(data)

    output.write = write_cell  # type: ignore[method-assign]  # there is no other hook for what is written


class StandIns(Processor):
    """The processor that puts stand-ins into the lines of an editor, and escapes for what the output cannot encode.

    It comes last.
    """

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        """Return the line with stand-ins, and the mappings between its positions and those of the text."""
        fragments = transformation_input.fragments
        text = fragment_list_to_text(fragments)
        if text.isascii():
            return Transformation(fragments)
        encoding = get_app().output.encoding()
        styles = [style for style, *_ in explode_text_fragments(fragments) if "[ZeroWidthEscape]" not in style]
        shown: StyleAndTextTuples = []
        sources, positions = [0], [0]
        for grapheme in iter_graphemes(text):
            escaped = grapheme.encode(encoding, "backslashreplace").decode(encoding)
            piece = cell(grapheme) if escaped == grapheme else escaped
            shown.append((styles[sources[-1]], piece))
            sources.append(sources[-1] + len(grapheme))
            positions.append(positions[-1] + len(piece))
        return Transformation(
            shown,
            lambda source: positions[bisect_right(sources, source) - 1],
            lambda position: sources[bisect_right(positions, position) - 1],
        )
