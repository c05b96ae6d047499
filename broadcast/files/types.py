"""The types that a shared file can have. All other files are bytes without a meaning."""

from __future__ import annotations

from typing import Final

OCTETS: Final = "application/octet-stream"
TEXT: Final = "text/plain"
IMAGES: Final = frozenset({"image/gif", "image/jpeg", "image/png", "image/webp"})
INLINE: Final = IMAGES | {TEXT}
"""The types that a browser may show by itself. None of them can hold a script."""

_BY_ENDING: Final = {
    "7z": "application/x-7z-compressed",
    "bz2": "application/x-bzip2",
    "csv": "text/csv",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "flac": "audio/flac",
    "gif": "image/gif",
    "gz": "application/gzip",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "json": "application/json",
    "log": TEXT,
    "m4a": "audio/mp4",
    "md": "text/markdown",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "odp": "application/vnd.oasis.opendocument.presentation",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "odt": "application/vnd.oasis.opendocument.text",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "pdf": "application/pdf",
    "png": "image/png",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "tar": "application/x-tar",
    "txt": TEXT,
    "wav": "audio/wav",
    "webm": "video/webm",
    "webp": "image/webp",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "xz": "application/x-xz",
    "zip": "application/zip",
    "zst": "application/zstd",
}
ALLOWED: Final = frozenset(_BY_ENDING.values())
"""The types that are announced. HTML, SVG and XML are not among them, because a browser may run scripts in them."""


def choose_type(announced: str, name: str, image: str) -> str:
    """Return the type of the file *name*.

    *announced* is the type that the uploader's program has given; empty if it gave none. *image* is the type of image
    whose header the file has; empty if it has none. A file without such a header is no image, whatever it was called.
    """
    given = announced.partition(";")[0].strip().lower() or _BY_ENDING.get(name.rpartition(".")[2].lower(), OCTETS)
    if given in IMAGES:
        return image or OCTETS
    return given if given in ALLOWED else OCTETS
