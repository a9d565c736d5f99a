"""URLs of databases, checkpoint places and MLflow, as messages may show them: without secrets."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

# In a database's URL the user is part of the address; elsewhere it may be a token.
_DATABASES = {"sqlite", "postgresql", "postgres", "mysql", "mariadb", "oracle", "mssql"}
# Up to the last @: a password may hold one, and a slash.
_CREDENTIALS = re.compile(r"(?P<user>[^:/@]*)(?::(?P<password>.*))?@", re.DOTALL)
_SECRET_OPTION = re.compile(r"([^&=]*(?:pass|pwd|secret|token|key|credential)[^&=]*=)([^&]*)", re.IGNORECASE)


def safe_url(url: str) -> str:
    """Return the URL without its password and without what else of it may be secret.

    The URL of a database keeps its user and its harmless options; any other URL loses user and query. A folder stays
    as it is.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        found = _CREDENTIALS.match(url)
        return url if found is None or found["password"] is None else url[found.end() :]
    address, mark, query = rest.partition("?")
    if "@" in query and "@" not in address:
        # The password may hold the question mark; then nothing tells where it ends.
        return f"{scheme}://***"
    found = _CREDENTIALS.match(address)
    shown = address if found is None else _shown(scheme, found) + address[found.end() :]
    options = mark + _SECRET_OPTION.sub(r"\1***", query) if _is_database(scheme) else ""
    return f"{scheme}://{shown}{options}"


def hide_secrets(text: str, url: str) -> str:
    """Return a text, such as an error that quotes a URL, without what of the URL is secret."""
    scheme, _, rest = url.partition("://")
    address, _, query = rest.partition("?")
    secrets = {query, *(value for _, value in _SECRET_OPTION.findall(query))}
    if found := _CREDENTIALS.match(rest if "@" in query and "@" not in address else address):
        text = text.replace(found[0], _shown(scheme, found))
        secrets.add(found["password"] or "")
    forms = {form for secret in secrets for form in (secret, unquote(secret))} - {""}
    # The longest first: a shorter one may be a part of it.
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "***")
    return text


def absolute_place(url: str) -> str:
    """Return a URL as it is, and a folder as an absolute path."""
    return url if "://" in url else str(Path(url).expanduser().absolute())


def _shown(scheme: str, credentials: re.Match[str]) -> str:
    """What may be shown of the part before the host."""
    if not _is_database(scheme):
        return ""
    return f"{credentials['user']}{'' if credentials['password'] is None else ':***'}@"


def _is_database(scheme: str) -> bool:
    return scheme.partition("+")[0] in _DATABASES
