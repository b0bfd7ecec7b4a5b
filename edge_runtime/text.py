"""Text from files on its way to a terminal or a picture."""


def printable(text: str) -> str:
    """The text without what would steer a terminal: control characters are replaced."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
