#!/usr/bin/env python3
"""Reads tests/data/seal/vectors.json with nothing but Python, from docs/design.md alone.

Opens what must open and refuses what must not: records, cells, streams, and key files that are not
locked. Key files that need a key are left to the Rust test: Argon2id and the wrapping have no place here.
"""

import base64
import hashlib
import hmac
import json
import re
import struct
import sys
from pathlib import Path

VECTORS = Path(__file__).resolve().parent.parent / "data/seal/vectors.json"
MASK = 0xFFFFFFFF


class Refused(Exception):
    """What must not open did not; the text is the kind of error that the vectors name."""


def rotate(value, by):
    return (value << by | value >> 32 - by) & MASK


def salsa_quarter(x, a, b, c, d):
    x[b] ^= rotate(x[a] + x[d] & MASK, 7)
    x[c] ^= rotate(x[b] + x[a] & MASK, 9)
    x[d] ^= rotate(x[c] + x[b] & MASK, 13)
    x[a] ^= rotate(x[d] + x[c] & MASK, 18)


def chacha_quarter(x, a, b, c, d):
    for first, second, third, by in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        x[first] = x[first] + x[second] & MASK
        x[third] = rotate(x[third] ^ x[first], by)


SALSA = ((0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11),
         (0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14))
CHACHA = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
          (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))


def rounds(state, quarter, columns):
    x = list(state)
    for _ in range(10):
        for column in columns:
            quarter(x, *column)
    return x


def words(data):
    return list(struct.unpack(f"<{len(data) // 4}I", data))


def salsa_state(key, middle):
    c, k = words(b"expand 32-byte k"), words(key)
    return [c[0], *k[:4], c[1], *words(middle), c[2], *k[4:], c[3]]


def hsalsa(key, middle):
    x = rounds(salsa_state(key, middle), salsa_quarter, SALSA)
    return struct.pack("<8I", *(x[i] for i in (0, 5, 10, 15, 6, 7, 8, 9)))


def hchacha(key, nonce):
    x = rounds(words(b"expand 32-byte k" + key + nonce), chacha_quarter, CHACHA)
    return struct.pack("<8I", *x[:4], *x[12:])


def block(state, quarter, columns):
    mixed = rounds(state, quarter, columns)
    return struct.pack("<16I", *(a + b & MASK for a, b in zip(mixed, state)))


def salsa_block(key, nonce, counter):
    return block(salsa_state(key, nonce + struct.pack("<Q", counter)), salsa_quarter, SALSA)


def chacha_block(key, nonce, counter):
    state = words(b"expand 32-byte k" + key + struct.pack("<I", counter) + nonce)
    return block(state, chacha_quarter, CHACHA)


def xor(data, stream):
    return bytes(a ^ b for a, b in zip(data, stream))


def poly1305(key, data):
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for at in range(0, len(data), 16):
        total = (total + int.from_bytes(data[at:at + 16] + b"\x01", "little")) * r % (2**130 - 5)
    return ((total + int.from_bytes(key[16:], "little")) % 2**128).to_bytes(16, "little")


def secretbox_open(key, nonce, sealed):
    subkey, tag, body = hsalsa(key, nonce[:16]), sealed[:16], sealed[16:]
    count = (32 + len(body) + 63) // 64
    stream = b"".join(salsa_block(subkey, nonce[16:], n) for n in range(count))
    if not hmac.compare_digest(poly1305(stream[:32], body), tag):
        raise Refused("unauthentic")
    return xor(body, stream[32:])


def xchacha_open(key, aad, sealed):
    nonce, tag, body = sealed[:24], sealed[24:40], sealed[40:]
    subkey, nonce = hchacha(key, nonce[:16]), bytes(4) + nonce[16:]
    padded = b"".join(part + bytes(-len(part) % 16) for part in (aad, body))
    lengths = struct.pack("<QQ", len(aad), len(body))
    if not hmac.compare_digest(poly1305(chacha_block(subkey, nonce, 0)[:32], padded + lengths), tag):
        raise Refused("unauthentic")
    count = (len(body) + 63) // 64
    return xor(body, b"".join(chacha_block(subkey, nonce, n + 1) for n in range(count)))


def framed(*parts):
    return b"".join(struct.pack("<Q", len(part)) + part for part in parts)


def hkdf(material, label, *context):
    extracted = hmac.digest(bytes(32), material, "sha256")
    return hmac.digest(extracted, framed(b"nodeseal/v1/" + label, *context) + b"\x01", "sha256")


def named(sealed, kind, least, ids):
    """Judges what everything that is sealed begins with; returns the rest."""
    if len(sealed) < 9:
        raise Refused("damaged")
    if sealed[0] != kind:
        raise Refused("unsupported" if 1 <= sealed[0] <= 7 else "damaged")
    if len(sealed) < least:
        raise Refused("damaged")
    if sealed[1:9] not in ids:
        raise Refused("unknown-dek")
    return ids[sealed[1:9]], sealed[9:]


def keyspace(case, register):
    return register[case["keyspace"]]


def open_record(case, ids, register, who):
    dek, rest = named(bytes.fromhex(case["sealed"]), 1, 41, ids)
    key = hkdf(dek, b"record", b"\x01", *who, keyspace(case, register))
    key = hsalsa(key, struct.pack("<QQ", int(case["era"]), int(case["prev"])))
    return secretbox_open(key, rest[:16] + struct.pack("<Q", int(case["index"])), rest[16:])


def open_cell(case, ids, register, who):
    dek, rest = named(bytes.fromhex(case["sealed"]), 3, 49, ids)
    aad = framed(case["table"].encode(), bytes.fromhex(case["row"]))
    return xchacha_open(hkdf(dek, b"cell", b"\x03", *who, keyspace(case, register)), aad, rest)


def open_stream(case, ids, register, who):
    stream = base64.b64decode(case["sealed"])
    header, chunks = stream[:4096], stream[4096:]
    if len(header) < 4096 or not any(header):
        raise Refused("damaged")
    dek, rest = named(header, 2, 49, ids)
    key = hkdf(dek, b"stream", b"\x02", *who, keyspace(case, register))
    head = xchacha_open(key, framed(case["stream"].encode()), rest)
    content = head[:32]
    index, era, length, size, meta_len = struct.unpack("<QQQIH", head[32:62])
    assert (str(index), str(era)) == (case.get("index", str(index)), case.get("era", str(era)))
    assert head[62:62 + meta_len].hex() == case.get("meta", head[62:62 + meta_len].hex())
    count = max(1, -(-length // size))
    if len(chunks) != length + 32 * count:
        raise Refused("damaged")
    plain = b""
    for n in range(count):
        chunk = chunks[n * (size + 32):(n + 1) * (size + 32)]
        nonce = chunk[:16] + struct.pack("<Q", n << 1 | (n + 1 == count))
        plain += secretbox_open(content, nonce, chunk[16:])
    return plain


def canonical_base64(text):
    decoded = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    if base64.b64encode(decoded).decode().rstrip("=") != text:
        raise Refused("damaged")
    return decoded


def open_clear_key_file(text, expected):
    """Returns the DEKs of a key file by their ids, and the ids of its keyspaces by their names."""
    above, _, check = text.rpartition("check ")
    if check != hashlib.sha256(above.encode()).hexdigest() + "\n":
        raise Refused("damaged")
    name, number = r"([A-Za-z0-9][A-Za-z0-9._-]{0,63})", r"(0|[1-9][0-9]{0,19})"
    form = (rf"nodeseal-keys 1\ncluster {name}\nnode {name}\nepoch {number}\nkek-version {number}\n"
            r"slot none ([A-Za-z0-9+/]+)\ncommit ([A-Za-z0-9+/]+)\nsealed ([A-Za-z0-9+/]+)\n")
    version = re.match(r"nodeseal-keys ([0-9]+)\n", above)
    if version and version[1] != "1":
        raise Refused("unsupported")
    found = re.fullmatch(form, above)
    if not found:
        raise Refused("damaged")
    cluster, node, _, _, *rest = found.groups()
    file_key, commit, sealed = map(canonical_base64, rest)
    if (cluster, node) != expected:
        raise Refused("other-identity")
    if hkdf(file_key, b"commit") != commit:
        raise Refused("damaged")
    aad = above[:above.index("sealed ")].encode()
    key_set = xchacha_open(file_key, aad, sealed)
    if key_set[0] != 1:
        raise Refused("unsupported")
    deks, register, at = {}, {}, 1
    while at < len(key_set):
        tag, length = struct.unpack("<BI", key_set[at:at + 5])
        if tag in (1, 2):
            dek = key_set[at + 5:at + 37]
            deks[hkdf(dek, b"dek-id")[:8]] = dek
        if tag == 6:
            identity, name = key_set[at + 5:at + 21], key_set[at + 23:at + 5 + length]
            assert key_set[at + 21] == 1 and key_set[at + 22] == len(name)
            assert all(other < name.decode() for other in register)
            register[name.decode()] = identity
        at += 5 + length
    return deks, register


def check(part, case, run):
    try:
        opened, error = run(), None
    except Refused as refused:
        opened, error = None, str(refused)
    expected = case.get("error")
    assert error == expected, f"{part}, {case['what']}: {error}, not {expected}"
    return opened


def main():
    vectors = json.loads(VECTORS.read_text())
    names = (vectors["cluster"], vectors["node"])
    who = tuple(name.encode() for name in names)
    ids, register = open_clear_key_file(vectors["key_files"][0]["file"], names)
    counts = {}
    for part, run in (("records", open_record), ("cells", open_cell), ("streams", open_stream)):
        for case in vectors[part]:
            plain = check(part, case, lambda: run(case, ids, register, who))
            assert plain is None or plain == bytes.fromhex(case["plain"]), case["what"]
            counts[part] = counts.get(part, 0) + 1
    left = 0
    for case in vectors["key_files"]:
        if case["needs_key"]:
            left += 1
            continue
        opened = check("key_files", case, lambda: open_clear_key_file(case["file"], names))
        if opened is not None:
            assert sorted(key.hex() for key in opened[0]) == case["dek_ids"], case["what"]
            assert {name: key.hex() for name, key in opened[1].items()} == case["keyspaces"], case["what"]
        counts["key_files"] = counts.get("key_files", 0) + 1
    print(", ".join(f"{count} {part}" for part, count in counts.items()), f"as they must be; {left} need a key")


if __name__ == "__main__":
    sys.exit(main())
