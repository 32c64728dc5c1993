"""Brings the original files of some tasks: one pinned revision, checked by its SHA-256."""

import http.client
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tools.errors import UserError
from tools.files import sha256

FOLDER = Path("data/fetched")
_GITHUB = "https://raw.githubusercontent.com/"


@dataclass(frozen=True)
class Pinned:
    """A file as its authors published it: `url` names a commit."""

    file: str
    url: str
    sha256: str

    @property
    def path(self) -> Path:
        """Where it is on this machine."""
        return FOLDER / self.file


FILES = {
    "svamp": Pinned(
        "SVAMP.json",
        _GITHUB + "arkilpatel/SVAMP/78e727689e1c1bebfc4be39c446898e8e10b0518/SVAMP.json",
        "5be77703a6d891ae476d7c082787ad361392aa02453b132516cdd5f4e7934e3e",
    ),
    "word_sorting": Pinned(
        "word_sorting.json",
        _GITHUB + "suzgunmirac/BIG-Bench-Hard/9ee07bd481feebf959a6b59d61ea57bdcf30964d/"
        "bbh/word_sorting.json",
        "2a6132d2c99f00d0d2eb1113ac6b4a918bd969d863c48749210d969713db8d43",
    ),
    "humaneval": Pinned(
        "HumanEval.jsonl.gz",
        _GITHUB + "openai/human-eval/6d43fb980f9fee3c892a914eda09951f772ad10d/"
        "data/HumanEval.jsonl.gz",
        "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef",
    ),
    "mbpp": Pinned(
        "mbpp.jsonl",
        _GITHUB + "google-research/google-research/f82046ba5aabbbb427dbfd38a254d26bff08b533/"
        "mbpp/mbpp.jsonl",
        "ccf64ceae9c5403bf50a044cb6d505bfd2a2963ee58338ba268fd65beab92a9f",
    ),
}


def fetch(name: str, *, timeout: float = 60.0) -> Path:
    """Bring a pinned file, unless it is there already; return its path.

    Raises UserError if there is no such name, if the network does not answer (what to put where
    is then said), or if the bytes are not the published ones; nothing is then left behind.
    """
    pinned = _pinned(name)
    if not pinned.path.is_file():
        pinned.path.parent.mkdir(parents=True, exist_ok=True)
        partial = pinned.path.with_name(f".{pinned.file}.partial")
        try:
            _download(pinned, partial, timeout)
            _verify(pinned, partial, "what the network sent")
            partial.replace(pinned.path)
        finally:
            partial.unlink(missing_ok=True)
    return verified(name)


def verified(name: str) -> Path:
    """Return the path of a fetched file. Raises UserError if it is not there or not that file."""
    pinned = _pinned(name)
    if not pinned.path.is_file():
        raise UserError(f"{pinned.path}: is not there; run `cogex fetch {name}`")
    _verify(pinned, pinned.path, "another file")
    return pinned.path


def name_of(path: Path) -> str | None:
    """Return the name under which a path is fetched, if it is one of those files."""
    return next((name for name, pinned in FILES.items() if pinned.path == path), None)


def _pinned(name: str) -> Pinned:
    if name not in FILES:
        raise UserError(f"{name}: is not known; fetch one of {', '.join(FILES)}")
    return FILES[name]


def _download(pinned: Pinned, target: Path, timeout: float) -> None:
    try:
        with (
            urllib.request.urlopen(pinned.url, timeout=timeout) as answer,
            target.open("wb") as file,
        ):
            while block := answer.read(1 << 20):
                file.write(block)
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        raise UserError(
            f"{pinned.url}: cannot be fetched: {error}; without a network put that file, with "
            f"SHA-256 {pinned.sha256}, at {pinned.path} and run this again"
        ) from None


def _verify(pinned: Pinned, path: Path, otherwise: str) -> None:
    found = sha256(path)
    if found != pinned.sha256:
        raise UserError(
            f"{pinned.path}: is {otherwise}: SHA-256 {found}, not {pinned.sha256}; "
            f"remove it and fetch {pinned.url}"
        )
