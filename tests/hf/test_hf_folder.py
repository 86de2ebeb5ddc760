"""Every file's checksum is plain CRC-32C, by name, without the record that holds them."""

from __future__ import annotations

from pathlib import Path

from electra_convert.hf.folder import FileSum, file_sum, folder_sums


def test_a_sum_is_size_and_plain_crc32c(tmp_path: Path) -> None:
    # RFC 3720, appendix B.4: 32 bytes of zero give aa 36 91 8a, least significant byte first.
    (tmp_path / "x").write_bytes(bytes(32))
    assert file_sum(tmp_path / "x") == FileSum("x", 32, 0x8A9136AA)
    assert file_sum(tmp_path / "x").to_json() == {"name": "x", "bytes": 32, "crc32c": "8a9136aa"}


def test_large_files_are_summed_over_their_pieces(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"123456789")
    assert file_sum(tmp_path / "x").crc32c == 0xE3069283
    (tmp_path / "x").write_bytes(bytes(3 << 20) + b"1")
    assert file_sum(tmp_path / "x").nbytes == (3 << 20) + 1


def test_files_come_by_name_without_the_record_and_known_ones_are_not_read(tmp_path: Path) -> None:
    for name in ("vocab.txt", "config.json", "conversion.json"):
        (tmp_path / name).write_text(name)
    (tmp_path / "folder").mkdir()
    known = FileSum("vocab.txt", 1, 2)
    sums = folder_sums(tmp_path, known={"vocab.txt": known})
    assert sums == (file_sum(tmp_path / "config.json"), known)
