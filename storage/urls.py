"""URLs of databases, checkpoint stores and MLflow, shown in messages without their secrets."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

# The user name of a database URL is shown; in other URLs it may be a token.
_DATABASES = {"sqlite", "postgresql", "postgres", "mysql", "mariadb", "oracle", "mssql"}
# Up to the last @: a password may contain @ and slashes.
_CREDENTIALS = re.compile(r"(?P<user>[^:/@]*)(?::(?P<password>.*))?@", re.DOTALL)
_SECRET_OPTION = re.compile(r"([^&=]*(?:pass|pwd|secret|token|key|credential)[^&=]*=)([^&]*)", re.IGNORECASE)


def safe_url(url: str) -> str:
    """Return a URL without its secrets.

    A database URL keeps its user name and its harmless options. Any other URL loses its user name and query. A path is
    returned unchanged.

    Args:
        url: URL, or path of a folder.

    Examples:
        >>> from frostline.storage.urls import safe_url
        >>> safe_url("postgresql://anna:secret@db.example/studies?sslmode=require")
        'postgresql://anna:***@db.example/studies?sslmode=require'
        >>> safe_url("https://token@mlflow.example/?key=1")
        'https://mlflow.example/'
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        found = _CREDENTIALS.match(url)
        return url if found is None or found["password"] is None else url[found.end() :]
    address, mark, query = rest.partition("?")
    if "@" in query and "@" not in address:
        # The question mark may belong to the password, whose end is then unknown.
        return f"{scheme}://***"
    found = _CREDENTIALS.match(address)
    shown = address if found is None else _shown(scheme, found) + address[found.end() :]
    options = mark + _SECRET_OPTION.sub(r"\1***", query) if _is_database(scheme) else ""
    return f"{scheme}://{shown}{options}"


def holds_secret(url: str) -> bool:
    """Return whether a URL of a server or a store, other than a database, has a user name or a query.

    Examples:
        >>> from frostline.storage.urls import holds_secret
        >>> [holds_secret(url) for url in ("https://me:hunter2@mlflow.example", "s3://bucket/frostline", "/mnt/shared")]
        [True, False, False]
    """
    scheme, separator, _ = url.partition("://")
    return bool(separator) and not _is_database(scheme) and safe_url(url) != url


def hide_secrets(text: str, url: str) -> str:
    """Return a text, such as an error message that quotes a URL, without the URL's secrets.

    Args:
        text: Text that may quote the URL or parts of it.
        url: URL with its secrets.

    Examples:
        >>> from frostline.storage.urls import hide_secrets
        >>> hide_secrets("cannot log in with hunter2", "mysql://anna:hunter2@db/studies")
        'cannot log in with ***'
    """
    scheme, _, rest = url.partition("://")
    address, _, query = rest.partition("?")
    secrets = {query, *(value for _, value in _SECRET_OPTION.findall(query))}
    if found := _CREDENTIALS.match(rest if "@" in query and "@" not in address else address):
        text = text.replace(found[0], _shown(scheme, found))
        secrets.add(found["password"] or "")
    forms = {form for secret in secrets for form in (secret, unquote(secret))} - {""}
    # Longest first: a shorter secret may be part of a longer one.
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "***")
    return text


def absolute_place(url: str) -> str:
    """Return a URL unchanged, and a folder as an absolute path.

    Examples:
        >>> from frostline.storage.urls import absolute_place
        >>> absolute_place("s3://bucket/checkpoints")
        's3://bucket/checkpoints'
    """
    return url if "://" in url else str(Path(os.path.expanduser(url)).absolute())


def _shown(scheme: str, credentials: re.Match[str]) -> str:
    """Return the part before the host, without secrets."""
    if not _is_database(scheme):
        return ""
    return f"{credentials['user']}{'' if credentials['password'] is None else ':***'}@"


def _is_database(scheme: str) -> bool:
    return scheme.partition("+")[0] in _DATABASES
