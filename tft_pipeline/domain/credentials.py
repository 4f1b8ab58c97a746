"""Taking passwords out of addresses and connection strings that stand in a message. Not here: who prints it."""

import re

_IN_ADDRESS = re.compile(r"""(?<=://)[^\s'"<>]*@|(?<=\S)\?[^\s=]+=[^\s'")]*""")
"""A user and a password, up to the last @ of a word, for passwords hold @ and / too; and a query, which may be a token."""


_AS_A_KEY = re.compile(r"""(password|passwd|pwd)\s*=\s*(?:'(?:\\.|[^'\\])*'?|(?:\\.|[^\s\\])+)""", re.IGNORECASE)
"""A password as libpq takes it, in quotes or up to the next blank, with whatever a backslash keeps from ending it."""


def without_credentials(text: str) -> str:
    """The text with user, password and query of every address left out: `http://u:p@host/x?token=t` as `http://host/x?...`,
    and `host=h password=p` as `host=h password=...`."""
    addresses = _IN_ADDRESS.sub(lambda found: "" if found[0].endswith("@") else "?...", text)
    return _AS_A_KEY.sub(r"\1=...", addresses)
