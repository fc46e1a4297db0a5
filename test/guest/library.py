"""json, re, hashlib, zlib, struct, random, statistics, sorting and what they stand on."""
import array
import base64
import binascii
import bisect
import bz2
import collections
import datetime
import hashlib
import heapq
import hmac
import itertools
import json
import lzma
import pickle
import random
import re
import statistics
import string
import struct
import textwrap
import unicodedata
import zlib

r = random.Random(7)
data = bytes(r.getrandbits(8) for _ in range(20000))
text = " ".join(r.choice(["alpha", "beta", "γάμμα", "délta", "ε1", "42", "-3.5e7", "x_y", "", "\t"]) for _ in range(3000))


def show(label, value):
    print(label, value if isinstance(value, str) and len(value) < 200 else repr(value)[:2000])


print("-- hashlib")
for name in sorted(hashlib.algorithms_guaranteed):
    for size in (0, 1, 3, 55, 56, 63, 64, 65, 111, 112, 119, 127, 128, 129, 136, 1000, 20000):
        h = hashlib.new(name, data[:size])
        print(name, size, h.hexdigest(20) if name.startswith("shake") else h.hexdigest())
print(hashlib.blake2b(data, key=b"key", salt=b"salt", person=b"person", digest_size=33).hexdigest())
print(hashlib.blake2s(data, key=b"key", digest_size=7).hexdigest())
print(hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 500).hex())
print(hashlib.scrypt(b"password", salt=b"salt", n=64, r=8, p=1, dklen=40).hex())
for name in ("md5", "sha1", "sha256", "sha512", "sha3_256"):
    print(name, hmac.new(b"k" * 200, data, name).hexdigest())

print("-- checksums and compression")
for size in (0, 1, 7, 8, 15, 16, 17, 100, 5552, 5553, 20000):
    print(size, zlib.crc32(data[:size]), zlib.adler32(data[:size]), binascii.crc_hqx(data[:size], 0))
inputs = {"random": data, "text": text.encode(), "zeros": bytes(50000), "runs": b"".join(bytes([n % 7]) * n for n in range(200))}
for name, content in inputs.items():
    for level in (0, 1, 6, 9):
        for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED):
            c = zlib.compressobj(level, zlib.DEFLATED, -15, 8, strategy)
            packed = c.compress(content) + c.flush()
            print(name, level, strategy, len(packed), zlib.crc32(packed), zlib.decompress(packed, -15) == content)
    packed = bz2.compress(content)
    print(name, "bz2", len(packed), zlib.crc32(packed), bz2.decompress(packed) == content)
    packed = lzma.compress(content, preset=1)
    print(name, "xz", len(packed), zlib.crc32(packed), lzma.decompress(packed) == content)

print("-- json")
value = {"n": [r.uniform(-1e6, 1e6) for _ in range(100)], "i": [r.getrandbits(r.randint(1, 90)) for _ in range(50)],
         "s": [text[i:i + 17] for i in range(0, 400, 17)], "deep": [[[{"a": None, "b": True, "c": [False, 1e-9, -0.0]}]]], "esc": "\u0000\"\\\n\U0001f600"}
encoded = json.dumps(value, sort_keys=True, indent=1)
print(encoded)
print(json.loads(encoded) == value, zlib.crc32(json.dumps(value, ensure_ascii=False).encode()))
for bad in ("[1,]", "{\"a\" 1}", "nul", "\"\\x\"", "[1e999, -1e999, 0.1e-5]", "12345678901234567890123"):
    try:
        show(bad, json.loads(bad))
    except ValueError as error:
        print(bad, error)

print("-- re")
patterns = [r"\w+", r"(?i)[A-Z]\w*\d", r"(\d+)(?:\.(\d+))?(?:e(-?\d+))?", r"(?<=a )b\w+", r"\b(\w)\w*\1\b", r"(?P<x>.)(?P=x)", r"[^\W\d]+",
            r"(a|be|alp)+h?", r".*?ε", r"\s{2,}", r"(?:(?:a+)+)+x", r"^\S+|\S+$"]
for pattern in patterns:
    found = [m.span() for m in re.finditer(pattern, text[:2500])]
    print(pattern, len(found), found[:12], zlib.crc32(repr(found).encode()))
print(re.sub(r"(\w+) (\w+)", r"\2-\1", text[:300]), re.split(r"[\s,]+", text[:120]), re.escape("a.b*c[d]"))

print("-- struct and arrays")
for form in ("<b", ">h", "<i", ">q", "<B", "!H", "<I", ">Q", "<e", ">f", "<d", "<3s2x?", "=l", "@n"):
    size = struct.calcsize(form)
    values = [struct.unpack_from(form, data, offset) for offset in range(0, 60, max(1, size))]
    print(form, size, values, [struct.pack(form, *v).hex() for v in values[:5]])
for n in (0.1, -1e-8, 65504.0, 3.4e38, 1e-45, 5.9604645e-8):
    print(n, struct.pack("<f", n).hex(), struct.unpack("<f", struct.pack("<f", n))[0], struct.pack("<d", n).hex())
for code in "bBhHiIlLqQfd":
    a = array.array(code, [int(x) % 100 for x in data[:200]])
    b = a[::-1]
    a.byteswap()
    print(code, zlib.crc32(a.tobytes()), sum(b), b[:5].tolist())
print(base64.b85encode(data[:50]), base64.b32encode(data[:20]), binascii.b2a_uu(data[:40]), base64.urlsafe_b64encode(data[:33]))

print("-- random")
for seed in (0, 1, "text", 2**70):
    g = random.Random(seed)
    print(g.random(), g.getrandbits(100), g.randrange(10**12), g.gauss(0, 1), g.expovariate(2), g.betavariate(2, 3), g.gammavariate(0.7, 2),
          g.paretovariate(3), g.vonmisesvariate(1, 4), g.triangular(0, 5, 1), g.sample(range(1000), 8), g.choices("abc", [1, 2, 3], k=9), g.shuffle(x := list(range(12))) or x)

print("-- statistics")
sample = [r.gauss(10, 3) for _ in range(500)]
other = [x * 0.5 + r.gauss(0, 1) for x in sample]
print(statistics.mean(sample), statistics.fmean(sample), statistics.median(sample), statistics.stdev(sample), statistics.pvariance(sample),
      statistics.quantiles(sample, n=7), statistics.harmonic_mean(sample), statistics.geometric_mean(sample), statistics.correlation(sample, other),
      statistics.linear_regression(sample, other), statistics.mode([1, 2, 2, 3]), statistics.NormalDist(3, 2).cdf(4.1), statistics.NormalDist().inv_cdf(0.975))

print("-- sorting and collections")
keys = [r.randint(-500, 500) for _ in range(3000)]
print(zlib.crc32(repr(sorted(keys)).encode()), zlib.crc32(repr(sorted(range(3000), key=keys.__getitem__, reverse=True)).encode()))
print(sorted(sample)[:5], sorted(text.split()[:40], key=lambda s: (len(s), s)), sorted({"b": 1, "a": 2}.items()))
print(heapq.nsmallest(5, keys), heapq.nlargest(5, keys), bisect.bisect(sorted(keys), 17), collections.Counter(text.split()).most_common())
print(list(itertools.islice(itertools.permutations("abcd"), 5, 24, 4)), zlib.crc32(repr([*itertools.combinations(range(12), 5)]).encode()))
print({n: n * n for n in range(30)}, set("hello") == set("ohell"), frozenset([3, 1, 2]), hash("text"), hash((1, 2.5, "x")), hash(1e300))
print(zlib.crc32(pickle.dumps(value, 4)), pickle.loads(pickle.dumps(value)) == value)

print("-- text and time")
print(text[:60].encode("utf-8").hex(), text[:30].encode("utf-16-le").hex(), unicodedata.normalize("NFD", "délta").encode(), "ǅẞ".casefold(), text.upper()[:40], "ß".upper())
print(textwrap.fill(text[:400], 37), string.Template("$a-${b}").substitute(a=1, b=2), "%-10s|%+.3d|%x" % ("ab", 7, 255), text.count("a"), text.find("ε1", 500), text.replace("a", "")[:50])
day = datetime.datetime(2023, 1, 31, 23, 59, 59, 999999)
print(day + datetime.timedelta(days=29, microseconds=1), day.isoformat(), day.strftime("%A %j %U %y"), datetime.date.fromordinal(738000), (day - datetime.datetime(1970, 1, 1)).total_seconds(), datetime.timedelta(seconds=0.1) * 3.7)
