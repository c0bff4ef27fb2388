"""Words for counts, sizes and times, and consoles that can print them. Standard library only."""

import errno
import io
import re
import sys
from collections.abc import Sequence

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def plural(number: int, noun: str) -> str:
    return noun if number == 1 else f"{noun}s"


def count(number: int, noun: str) -> str:
    return f"{number:,} {plural(number, noun)}"


def named(clips: Sequence[int]) -> str:
    """Clips, which count from 0, by their numbers: "clip 3", "clips 3, 4, 5 and 12"."""
    names = [str(clip + 1) for clip in clips]
    names[5:-1] = ["..."] if len(names) > 7 else names[5:-1]
    *first, last = names
    return f"{plural(len(clips), 'clip')} {', '.join(first)}{' and ' if first else ''}{last}"


def size(number: int, decimals: int = 1) -> str:
    """Bytes on disk: "1.5 MB", "2.5 GB". `decimals` applies to megabytes."""
    return f"{number / 1e6:.{decimals}f} MB" if number < 1e9 else f"{number / 1e9:.1f} GB"


def gigabytes(number: int) -> str:
    """The size of a download: "2.45 GB", or "613 MB" below a gigabyte."""
    return f"{number / 1e9:.2f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"


def duration(seconds: float) -> str:
    """The length of a video: "10.1 s", "10 min 01 s"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{seconds:.1f} s" if seconds < 60 else f"{minutes} min {rest:02d} s"


def roughly(seconds: float) -> str:
    """A waiting time: "85 s", "12 min", "3 h 5 min"."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def cut(text: str, width: int) -> str:
    """The text on one line of at most `width` characters, none of which controls a terminal."""
    text = " ".join(_CONTROL.sub(" ", text).split())
    return text if len(text) <= width else f"{text[: width - 3]}..."


def uncommented(text: str) -> str:
    """Prompts without the lines that begin with #, which WanGP takes for comments."""
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def one_line(text: str) -> str:
    """A prompt on one line, without comments."""
    return " ".join(uncommented(text).split())


def paragraphs(text: str) -> list[str]:
    """Prompts with empty lines between them, each on one line, without comments."""
    parts = map(one_line, re.split(r"\n\s*\n", uncommented(text)))
    return [part for part in parts if part]


def examples(where: str, *commands: str) -> str:
    """The end of a help text: commands that can be pasted."""
    return "\n".join([f"examples, {where}:", *(f"  {command}" for command in commands)])


def sentence(text: str) -> str:
    """The message with a capital letter at its start, unless that is the name of a file or of a
    setting."""
    first = text.partition(" ")[0].rstrip(".,:;")
    return text if "." in first or "_" in first else text[:1].upper() + text[1:]


def is_closed_pipe(error: BaseException) -> bool:
    """Whether the reader of our output has seen enough, as in `runs | head`. Windows calls that an
    invalid argument."""
    return isinstance(error, BrokenPipeError) or (
        isinstance(error, OSError) and error.errno == errno.EINVAL and error.filename is None)


def escape_unprintable() -> None:
    """Makes consoles with an old code page print other characters as escapes instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
