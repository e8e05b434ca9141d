"""Fetching a file from the first mirror that has it: resumed, checked, and only then put in its
place.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_BLOCK = 1 << 16
_TIMEOUT = 20.0  # seconds without a byte before a mirror is given up


class DownloadError(RuntimeError):
    """No mirror gave the file. One line that names the file and what each mirror answered."""


class _MirrorError(Exception):
    """Why one mirror did not do."""


def fetch(
    name: str,
    mirrors: Iterable[str],
    folder: str | os.PathLike[str],
    *,
    md5: str | None = None,
    sha256: str | None = None,
    progress: bool | None = None,
    timeout: float = _TIMEOUT,
) -> Path:
    """Downloads `mirror + name` into `folder` from the first of `mirrors` that gives a file with
    the right sums.

    A file that is there already with the right sums is kept. What a broken connection left (`name`
    + ".part") is resumed where it stopped. The file takes its place in one rename, after its sums
    were checked.
    progress: a bar on stderr; None shows it only on a terminal. Returns the path. Raises
    DownloadError, and OSError where the folder cannot be written.
    """
    folder = Path(folder)
    target = folder / name
    if target.is_file() and _sums_differ(target, md5, sha256) is None:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / (name + ".part")
    problems = []
    for mirror in mirrors:
        url = mirror + name
        try:
            _fetch_from(url, part, md5, sha256, progress, timeout)
        except _MirrorError as problem:
            problems.append(f"{url}: {problem}")
            continue
        _synchronise(part)
        part.replace(target)
        return target
    raise DownloadError(f"could not download {name}: {'; '.join(problems) or 'no mirror is known'}")


def sums_match(
    path: str | os.PathLike[str], md5: str | None = None, sha256: str | None = None
) -> bool:
    """Whether the file is there and has the given sums."""
    path = Path(path)
    return path.is_file() and _sums_differ(path, md5, sha256) is None


def _fetch_from(
    url: str, part: Path, md5: str | None, sha256: str | None, progress: bool | None, timeout: float
) -> None:
    """The whole file from one mirror into `part`; a resumed one with wrong sums is fetched once
    more from the start.
    """
    resumed = part.stat().st_size if part.is_file() else 0
    while True:
        _stream(url, part, resumed, progress, timeout)
        wrong = _sums_differ(part, md5, sha256)
        if wrong is None:
            return
        part.unlink()
        if not resumed:
            raise _MirrorError(wrong)
        resumed = 0  # the bytes of an older attempt may have been the bad ones


def _stream(url: str, part: Path, have: int, progress: bool | None, timeout: float) -> None:
    """Appends what is missing to `part`. A connection that breaks leaves what came, for the next
    attempt.
    """
    headers = {"User-Agent": "rushlight", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=headers),
            timeout=timeout,
        ) as answer:
            if have and answer.status != http.client.PARTIAL_CONTENT:
                have = 0  # this server sends all of it again
            elif have and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                raise _MirrorError("resumed at another byte than asked")
            _copy(answer, part, have, progress)
    except urllib.error.HTTPError as problem:
        with problem:
            if have and problem.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # nothing is missing, or it is another file: the sums will tell
            raise _MirrorError(f"HTTP {problem.code} {problem.reason}") from None
    except urllib.error.URLError as problem:
        raise _MirrorError(_plainly(problem.reason)) from None
    except (http.client.HTTPException, ConnectionError, TimeoutError) as problem:
        raise _MirrorError(_plainly(problem)) from None


def _copy(answer: Any, part: Path, have: int, progress: bool | None) -> None:
    """The body of an answer to the end of `part`, with a bar."""
    from tqdm import tqdm

    length = answer.headers.get("Content-Length")
    total = have + int(length) if length is not None and length.isdigit() else None
    bar = tqdm(
        total=total,
        initial=have,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        desc=part.name.removesuffix(".part"),
        disable=None if progress is None else not progress,
        leave=False,
    )
    with part.open("ab" if have else "wb") as out, bar:
        while block := answer.read(_BLOCK):
            out.write(block)
            have += len(block)
            bar.update(len(block))
    if total is not None and have < total:
        raise _MirrorError(f"the connection broke after {have:,} of {total:,} bytes")


def _sums_differ(path: Path, md5: str | None, sha256: str | None) -> str | None:
    """What is wrong with the file's sums, or None."""
    wanted = {
        name: value for name, value in (("md5", md5), ("sha256", sha256)) if value is not None
    }
    sums = {name: hashlib.new(name, usedforsecurity=False) for name in wanted}
    if not sums:
        return None
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            for one in sums.values():
                one.update(block)
    for name, value in wanted.items():
        if sums[name].hexdigest() != value.lower():
            return f"the {name} of what came is {sums[name].hexdigest()}, not {value.lower()}"
    return None


def _plainly(problem: Any) -> str:
    """A connection's failure in a few words."""
    if isinstance(problem, socket.gaierror):
        return "no network (the name of the server could not be found)"
    if isinstance(problem, TimeoutError):
        return "the server did not answer in time"
    if isinstance(problem, ConnectionRefusedError):
        return "the connection was refused"
    text = str(problem) or type(problem).__name__
    return " ".join(text.split())


def _synchronise(path: Path) -> None:
    with path.open("rb+") as stream, contextlib.suppress(OSError):
        os.fsync(stream.fileno())
