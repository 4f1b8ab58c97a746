"""Taking passwords out of addresses that stand in a message. Not here: who prints it."""

import re

_IN_ADDRESS = re.compile(r"""(?<=://)[^\s'"<>]*@|(?<=\S)\?[^\s=]+=[^\s'")]*""")
"""A user and a password, up to the last @ of a word, for passwords hold @ and / too; and a query, which may be a token."""


def without_credentials(text: str) -> str:
    """The text with user, password and query of every address left out: `http://u:p@host/x?token=t` as `http://host/x?...`."""
    return _IN_ADDRESS.sub(lambda found: "" if found[0].endswith("@") else "?...", text)
