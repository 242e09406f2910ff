"""What may be kept of a command or of its output: no password, token or key, whoever has printed it."""

from __future__ import annotations

import re

MASK = "***"

_SECRET = r"(?:passw(?:or)?d|passphrase|pwd|secret|token|api_?key|access_?key|private_?key)"
# A name is tried once, from its beginning, and never given back in part: hostile output must not cost time.
_NAME = rf"(?=[\w.-]*?{_SECRET})[\w.-]++"
_VALUE = r"\"(?:[^\"\\\n]|\\.)*+\"|'[^'\n]*+'|\\*+[\"']?[^\s,;&|\"'}\]\\]++"

_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.S
)
_NAMED = re.compile(rf"(?P<name>(?<![\w.-]){_NAME})(?P<sign>\\*+[\"']?[ \t]*+[=:][ \t]*+)(?:{_VALUE})", re.I)
_OPTION = re.compile(rf"(?P<name>(?<![\w-])--{_NAME})(?P<sign>[ \t]++)(?:{_VALUE})", re.I)
_MYSQL = re.compile(r"(?P<name>\bmysql[^\n|;&]{0,200}?\s-p)(?P<sign>)(?!\s)\S++")
_BEARER = re.compile(r"(?P<name>\b(?:Bearer|Basic))(?P<sign> +)[\w.~+/=-]{8,}")
_URL_LOGIN = re.compile(r"(?P<name>(?<![a-z0-9+.-])[a-z][a-z0-9+.-]*+://)[^\s/@'\"]++@", re.I)


def masked(text: str) -> str:
    """Return the text with every secret in it replaced, known by its name or by its form.

    Rather too much is replaced than too little: a word after `password:` is one, even in a sentence.
    """
    text = _PRIVATE_KEY.sub(MASK, text)
    for pattern in (_NAMED, _OPTION, _MYSQL, _BEARER):
        text = pattern.sub(rf"\g<name>\g<sign>{MASK}", text)
    return _URL_LOGIN.sub(rf"\g<name>{MASK}@", text)
