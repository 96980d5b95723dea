"""The served model's card as a page. Its Markdown comes with the model, so nothing of it is taken as HTML."""

from __future__ import annotations

import html
import re

from markdown_it import MarkdownIt
from markdown_it.token import Token

COMMENT = re.compile(r"^<!--.*?-->\n?", re.DOTALL | re.MULTILINE)
PICTURE = re.compile(r"[A-Za-z0-9_-]{1,64}\.png")  # a file beside the card; no path
PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<link rel="stylesheet" href="page/style.css"></head>
<body><main class="card">
{body}</main></body>
</html>
"""


def card_html(markdown: str, title: str) -> str:
    """Return a card's page, whose addresses are relative to /. Pictures beside the card are those below card/; of
    others the text is shown.
    """
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = reader.parse(COMMENT.sub("", markdown))
    for token in tokens:
        token.children = [_of_here(child) for child in token.children or []] or token.children
    return PAGE.format(title=html.escape(title), body=reader.renderer.render(tokens, reader.options, {}))


def _of_here(token: Token) -> Token:
    if token.type != "image":
        return token
    name = str(token.attrGet("src"))
    if not PICTURE.fullmatch(name):
        return Token("text", "", 0, content=token.content)
    token.attrSet("src", f"card/{name}")
    return token
