"""Reading of untrusted files: how many bytes a file may hold, and never more memory than that.

A header says how large its file should be, and lies cost nothing to write.  So memory grows with
the bytes that are found, not with those that are promised, and what a compressed file may expand to
is limited by what it holds.
"""

import contextlib
import errno
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

CHUNK = 1 << 20

# What may be held before the size of a compressed file is known to be true.  MNIST's largest file,
# 47,040,016 bytes, is below, so that it is decompressed once only.
BUDGET = 48 << 20

# Above BUDGET a compressed file may expand to this many times its size.  Deflate's limit is 1,032;
# images reach 5 (MNIST) to 20, so that beyond 100 it is a bomb, or somebody's zeros.
MAX_EXPANSION = 100

GZIP_MAGIC = b"\x1f\x8b"


class Stream(Protocol):
    """Anything with a ``read`` that returns at most so many bytes, and none at the end."""

    def read(self, size: int, /) -> bytes:
        """Return 1 to `size` bytes, or none at the end."""
        ...


class ByteSource:
    """The bytes of a file or archive member, to be read under a promise of their number.

    Parameters
    ----------
    name
        What errors call it.
    open_stream
        Returns a new stream from the first byte on.
    length
        The number of bytes where something tells it: the file system, or an archive's directory.
    compressed_size
        The bytes that it takes on disk if compressed, else None: then `length` is no mere claim.
    """

    def __init__(
        self,
        name: str,
        open_stream: Callable[[], Stream],
        *,
        length: int | None,
        compressed_size: int | None,
    ) -> None:
        self.name = name
        self._open = open_stream
        self._length = length
        self._compressed_size = compressed_size

    def peek(self, size: int) -> bytes:
        """Return the first `size` bytes, fewer where there are not as many."""
        stream, head = self._open(), b""
        with refusing_damage(self.name):
            while len(head) < size and (piece := stream.read(size - len(head))):
                head += piece
        return head

    def read(self, total: int) -> bytearray:
        """Return everything, if that is exactly `total` bytes.

        Raises
        ------
        ValueError
            There are more bytes, or fewer, or the file is damaged, or it expands too far.
        """
        if self._length is not None and self._length != total:
            raise self._wrong_size(total, f"{self._length:,}")
        if self._compressed_size is not None and total > BUDGET:
            self._check_expansion(total, self._compressed_size)
            for _ in self._pieces(total):
                pass  # the size is proved before any of it is kept
        data = bytearray()
        for piece in self._pieces(total):
            data += piece
        return data

    def _pieces(self, total: int) -> Iterator[bytes]:
        stream, found = self._open(), 0
        while True:
            with refusing_damage(f"{self.name}: after {found:,} of {total:,} bytes"):
                piece = stream.read(CHUNK)
            found += len(piece)
            if found > total:
                raise self._wrong_size(total, f"{found:,} or more")
            if not piece:
                break
            yield piece
        if found < total:
            raise self._wrong_size(total, f"{found:,}")

    def _check_expansion(self, total: int, compressed_size: int) -> None:
        limit = max(BUDGET, MAX_EXPANSION * compressed_size)
        if total > limit:
            raise ValueError(
                f"{self.name}: its header promises {total:,} bytes; {compressed_size:,} compressed "
                f"bytes may expand to {limit:,} here (decompress the file first if you trust it)"
            )

    def _wrong_size(self, expected: int, found: str) -> ValueError:
        return ValueError(
            f"{self.name}: its header promises {expected:,} bytes in all, found {found}"
        )


def file_source(file: BinaryIO, name: str) -> ByteSource:
    """Return the contents of an open, seekable file, decompressed if they are gzipped.

    The first two bytes decide on that, not the name: no format read here begins like gzip.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    zipped = file.read(2) == GZIP_MAGIC

    def open_stream() -> Stream:
        file.seek(0)
        return _GzipStream(file) if zipped else file

    return ByteSource(
        name,
        open_stream,
        length=None if zipped else size,
        compressed_size=size if zipped else None,
    )


def member_source(archive: zipfile.ZipFile, member: str, size: int, name: str) -> ByteSource:
    """Return the contents of one member of a zip archive of `size` bytes."""
    info = archive.getinfo(member)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name}: expected compression 0 or 8, found {info.compress_type}")
    if info.compress_size > size:
        raise ValueError(f"{name}: {info.compress_size:,} bytes in an archive of {size:,}")

    def open_stream() -> Stream:
        with refusing_damage(name):
            return archive.open(info)

    # Stored members are treated as compressed, for their length too is but the archive's claim.
    return ByteSource(name, open_stream, length=info.file_size, compressed_size=info.compress_size)


@contextlib.contextmanager
def refusing_damage(name: str) -> Iterator[None]:
    """Turn whatever a parser raises on damaged bytes into a ValueError that begins with `name`.

    Parsers of the standard library raise a dozen types on hostile bytes, MemoryError and
    RecursionError among them.  OSError alone passes, for it is the machine's failure and not the
    file's; but an invalid argument is an offset that lies, to before the beginning of the file.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise ValueError(f"{name}: {error or type(error).__name__}") from error


class _GzipStream:
    """The one member of a gzip file, decompressed in pieces.

    `gzip.GzipFile` would also read files of many members, at the cost of seconds for a small file
    of a million empty ones.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._inflater = zlib.decompressobj(wbits=31)  # 16 for gzip's frame, 15 for its window

    def read(self, size: int, /) -> bytes:
        piece = b""
        while not piece and not self._inflater.eof:
            compressed = self._inflater.unconsumed_tail or self._file.read(CHUNK // 16)
            if not compressed:
                raise EOFError("the gzip stream ends too early")
            piece = self._inflater.decompress(compressed, size)
        if not piece and (self._inflater.unused_data or self._file.read(1)):
            raise ValueError("there are bytes after the end of the gzip stream")
        return piece
