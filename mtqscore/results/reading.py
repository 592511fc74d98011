"""Result files read back: the rows that ``assess`` wrote, as the assessments that they were."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from itertools import chain
from typing import BinaryIO

from mtqscore.errors import UsageError
from mtqscore.results.columns import Record, RowFaultError, quote, read_row, read_shard, score_names
from mtqscore.results.csv import read_csv
from mtqscore.results.json import Head, json_object, read_document, read_head, read_lines, rows_of
from mtqscore.results.parquet import read_parquet
from mtqscore.results.run import Results, Run
from mtqscore.scores import Assessment

STDIN = "-"


def read_results(path: str | os.PathLike[str], *, may_be_empty: bool = False) -> Results:
    """Read what ``assess`` wrote as JSON Lines, JSON, CSV or Parquet; the content decides, not the name.

    Args:
        path: the file, or ``-`` for stdin.
        may_be_empty: give a result without rows back, as a shard without recordings has none; its run is empty.

    Returns:
        Every row, scored or not, with its scores along time where the file has them.

    Raises:
        UsageError: there is no such file, it is no result of ``assess`` or an incomplete one, it has no rows, or
            its rows stem from different models.
        MissingExtraError: it is a Parquet file, and pyarrow is not installed.

    Example:
        >>> read_results("no-such-file.jsonl")
        Traceback (most recent call last):
        mtqscore.errors.UsageError: cannot read 'no-such-file.jsonl': No such file or directory
    """
    name = os.fspath(path)
    source = "stdin" if name == STDIN else name
    try:
        if name == STDIN:
            return _read(source, sys.stdin.buffer)
        with open(name, "rb") as stream:  # noqa: PTH123 - the name stays as it was typed
            return _read(source, stream)
    except _EmptyError as empty:
        if may_be_empty:
            shards = () if empty.head.shard is None else (empty.head.shard,)
            return Results(source, Run(empty.head.version, "", "", "", (), None), (), shards)
        raise UsageError(f"{source!r}: {empty}") from empty
    except RowFaultError as fault:
        raise UsageError(f"{source!r}: {fault}") from fault
    except UnicodeDecodeError as error:
        raise UsageError(f"{source!r}: this is no result of mtqscore assess: it is not text in UTF-8") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UsageError(f"cannot read {source!r}: {reason}") from error


class _EmptyError(RowFaultError):
    """A file is in order but holds no rows."""

    def __init__(self, text: str, head: Head) -> None:
        super().__init__(text)
        self.head = head


def _read(source: str, stream: BinaryIO) -> Results:
    first = next((line for line in stream if line.strip(b"\xef\xbb\xbf \t\r\n")), b"")
    if not first:
        raise _EmptyError("the file is empty", Head())
    if first.startswith(b"PAR1"):
        head, records = read_parquet(first + stream.read())
        return _gather(source, records, head)
    text = first.decode("utf-8-sig")
    lines = chain([text], (line.decode("utf-8") for line in stream))
    if text.lstrip().startswith("["):  # the rows alone, as jq and pandas write them
        return _gather(source, rows_of(read_document(f'{{"results": {"".join(lines)}}}')), Head())
    if not text.lstrip().startswith("{"):
        return _gather(source, read_csv(lines), Head())
    try:
        is_document = "schema" in json_object(text)
    except ValueError:  # the first of many lines of one object
        is_document = True
    if not is_document:
        return _gather(source, read_lines(lines), Head())
    found = read_document("".join(lines))
    return _gather(source, head=read_head(found), records=rows_of(found))


def _gather(source: str, records: Iterable[Record], head: Head) -> Results:
    rows: list[Assessment] = []
    shards = {head.shard: None}
    last: object = None  # in files with shards every row names one, mostly the same
    targets = head.targets
    for index, record in enumerate(records, start=1):
        if targets is None:
            targets = score_names(list(record))
        try:
            rows.append(read_row(record, targets, head.options))
            if record.get("shard") != last:
                last = record.get("shard")
                shards[read_shard(last)] = None
        except KeyError as error:
            raise RowFaultError(
                f"row {index} has no {error.args[0]!r}: this is no whole result of mtqscore assess"
            ) from error
        except RowFaultError as fault:
            raise RowFaultError(f"row {index}: {fault}") from fault
    if not rows or targets is None:
        raise _EmptyError("the result has no rows", head)
    models = sorted({(row.model, row.model_sha256) for row in rows})
    if len(models) > 1:
        shown = " and ".join(quote(f"{model} {sha256[:8]}".rstrip()) for model, sha256 in models[:2])
        raise RowFaultError(f"its rows stem from different models, {shown}: read the results of each on their own")
    first = rows[0]
    run = Run(
        version=head.version,
        model=first.model,
        model_sha256=first.model_sha256,
        provider=first.provider,
        targets=targets,
        options=head.options,
        frames=any(row.frames is not None for row in rows),
    )
    return Results(source, run, tuple(rows), tuple(shard for shard in shards if shard is not None))
