"""Results that an earlier run left unfinished: its JSON Lines file shows which recordings are done."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import ClassVar, NamedTuple

from mtqscore.audio.inputs import Input, Stamp, is_remote
from mtqscore.audio.sources import path_stamp
from mtqscore.base.files import Output, write_problem
from mtqscore.errors import UsageError
from mtqscore.results.json import JsonLinesWriter, read_line
from mtqscore.results.run import Run, Summary
from mtqscore.scores import Assessment

FIRST_BYTES = b'{"path": '
"""Beginning of every row; of a file that ends within its first line, there is no more to be known."""


class _Line(NamedTuple):
    """A row of the file that may still hold."""

    number: int
    offset: int
    stamp: Stamp
    channel_count: int | None


class ResumedFile(AbstractContextManager["ResumedFile"]):
    """A JSON Lines file that is continued, and the writer of what is new in it.

    A row holds as long as the file that it scored has the same size and time of change, and the model, the channels
    and the precision are the same. New rows are appended, so that nothing that was there is lost whenever the run
    ends. Where they belong between or instead of others, a neighbour gets all rows in their order as well, and takes
    the file's place when it is complete.

    Args:
        target: the file; it need not exist.
        run: what all rows have in common.

    Raises:
        UsageError: the file is no result as JSON Lines, or another run is writing it.
        EnvironmentProblemError: the file cannot be written.
    """

    line_by_line: ClassVar[bool] = True

    def __init__(self, target: str, run: Run) -> None:
        if run.options is None:
            raise ValueError("a run that scores has options")
        self.kept = self.left_out = 0
        self._run = run
        self._options = run.options
        self._plan: list[tuple[int, ...] | None] = []
        self._handed_out: Assessment | None = None
        self._in_order = True
        self._neighbour: Output | None = None
        self.place = Output(target, line_by_line=True, keep=True)
        self._writers = [JsonLinesWriter(self.place.stream, run)]
        try:
            self._stream = self.place.path.open("rb")
        except OSError as error:
            self.place.__exit__(error)
            raise write_problem(target, error) from error

    def __exit__(self, *failure: object) -> None:
        self._stream.close()
        self.place.__exit__(*failure)
        if self._neighbour is not None:
            self._neighbour.__exit__(*failure)

    # --- what is to be done -------------------------------------------------------------------------------------

    def plan(self, inputs: Sequence[Input]) -> list[Input]:
        """Choose, of all recordings of the result, in order, those that must be scored: no row holds for them.

        The file changes by no more than a half last line, which is cut off.

        Raises:
            UsageError: the file is no result as JSON Lines, or one of other recordings.
            EnvironmentProblemError: the file cannot be changed.
        """
        lines = self._read_lines({item.path for item in inputs})
        self.place.cut_half_line()
        known = _known_stamps(inputs, {path for path, _ in lines})
        expected, complete = 0, True
        for item in inputs:
            found = self._holding(item, lines, known)
            self._plan.append(None if found is None else tuple(line.offset for line in found))
            complete = complete and found is not None
            for line in found or ():
                # Appending gives the whole order only if what is there is its beginning.
                self._in_order &= complete and line.number == expected
                expected += 1
        self._in_order &= expected == self._line_count
        to_do = [item for item, offsets in zip(inputs, self._plan, strict=True) if offsets is None]
        self.kept = len(inputs) - len(to_do)
        return to_do

    def _read_lines(self, named: set[str]) -> dict[tuple[str, str], _Line]:
        """Rows with scores of this model and these options, by path and channel; of several the last."""
        lines: dict[tuple[str, str], _Line] = {}
        paths: set[str] = set()
        start = self._stream.read(1)  # of a recording, named by mistake, a line may be very long
        self._stream.seek(0)
        is_result = not start
        offset = self._line_count = 0
        for line in self._stream if start == b"{" else ():
            if not line.endswith(b"\n"):
                is_result |= offset == 0 and FIRST_BYTES.startswith(line[: len(FIRST_BYTES)])
                break
            try:
                row, shard = read_line(line, self._options)
            except ValueError:  # damaged, by a crash of the machine or an editor: its recording is scored again
                self._in_order = False
            else:
                is_result |= offset == 0
                if row.path is not None:
                    paths.add(row.path)
                self._in_order &= shard == self._run.shard
                if (key := self._still_asked_for(row)) is not None:
                    stamp = Stamp(row.size_bytes, row.modified_ns, row.etag)
                    lines[key] = _Line(self._line_count, offset, stamp, row.channel_count)
            self._line_count += 1
            offset += len(line)
        if not is_result:
            raise UsageError(
                f"{self.place.target!r} is no result as JSON Lines that could be continued: name another file"
            )
        self.left_out = len(paths - named)
        if paths and self.left_out == len(paths):
            raise UsageError(
                f"{self.place.target!r} has rows of other recordings only, such as {min(paths)!r}: name the recordings "
                "as in the run that is to go on, or write to another file"
            )
        return lines

    def _still_asked_for(self, row: Assessment) -> tuple[str, str] | None:
        """Path and channel of a row that this run would write as well, if its file is still the same."""
        same = (
            row.ok
            and row.model_sha256 == self._run.model_sha256
            and row.precision == self._options.precision
            and (row.frames is not None) == self._run.frames
        )
        return (row.path, row.channel) if same and row.path is not None else None

    def _holding(
        self, item: Input, lines: dict[tuple[str, str], _Line], known: dict[str, Stamp | None]
    ) -> list[_Line] | None:
        """The rows that hold for a recording; None unless there is every one."""
        each = self._options.channels == "each"
        first = lines.get((item.path, "1" if each else self._options.channels))
        if first is None:
            return None
        if first.stamp != (known[item.path] if item.path in known else path_stamp(item.path)):
            return None
        if not each:
            return [first]
        found = [lines.get((item.path, str(number))) for number in range(1, (first.channel_count or 0) + 1)]
        held = [line for line in found if line is not None and line.stamp == first.stamp]
        return held if held and len(held) == len(found) else None

    # --- all rows, in their order -------------------------------------------------------------------------------

    def rows(self, scored: Iterable[Assessment]) -> Iterator[Assessment]:
        """Yield the rows of all recordings in the order of the result: those that hold between those just scored."""
        plan = iter(self._plan)
        for assessment in scored:
            if assessment.begins_recording:
                yield from self._hand_out(plan)
            yield assessment
        yield from self._hand_out(plan)

    def _hand_out(self, plan: Iterator[tuple[int, ...] | None]) -> Iterator[Assessment]:
        """Rows that hold, up to the next recording that is scored."""
        for offsets in plan:
            if offsets is None:
                return
            for offset in offsets:
                self._stream.seek(offset)
                self._handed_out, _ = read_line(self._stream.readline(), self._options)
                yield self._handed_out

    # --- as a writer --------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Open what will take the file's place, if appending does not give the order."""
        if not self._in_order:
            self._neighbour = Output(self.place.target, line_by_line=False)
            self._writers.append(JsonLinesWriter(self._neighbour.stream, self._run))

    def write(self, assessment: Assessment) -> None:
        """Write one row; those that the file has are not written to it again."""
        is_there = assessment is self._handed_out
        for writer in self._writers[is_there:]:
            writer.write(assessment)

    def finish(self, summary: Summary) -> None:
        """Bring all rows into their order."""
        for writer in self._writers:
            writer.finish(summary)
        self.place.commit()
        if self._neighbour is not None:
            # The rows in the file took long to make: nothing takes their place before it is safe on the disk.
            os.fsync(self._neighbour.stream.fileno())
            self._stream.close()
            if os.name == "nt":  # where a file that is open cannot be replaced
                self.place.__exit__(None)
            self._neighbour.commit()


def _known_stamps(inputs: Sequence[Input], paths: set[str]) -> dict[str, Stamp | None]:
    """Size and time of change of remote recordings that have a row: as the search told them, else asked for."""
    remote = {item.path: item.stamp for item in inputs if item.path in paths and is_remote(item.path)}
    if unknown := [path for path, stamp in remote.items() if stamp is None]:
        from mtqscore.audio.remote import stamps

        remote |= stamps(unknown)
    return remote
