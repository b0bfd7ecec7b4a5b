"""Text from files on its way to a terminal or a picture."""


def printable(text: str) -> str:
    """The text without what would steer a terminal: control characters are replaced."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def one_line(text: str, longest: int = 240) -> str:
    """Text from elsewhere as one short line that is safe to print."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= longest else f"{line[:longest]}…"


def count_of(number: int, thing: str) -> str:
    """`1 thread`, `2 threads`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
