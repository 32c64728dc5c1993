"""Brings the original files of datasets and tasks: one pinned revision, checked by its SHA-256.

The hash of CoGEX's file is not known to this project. So the first fetch pins it: the revision that
`main` names then, and the SHA-256 that the hub states for the file, lie beside it in
`cogex.json.pin`. Later fetches, there and wherever that file is copied, bring the same bytes.
"""

import http.client
import json
import re
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path

from tools.errors import UserError
from tools.files import sha256, write_json

FOLDER = Path("data/fetched")
_GITHUB = "https://raw.githubusercontent.com/"


@dataclass(frozen=True)
class Pinned:
    """A file as its authors published it: `url` names a commit.

    Without a hash it is pinned at the first fetch: see the module.
    """

    file: str
    url: str
    sha256: str

    @property
    def path(self) -> Path:
        """Where it is on this machine."""
        return FOLDER / self.file

    @property
    def pin(self) -> Path:
        """Where the first fetch writes the revision and the hash of a file that has none here."""
        return FOLDER / f"{self.file}.pin"


FILES = {
    "cogex": Pinned(
        "cogex.json", "https://huggingface.co/datasets/mkhalifa/CoGEX/resolve/main/data.json", ""
    ),
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
    if not pinned.sha256:
        pinned = _pin(pinned, timeout)
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
    if not (pinned.path.is_file() and pinned.sha256):
        raise UserError(f"{pinned.path}: is not there, checked; run `cogex fetch {name}`")
    _verify(pinned, pinned.path, "another file")
    return pinned.path


def name_of(path: Path) -> str | None:
    """Return the name under which a path is fetched, if it is one of those files."""
    return next((name for name, pinned in FILES.items() if pinned.path == path), None)


def _pinned(name: str) -> Pinned:
    if name not in FILES:
        raise UserError(f"{name}: is not known; fetch one of {', '.join(FILES)}")
    pinned = FILES[name]
    if pinned.sha256 or not pinned.pin.is_file():
        return pinned
    try:
        known = json.loads(pinned.pin.read_text(encoding="utf-8"))
        return replace(pinned, url=str(known["url"]), sha256=str(known["sha256"]))
    except (OSError, ValueError, TypeError, KeyError):
        raise UserError(f"{pinned.pin}: is damaged; remove it and fetch again") from None


def _pin(pinned: Pinned, timeout: float) -> Pinned:
    """Ask the hub for a file's revision and hash, and write both down. Raises UserError."""
    import httpx
    from huggingface_hub import get_hf_file_metadata

    try:
        found = get_hf_file_metadata(pinned.url, timeout=timeout)
    except (OSError, httpx.HTTPError) as error:
        why = " ".join(str(error).split())[:200]
        raise UserError(f"{pinned.url}: cannot be fetched: {why}; {_by_hand(pinned)}") from None
    commit, digest = found.commit_hash or "", found.etag or ""
    if not re.fullmatch("[0-9a-f]{40}", commit) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise UserError(
            f"{pinned.url}: the hub states no revision and SHA-256 for it; {_by_hand(pinned)}"
        )
    url = pinned.url.replace("/resolve/main/", f"/resolve/{commit}/")
    write_json(pinned.pin, {"url": url, "sha256": digest})
    return replace(pinned, url=url, sha256=digest)


def _by_hand(pinned: Pinned) -> str:
    """Say where terms are accepted, and what brings the file from a machine with a network."""
    page, _, file = pinned.url.partition("/resolve/main/")
    name = page.partition("/datasets/")[2]
    return (
        f"look at {page} (are there terms to accept?), run `hf auth login` if it asks for it, and "
        f"`hf download --repo-type dataset {name} {file} --local-dir data`; then prepare "
        f"data/{file}"
    )


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
