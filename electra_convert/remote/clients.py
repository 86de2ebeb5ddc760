"""The clients of stores: opened with time-outs, kept for the next request; and what they raise, in words.

fsspec has a client for every kind of store, most of them in packages of their own, each with exceptions of its own.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from electra_convert.errors import AccessError, EnvironmentFailure, MissingExtra, UsageError
from electra_convert.remote.urls import Address, redact

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# Seconds without an answer, and without a byte.
CONNECT, SILENCE = 10, 30

# How often s3fs tries a request; botocore below it once, or the tries would multiply.
TRIES = 3

PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "hf": "huggingface_hub",
    "http": "aiohttp",
    "https": "aiohttp",
}

ACCESS = {
    "s3": "set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; for a public bucket FSSPEC_S3_ANON=1",
    "gs": "gcloud auth application-default login; for a public bucket FSSPEC_GS_TOKEN=anon",
    "hf": "hf auth login, or set HF_TOKEN",
}
ACCESS |= {"s3a": ACCESS["s3"], "gcs": ACCESS["gs"]}

# What the libraries raise that is no OSError.
_LIBRARY_ERRORS = (
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("aiohttp", "ClientError"),
    ("gcsfs.retry", "HttpError"),
    ("google.auth.exceptions", "GoogleAuthError"),
    ("httpx", "HTTPError"),
    ("httpx2", "HTTPError"),
)

# What they log by themselves would stand on the screen beside our own message.
_LOGGERS = ("fsspec", "gcsfs", "s3fs", "botocore", "aiobotocore", "huggingface_hub", "asyncio")

# HTTP's words for no and for nothing.
REFUSED, ABSENT = {401, 403}, {404, 410}

# To open a client of S3 takes 0.1 s, and a batch asks for thousands. What a client is made from comes from these.
CLIENTS: dict[tuple[object, ...], AbstractFileSystem] = {}
_SETTINGS = ("AWS_", "FSSPEC_", "GOOGLE_", "GCSFS_", "STORAGE_", "HF_", "HTTP", "http", "HOME")


def client_of(address: Address) -> AbstractFileSystem:
    """Return the client of a store; one that this thread has opened already, as long as the environment is the same."""
    environment = tuple(sorted(pair for pair in os.environ.items() if pair[0].startswith(_SETTINGS)))
    key = (os.getpid(), threading.get_ident(), address.root, "%" in address.url, environment)
    if key not in CLIENTS:
        for logger in map(logging.getLogger, _LOGGERS):
            if not logger.handlers:
                logger.addHandler(logging.NullHandler())
        CLIENTS[key] = _open(address)
    return CLIENTS[key]


def _open(address: Address) -> AbstractFileSystem:
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise _missing_package("fsspec", address) from error
    scheme = address.scheme
    try:
        kind = fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        raise _missing_package(PACKAGES.get(scheme) or error.name or str(error), address) from error
    except ValueError as error:
        raise UsageError(
            "no store of this kind is known",
            where=address.shown,
            found=f"{scheme}://",
            expected="s3, gs, hf, https, memory, or another scheme of fsspec",
        ) from error
    configured = fsspec.config.conf.get(scheme, {})
    try:
        options = {name: value for name, value in _options(address).items() if name not in configured}
        # fsspec's own cache of clients does not ask whether the environment is the same.
        given = {**kind._get_kwargs_from_urls(address.url), **options}
        files = kind(use_listings_cache=False, skip_instance_cache=True, **given)
    except ImportError as error:
        raise _missing_package(PACKAGES.get(scheme) or error.name or str(error), address) from error
    except failures() as error:
        raise failure_of(address, error) from None
    if hasattr(files, "retries"):
        files.retries = TRIES
    return files


def _options(address: Address) -> dict[str, Any]:
    """Return the settings of a store that keep it from waiting for ever."""
    if address.scheme in {"s3", "s3a"}:
        return {
            "config_kwargs": {
                "connect_timeout": CONNECT,
                "read_timeout": SILENCE,
                "retries": {"total_max_attempts": 1},
            }
        }
    if address.scheme in {"http", "https"}:
        import aiohttp

        # aiohttp's own is five minutes for a whole file.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=SILENCE)
        # What is percent-encoded is not encoded anew: a signature is over what was signed.
        return {"client_kwargs": {"timeout": timeout}, "encoded": "%" in address.url}
    return {}


def _missing_package(package: str, address: Address) -> MissingExtra:
    return MissingExtra(
        f"{address.scheme}:// needs {package}",
        where=address.shown,
        found=f"{package} is not installed",
        hint=f"pip install 'electra-convert[remote]', or {package} alone",
    )


def failures() -> tuple[type[Exception], ...]:
    """Return what a store may raise: of the libraries, those that are loaded."""
    found = [getattr(sys.modules.get(module), name, None) for module, name in _LIBRARY_ERRORS]
    library = [error for error in found if isinstance(error, type) and issubclass(error, Exception)]
    # ValueError: names that a store does not take; NotImplementedError: stores that can only read.
    return OSError, asyncio.TimeoutError, ValueError, NotImplementedError, *library


def status_of(error: BaseException) -> int | None:
    """Return the status of an answer over HTTP, wherever an error keeps it."""
    response = getattr(error, "response", None)
    for holder, name in ((error, "status"), (error, "code"), (response, "status_code")):
        status = getattr(holder, name, None)
        if isinstance(status, int):
            return status
    return None


def failure_of(address: Address, error: BaseException) -> EnvironmentFailure:
    """Return what went wrong in a store, in words."""
    words = " ".join(str(error).split())
    reason = redact(f"{type(error).__name__}: {words}" if words else type(error).__name__)
    if isinstance(error, PermissionError) or status_of(error) in REFUSED or "Credential" in type(error).__name__:
        return AccessError(
            "the store does not let us in", where=address.shown, found=reason, hint=ACCESS.get(address.scheme)
        )
    return EnvironmentFailure(
        "the store failed",
        where=address.shown,
        found=reason,
        hint="check the URL and the network, then try again",
    )
