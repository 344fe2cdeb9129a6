"""A program around DVC's own API for what its command line lacks: objects by checksum, and a push of named revisions.

It works in the checkout of the working folder, as a process of its own: only so has every wait a limit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc_data.hashfile.db import get_index
from dvc_objects.fs.local import LocalFileSystem

from auto_deployment.common.output import keep_output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dvc_data.hashfile.db import HashFileDB


def listings(repo: Repo, remote: str, folders: Sequence[str]) -> dict[str, list[str] | None]:
    """The objects of the files of each folder, from the cache or else the remote; None where neither has the folder.

    Raises ValueError for a folder whose list is damaged.
    """
    stores = [repo.cache.local, _remote(repo, remote)]
    return {folder: _listing(stores, folder) for folder in folders}


def _remote(repo: Repo, remote: str) -> HashFileDB:
    """The objects in a remote. Raises OSError where its folder is missing: a folder that is not mounted has lost no object."""
    store: HashFileDB = repo.cloud.get_remote_odb(remote, "models")
    if isinstance(store.fs, LocalFileSystem) and not store.fs.exists(repo.cloud.get_remote(remote).path):
        raise OSError(f"{repo.cloud.get_remote(remote).path}: there is no such folder: is the disk of the DVC remote mounted?")
    return store


def _listing(stores: Sequence[HashFileDB], folder: str) -> list[str] | None:
    damaged = False
    for store in stores:
        with suppress(FileNotFoundError), store.fs.open(store.oid_to_path(folder), "rb") as file:
            content = file.read()
            if f"{hashlib.md5(content, usedforsecurity=False).hexdigest()}.dir" == folder:
                return [str(entry["md5"]) for entry in json.loads(content)]
            damaged = True
    if damaged:
        raise ValueError(f"the list of files {folder} is damaged: dvc push it again from a checkout that has it")
    return None


def remove(repo: Repo, remote: str, objects: Sequence[str]) -> None:
    """Remove objects from the remote and the cache. Absent ones do not count.

    DVC takes a folder's object as proof of its files, also in its index of the remote. So index and folders go first.
    """
    store = _remote(repo, remote)
    with repo.lock:
        with closing(get_index(store)) as index:
            index.clear()
        for each in sorted(objects, key=lambda each: not each.endswith(".dir")):
            for place in (store, repo.cache.local):
                with suppress(FileNotFoundError):
                    place.delete(each)


def main() -> int:
    """The program. The exit status."""
    keep_output()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("listings", "remove", "push"))
    parser.add_argument("remote")
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    try:
        with Repo(".") as repo:
            if given.action == "listings":
                sys.stdout.write(json.dumps(listings(repo, given.remote, given.names)))
            elif given.action == "remove":
                remove(repo, given.remote, given.names)
            else:
                repo.push(remote=given.remote, revs=given.names)
    except (DvcException, OSError, ValueError, NotImplementedError) as error:
        sys.stderr.write(f"ERROR: {error or type(error).__name__}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
