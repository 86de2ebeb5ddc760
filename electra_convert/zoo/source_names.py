"""What a source is called, by its path alone: the names that outputs get when nobody gave one.

zoo/korean/small/                        small
zoo/korean/small/checkpoint              small
zoo/korean/small/model.ckpt-40.index     model.ckpt-40
zoo/korean/model.ckpt-40-?????-of-00003  model.ckpt-40
downloads/electra_small.tar.gz           electra_small
gs://bucket/korean/small                 small
"""

from __future__ import annotations

import os
from pathlib import Path

from electra_convert.remote.urls import is_remote, parse_url
from electra_convert.tf1 import state
from electra_convert.tf1.archive_kinds import archive_stem
from electra_convert.tf1.prefixes import split_shard, without_suffix
from electra_convert.zoo.output_names import Parts


def source_parts(source: str) -> Parts:
    """Return the names of a source's path from the root on, the last one without suffixes; () for the root itself."""
    if is_remote(source):
        address = parse_url(source)
        host = address.root.partition("://")[2].strip("/").rpartition("@")[2]
        return (*filter(None, [host]), *address.parts[:-1], *map(_bare, address.parts[-1:]))
    path = Path(os.path.abspath(source))
    parts = path.parts[1:]  # the first is the root, or a drive
    if not parts or os.path.isdir(path):
        return parts
    return parts[:-1] if parts[-1] == state.NAME and len(parts) > 1 else (*parts[:-1], _bare(parts[-1]))


def _bare(name: str) -> str:
    """Return the prefix that a file's name or a pattern of V1 shards means, or an archive's name without suffix."""
    prefix = without_suffix(name)
    if prefix is not None:
        return prefix
    shard = split_shard(name.replace("?????", "00000", 1))
    return shard[0] if shard is not None else archive_stem(name)
