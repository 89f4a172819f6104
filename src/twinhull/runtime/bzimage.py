"""A compressed kernel image (bzImage) as the ELF file inside it, which QEMU starts without unpacking code.

Promise: what is returned begins with an ELF header, or is an uncompressed image for 64-bit Arm.
"""

from __future__ import annotations

import struct
import tempfile

from twinhull.errors import HostUnfit
from twinhull.host import spawn

ELF_MAGIC = b"\x7fELF"
# Linux, Documentation/arch/x86/boot.rst: setup_sects, "HdrS" and, from protocol 2.08, the payload.
SETUP_SECTORS, SIGNATURE, PAYLOAD = 0x1F1, 0x202, 0x248
# Documentation/arch/arm64/booting.rst: the magic number in the header of an image, which some distributions gzip.
ARM64_MAGIC, ARM64_MAGIC_AT = b"ARM\x64", 0x38
GZIP_MAGIC = b"\x1f\x8b"
MAX_KERNEL_BYTES = 256 << 20


def extract(image: bytes) -> bytes:
    """Return the uncompressed kernel of a bzImage; an ELF file and an image for 64-bit Arm are returned as they are.

    Raises:
        HostUnfit: none of these, or packed in a way that nothing here unpacks.
    """
    if image[:2] == GZIP_MAGIC:
        image = decompress(image)
    if image[:4] == ELF_MAGIC or image[ARM64_MAGIC_AT : ARM64_MAGIC_AT + 4] == ARM64_MAGIC:
        return image
    if image[SIGNATURE : SIGNATURE + 4] != b"HdrS":
        raise HostUnfit("the guest kernel is neither an ELF file nor a bzImage")
    start = (max(image[SETUP_SECTORS], 4) + 1) * 512  # zero means four, for history's sake
    offset, length = struct.unpack_from("<II", image, PAYLOAD)
    kernel = decompress(image[start + offset : start + offset + length])
    if kernel[:4] != ELF_MAGIC:
        raise HostUnfit("the guest kernel's payload is not an ELF file")
    return kernel


def decompress(payload: bytes) -> bytes:
    """Unpack the payload; four bytes that follow it (its unpacked size) are ignored."""
    import bz2
    import lzma
    import zlib

    try:
        if payload[:2] == GZIP_MAGIC:
            return zlib.decompressobj(wbits=31).decompress(payload, MAX_KERNEL_BYTES)
        if payload[:6] == b"\xfd7zXZ\x00":
            return lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(payload, MAX_KERNEL_BYTES)
        if payload[:3] == b"]\x00\x00":
            return lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(payload, MAX_KERNEL_BYTES)
        if payload[:3] == b"BZh":
            return bz2.BZ2Decompressor().decompress(payload, MAX_KERNEL_BYTES)
    except (zlib.error, lzma.LZMAError, OSError) as error:
        raise HostUnfit(f"the guest kernel is damaged: {error}") from error
    if payload[:4] == b"\x28\xb5\x2f\xfd":
        return decompress_by("zstd", payload[:-4])
    if payload[:4] == b"\x02\x21\x4c\x18":
        return decompress_by("lz4", payload[:-4])
    raise HostUnfit("the guest kernel is compressed in a way that is not known")


def decompress_by(tool: str, payload: bytes) -> bytes:
    """Unpack with a tool that Python's library has no equal for."""
    with tempfile.NamedTemporaryFile() as packed, tempfile.NamedTemporaryFile() as unpacked:
        packed.write(payload)
        packed.flush()
        try:
            result = spawn.run_tool([tool, "-d", "-q", "-f", packed.name, unpacked.name])
        except FileNotFoundError:
            raise HostUnfit(f"the guest kernel needs {tool} to be unpacked", hint=f"apt-get install {tool}") from None
        if result.returncode:
            raise HostUnfit(f"the guest kernel is damaged: {result.stderr.strip()}")
        return unpacked.read()


def release(kernel: bytes) -> str:
    """Return the release of an uncompressed kernel, as uname -r will show it."""
    import re

    match = re.search(rb"Linux version (\S+) \(", kernel)
    if not match:
        raise HostUnfit("the guest kernel does not name its version")
    return match[1].decode("ascii", "replace")
