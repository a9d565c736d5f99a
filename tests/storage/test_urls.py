"""What messages show of a URL, and of an error that quotes it: nothing secret."""

from __future__ import annotations

import pytest

from frostline.storage.urls import hide_secrets, safe_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://me:s3cret@host:5432/db?sslmode=require", "postgresql+psycopg://me:***@host:5432/db?sslmode=require"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("postgresql://host/db?user=me&password=s3cret&x=1", "postgresql://host/db?user=me&password=***&x=1"),
        ("mysql+pymysql://me:s3/cr@et@host/db", "mysql+pymysql://me:***@host/db"),
        ("postgresql://me:s3?cret@host/db", "postgresql://***"),
        ("sqlite:////folder/a@b.db", "sqlite:////folder/a@b.db"),
        ("https://s3cret@host/x", "https://host/x"),
        ("https://me:s3cret@host/x?token=s3cret#s3cret", "https://host/x"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("/folder/a@b:c", "/folder/a@b:c"),
        ("me:s3cret@host", "host"),
    ],
)  # fmt: skip
def test_a_url_is_shown_without_secrets(url: str, shown: str) -> None:
    assert safe_url(url) == shown


@pytest.mark.parametrize(
    ("url", "error", "shown"),
    [
        ("http://me:s3cret@host", "no answer from http://me:s3cret@host/", "no answer from http://host/"),
        ("http://s3cret@host", "no answer from http://s3cret@host/", "no answer from http://host/"),
        ("postgresql://me:s%40cret@host/db", "wrong password s@cret", "wrong password ***"),
        ("s3://bucket?key=s3cret", "s3cret is no key", "*** is no key"),
        ("postgresql://host/db?password=s3cret", "not s3cret", "not ***"),
        ("postgresql://me:s3?cret@host/db", "not s3?cret", "not ***"),
        ("", "as it is", "as it is"),
    ],
)
def test_an_error_is_shown_without_the_secrets_of_its_url(url: str, error: str, shown: str) -> None:
    assert hide_secrets(error, url) == shown
