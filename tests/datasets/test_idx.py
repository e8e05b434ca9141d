from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from rushlight.datasets import IdxError, read_idx, write_idx
from rushlight.datasets.idx import idx_bytes


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("name", ["array.idx", "array.idx.gz"])
def test_what_is_written_is_read(tmp_path, dtype, name):
    array = np.arange(-6, 18).astype(dtype).reshape(2, 3, 4)
    write_idx(tmp_path / name, array)
    back = read_idx(tmp_path / name)
    assert back.dtype == array.dtype
    assert back.dtype.isnative and back.flags.writeable
    np.testing.assert_array_equal(back, array)


def test_bytes_are_those_of_the_format(tmp_path):
    data = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3]) + bytes(range(6))
    (tmp_path / "a").write_bytes(data)
    np.testing.assert_array_equal(read_idx(tmp_path / "a"), np.arange(6).reshape(2, 3))
    assert idx_bytes(np.arange(6, dtype=np.uint8).reshape(2, 3)) == data
    number = struct.pack(">hbbIi", 0, 0x0C, 1, 1, -2)
    (tmp_path / "b").write_bytes(number)
    assert read_idx(tmp_path / "b").tolist() == [-2]


def test_empty_and_big_endian_arrays(tmp_path):
    write_idx(tmp_path / "none", np.zeros((0, 28, 28), np.uint8))
    assert read_idx(tmp_path / "none").shape == (0, 28, 28)
    write_idx(tmp_path / "big", np.array([1.5, -2], ">f4"))
    assert read_idx(tmp_path / "big").tolist() == [1.5, -2]


def test_same_array_same_bytes(tmp_path):
    for name in ("a.gz", "b.gz"):
        write_idx(tmp_path / name, np.arange(9, dtype=np.uint8))
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


WHOLE = idx_bytes(np.arange(100, dtype=np.uint8).reshape(4, 5, 5))


@pytest.mark.parametrize("length", [0, 3, 4, 15, 16, 17, len(WHOLE) - 1])
@pytest.mark.parametrize("packed", [False, True])
def test_truncated(tmp_path, length, packed):
    data = WHOLE[:length]
    (tmp_path / "cut").write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(IdxError, match=r"cut: truncated: .* needs \d+ bytes, \d+ are there"):
        read_idx(tmp_path / "cut")


@pytest.mark.parametrize("length", [5, 12, 30, -1, -9])
def test_truncated_gzip(tmp_path, length):
    (tmp_path / "cut.gz").write_bytes(gzip.compress(WHOLE)[:length])
    with pytest.raises(IdxError, match=r"cut\.gz: (truncated|damaged)"):
        read_idx(tmp_path / "cut.gz")


def test_damaged_gzip(tmp_path):
    data = bytearray(gzip.compress(WHOLE))
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "bad.gz").write_bytes(data)
    with pytest.raises(IdxError, match=r"bad\.gz: "):
        read_idx(tmp_path / "bad.gz")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x89PNG\r\n\x1a\n", "not an IDX file"),
        (b"\0\0\x07\x01\0\0\0\x01\0", "not an IDX file"),
        (WHOLE + b"x", "more bytes follow"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "the header is damaged"),
    ],
)
def test_other_files(tmp_path, data, message):
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(IdxError, match=message):
        read_idx(tmp_path / "f")


def test_a_lying_header_allocates_nothing(tmp_path):
    (tmp_path / "f").write_bytes(b"\0\0\x08\x01\x7f\xff\xff\xff")  # 2 GiB are announced
    with pytest.raises(IdxError, match="truncated"):
        read_idx(tmp_path / "f")


def test_what_the_caller_expects(tmp_path):
    write_idx(tmp_path / "labels", np.arange(5, dtype=np.int32))
    with pytest.raises(IdxError, match=r"expected pictures .* shape \(5,\)"):
        read_idx(tmp_path / "labels", ndim=3)
    with pytest.raises(IdxError, match="expected elements of type uint8, but it holds int32"):
        read_idx(tmp_path / "labels", dtype=np.uint8)
    with pytest.raises(TypeError, match="int64"):
        write_idx(tmp_path / "x", np.arange(3))
    assert not (tmp_path / "x").exists()
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "nothing")
