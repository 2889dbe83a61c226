#!/usr/bin/env python3
"""A second reading of the store format: checks the test vectors, or a whole store.

    verify.py [-v] [VECTOR_DIR]                   check the vectors (default: where this file lies)
    verify.py --store DIR [--receipt FILE]        verify a store, and a receipt against it

Written from FORMAT.md alone, without sharing any code with the implementation, so that the page and the
implementation can be held against each other. It only reads. It needs Python 3.11 and `blake3`.

From the bottom up: checksum and hashes; a strict reader of deterministic CBOR; the header of an event;
records, commits and segments, which are read into a `Log`; a store with its LOCK and receipts; the
vectors. Whatever is wrong becomes a finding: a short code, and a sentence with the place. Reading goes on
where the bytes behind it can still be understood.

Exit code: 0 all right, 1 something is wrong, 2 wrong use or unreadable input, 3 a module is missing.
"""
import argparse
import json
import re
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path

try:
    from blake3 import blake3
except ImportError:
    print("verify.py needs the Python module blake3, which is not installed", file=sys.stderr)
    sys.exit(3)

FORMAT = 1
STORE_BYTES, SEGMENT_HEADER, COMMIT_HEADER = 40, 72, 60
MAX_COMMIT, MAX_HEADER, MAX_LEVEL = 64 << 20, 65536, 16
MAX_SEQ = 2**48 - 1

class Refusal(Exception):
    """Why bytes are refused: a short code, a sentence, and the offset in what was being read."""
    def __init__(self, code, text, offset=0):
        self.code, self.text, self.offset = code, text, offset

def need(condition, code, text, offset=0):
    if not condition:
        raise Refusal(code, text, offset)


# ------------------------------------------------------------------------------ checksum and hashes
CRC_TABLE = list(range(256))
for _ in range(8):
    CRC_TABLE = [crc >> 1 ^ (0x82F63B78 if crc & 1 else 0) for crc in CRC_TABLE]    # 0x1EDC6F41 reflected

def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF

def u32(data, at, size=4):
    return int.from_bytes(data[at:at + size], "little")

def u64(data, at):
    return u32(data, at, 8)

def hashed(what, *parts):
    """Blake3 of the 16 bytes that say what is hashed, and of the parts."""
    return blake3(f"batpak/1 {what:7}".encode() + b"".join(parts)).digest()

def ulid_text(id16):
    number = int.from_bytes(id16, "big")
    return "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[number >> 5 * i & 31] for i in range(25, -1, -1))


# -------------------------------------------------------------------------------- deterministic CBOR
class Map(list):
    """A decoded map: (key, value) pairs in the order of the bytes."""

class Cbor:
    """Reads one value in core deterministic encoding (RFC 8949, 4.2.1). Integers, byte strings, text and
    arrays become Python's own, maps a `Map`; tags, floats and simple values, which no field of this
    version has, become tuples."""
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        left = len(self.data) - self.at
        need(count <= left, "cut", f"{count} bytes announced, {left} left", self.at)
        self.at += count
        return self.data[self.at - count:self.at]

    def head(self):
        """(major type, additional information, argument) of the value that begins here."""
        start = self.at
        major, info = divmod(self.take(1)[0], 32)
        if info < 24:
            return major, info, info
        need(info != 31, "indefinite", "an indefinite length or a break", start)
        need(info < 28, "malformed", f"the reserved additional information {info}", start)
        argument = int.from_bytes(self.take(1 << info - 24), "big")
        least = {24: 32 if major == 7 else 24, 25: 1 << 8, 26: 1 << 16, 27: 1 << 32}[info]
        if major != 7 or info == 24:
            need(argument >= least, "shortest", f"{argument} not in its shortest form", start)
        return major, info, argument

    def value(self, level=1):
        start = self.at
        need(level <= MAX_LEVEL, "deep", f"a value deeper than level {MAX_LEVEL}", start)
        major, info, argument = self.head()
        if major < 2:
            return argument if major == 0 else -1 - argument
        if major == 2:
            return self.take(argument)
        if major == 3:
            try:
                return self.take(argument).decode("utf-8")
            except UnicodeDecodeError:
                raise Refusal("utf-8", "text that is not UTF-8", start) from None
        if major == 4:
            return [self.value(level + 1) for _ in range(argument)]
        if major == 5:
            return self.map(argument, level)
        if major == 6:
            return "tag", argument, self.value(level + 1)
        need(info > 24 or info < 24 and 20 <= argument <= 23, "simple", f"the simple value {argument}", start)
        return ("simple", argument) if info < 24 else ("float", self.floating(info, argument, start))

    def map(self, count, level):
        pairs, before = Map(), b""
        for _ in range(count):
            start = self.at
            key = self.value(level + 1)
            encoded = self.data[start:self.at]
            need(encoded != before, "twice", f"the key {key!r} twice", start)
            need(encoded > before, "order", f"the key {key!r} out of order", start)
            before = encoded
            pairs.append((key, self.value(level + 1)))
        return pairs

    @staticmethod
    def floating(info, bits, start):
        """A float of 2, 4 or 8 bytes (info 25 to 27), refused if fewer bytes hold the same value."""
        shapes = {25: ">e", 26: ">f", 27: ">d"}
        number = struct.unpack(shapes[info], bits.to_bytes(1 << info - 24, "big"))[0]
        if number != number:
            need((info, bits) == (25, 0x7E00), "float", "a NaN that is not F97E00", start)
            fits = False
        else:
            try:
                shape = shapes.get(info - 1, ">e")
                fits = struct.unpack(shape, struct.pack(shape, number))[0] == number
            except OverflowError:
                fits = False
        need(info == 25 or not fits, "float", f"the float {number} not in its shortest form", start)
        return number


# -------------------------------------------------------------------------------- header of an event
def is_uint(name, value, most):
    need(type(value) is int and value >= 0, "type", f"{name} is not an unsigned integer")
    need(value != 0, "zero", f"{name} is zero, not left out")
    need(value <= most, "range", f"{name} is {value}, above {most}")
    return value

def is_bytes(name, value, sizes):
    """sizes: the least and the most bytes, and whether they may all be zero."""
    need(type(value) is bytes, "type", f"{name} is not a byte string")
    need(sizes[0] <= len(value) <= sizes[1], "size", f"{name} has {len(value)} bytes, not {sizes[0]} to {sizes[1]}")
    need(sizes[2] or any(value), "zero", f"{name} is all zero")
    return value.hex()

def is_text(name, value, forbidden):
    need(type(value) is str, "type", f"{name} is not text")
    need(1 <= len(value.encode()) <= 1024, "size", f"{name} has {len(value.encode())} bytes, not 1 to 1024")
    bad = re.search(forbidden, value)
    need(not bad, "text", f"{name} has {bad and bad.group()!r} in it")
    return value

def is_encryption(name, value, _):
    need(isinstance(value, Map), "type", f"{name} is not a map")
    need([key for key, _ in value] == [1, 2], "size", f"{name} does not have exactly the keys 1 and 2")
    return {"key_scope": is_text("key scope", value[0][1], NOTHING), "nonce": is_bytes("nonce", value[1][1], NONCE)}

def are_extensions(name, value, _):
    need(isinstance(value, Map), "type", f"{name} is not a map")
    need(value, "zero", f"{name} is empty, not left out")
    for key, content in value:
        need(type(key) is str and type(content) is bytes, "type", f"{name} is not of text to byte strings")
        need(re.fullmatch(r"(?=.{3,256}\Z)[!-\-/-~]+\.[!-\-/-~]+", key), "extension",
             f"the extension name {key!r} is not 3 to 256 bytes 0x21 to 0x7E with one dot inside")
    return {key: content.hex() for key, content in value}

NOTHING, CHARACTERS = r"(?!)", r"[\x00-\x1f\x7f/|=]|\.\."   # what a text must not have in it
ID, HASH, NONCE = (16, 16, False), (32, 32, False), (24, 24, True)
FIELDS = {      # by key: name, whether it must be there, check, what the check needs to know
    1: ("seq", True, is_uint, MAX_SEQ), 2: ("id", True, is_bytes, ID), 3: ("entity", True, is_text, CHARACTERS),
    4: ("scope", True, is_text, CHARACTERS), 5: ("lane", False, is_uint, 2**32 - 1),
    6: ("clock", True, is_uint, 2**63 - 1), 7: ("kind", True, is_uint, 2**16 - 1),
    8: ("time", True, is_uint, 2**63 - 1), 9: ("correlation", False, is_bytes, ID),
    10: ("causation", False, is_bytes, ID), 11: ("payload_version", False, is_uint, 2**16 - 1),
    12: ("payload_length", False, is_uint, 2**32 - 1), 13: ("content_hash", True, is_bytes, HASH),
    14: ("previous_hash", True, is_bytes, HASH), 15: ("idempotency_key", False, is_bytes, (1, 256, True)),
    16: ("flags", False, is_uint, 255), 17: ("encryption", False, is_encryption, None),
    18: ("extensions", False, are_extensions, None),
}

def read_header(data):
    """The fields of an event's header by name (byte strings in hexadecimal), or a Refusal."""
    need(len(data) <= MAX_HEADER, "size", f"a header of {len(data)} bytes, above {MAX_HEADER}")
    need(not data or data[0] >> 5 == 5, "type", "the header is not a map")
    reader, fields = Cbor(data), {}
    for key, value in reader.value():
        need(type(key) is int and key >= 1, "key", f"the key {key!r} is not an unsigned integer from 1")
        if key in FIELDS:
            name, _, check, limit = FIELDS[key]
            fields[name] = check(name, value, limit)
    need(reader.at == len(data), "behind", f"{len(data) - reader.at} bytes behind the map", reader.at)
    for name, always, _, _ in FIELDS.values():
        need(name in fields or not always, "missing", f"no {name}")
    id16 = bytes.fromhex(fields["id"])
    need(int.from_bytes(id16[:6], "big") == fields["time"] // 1000, "id", "the time in the id is not that of the event")
    need(int.from_bytes(id16[6:12], "big") == fields["seq"], "id", "the seq in the id is not that of the event")
    need(fields.get("correlation") != fields["id"], "correlation", "the correlation is the event's own id")
    return fields


# ----------------------------------------------------------------- records, commits, segments: a log
@dataclass
class Log:
    """What has been read so far. `seq` and `link` are those of the last commit read, or what comes before
    the first. `complete` says that reading began with event 1 and missed nothing, so that the place of
    every event in its stream is known; otherwise it is from its second event on."""
    store: bytes
    link: bytes
    seq: int = 0
    complete: bool = True
    durable: int = 0
    time: int = 0
    file: str = ""
    commits: int = 0
    streams: dict = field(default_factory=dict)     # (entity, lane) -> clock, event hash
    events: list = field(default_factory=list)
    findings: list = field(default_factory=list)
    notes: list = field(default_factory=list)

    def found(self, code, text, offset=None, event=None):
        place = "".join(f", {what} {n}" for what, n in (("offset", offset), ("event", event)) if n is not None)
        self.findings.append((code, text, f"{self.file}{place}: {text} [{code}]"))

    def missed(self):
        """Something could not be read: what the next event follows on is no longer known."""
        self.complete, self.time = False, 0
        self.streams.clear()

def split_record(data, at, end):
    """(header, payload, offset of what follows) for the record at `at`, or a Refusal."""
    need(end - at >= 8, "records", f"{end - at} bytes are too few for a record")
    header, payload = u32(data, at), u32(data, at + 4)
    need(8 + header + payload <= end - at, "records",
         f"a record of 8 + {header} + {payload} bytes where {end - at} are left")
    middle = at + 8 + header
    return data[at + 8:middle], data[middle:middle + payload], middle + payload

def check_payload(fields, payload):
    """What is wrong between a header and its payload, as codes and sentences."""
    length = fields.get("payload_length", 0)
    if length != len(payload):
        yield "payload-length", f"the header says {length} bytes of payload, the record has {len(payload)}"
    if hashed("content", payload).hex() != fields["content_hash"]:
        yield "content", "the content hash is not that of the payload"

def read_event(log, header, payload, seq, at):
    """Step 4: checks the event at `at` and adds it to the log."""
    try:
        fields = read_header(header)
    except Refusal as refusal:
        log.found(refusal.code, refusal.text, at + 8 + refusal.offset, seq)
        return log.missed()
    for code, sentence in check_payload(fields, payload):
        log.found(code, sentence, at, seq)
    if fields["seq"] != seq:
        log.found("event-seq", f"seq {fields['seq']} in the header of event {seq}", at, seq)
    if fields["time"] <= log.time:      # the id is made of time and seq, and so above the one before if they are
        log.found("time", f"time {fields['time']} not above the {log.time} of the event before", at, seq)
    lane, clock, own = fields.get("lane", 0), fields["clock"], hashed("event", header)
    stream = fields["entity"], lane
    if stream in log.streams:
        last, expected = log.streams[stream]
    elif log.complete or clock == 1:
        last, expected = 0, hashed("genesis", log.store, stream[0].encode(), struct.pack("<I", lane))
    else:
        last, expected = clock - 1, None    # the stream began before what is being read
    if clock != last + 1:
        log.found("clock", f"clock {clock} where {last + 1} comes next in stream {stream}", at, seq)
    if expected is not None and fields["previous_hash"] != expected.hex():
        log.found("previous", "the previous hash is not "
                  + ("that of the event before in its stream" if last else "the genesis of its stream"), at, seq)
    log.streams[stream], log.time = (clock, own), fields["time"]
    log.events.append({
        "seq": fields["seq"], "id": fields["id"], "entity": fields["entity"], "scope": fields["scope"], "lane": lane,
        "clock": clock, "kind": fields["kind"], "time": fields["time"], "content": fields["content_hash"],
        "prev": fields["previous_hash"], "hash": own.hex(), "payload": payload.hex()})

def commit_end(data, at):
    """The offset behind the commit at `at` by its length and checksum, or a Refusal."""
    left = len(data) - at
    need(left >= COMMIT_HEADER, "cut", f"{left} bytes are too few for a commit")
    length = u32(data, at)
    need(length >= COMMIT_HEADER - 8, "length", f"a commit's length of {length}, below {COMMIT_HEADER - 8}")
    need(length + 8 <= MAX_COMMIT, "length", f"a commit's length of {length}, above what 64 MiB leave")
    need(length + 8 <= left, "cut", f"a commit of {length + 8} bytes where {left} are left")
    need(crc32c(data[at + 8:at + 8 + length]) == u32(data, at + 4), "checksum", "the commit's checksum is wrong")
    return at + 8 + length

def read_commit(log, data, at):
    """Step 3: reads the commit at `at` into the log. Gives the offset behind it, or None if that cannot be
    told: with a wrong checksum the length is believed if it leads to the end or to a fitting first seq."""
    try:
        end = commit_end(data, at)
    except Refusal as refusal:
        log.found(refusal.code, refusal.text, at, log.seq + 1)
        end = at + 8 + u32(data, at)
        ahead = u64(data, end + 8) - log.seq if any(data[end:end + COMMIT_HEADER]) else 2
        if refusal.code != "checksum" or not 1 < ahead < MAX_COMMIT:
            return None
    first, count, durable, link = u64(data, at + 8), u32(data, at + 16), u64(data, at + 20), data[at + 28:at + 60]
    if first != log.seq + 1:
        log.found("seq", f"a commit begins with seq {first}, not {log.seq + 1}", at, log.seq + 1)
        log.missed()
    if count == 0:
        log.found("count", "a commit without a record", at, first)
    if not log.durable <= durable < first:
        log.found("durable", f"durable watermark {durable}, not from {log.durable} to {first - 1}", at, first)
    hashes, place = [], at + COMMIT_HEADER
    try:
        for seq in range(first, first + count):
            header, payload, behind = split_record(data, place, end)
            hashes.append(hashed("event", header))
            read_event(log, header, payload, seq, place)
            place = behind
        need(place == end, "records", f"{end - place} bytes behind the last of {count} records")
    except Refusal as refusal:
        log.found(refusal.code, refusal.text, place, first + len(hashes))
    else:
        if link != hashed("link", log.link, data[at + 8:at + 16], data[at + 20:at + 28], *hashes):
            log.found("link", "the link does not follow from the link before and the commit's events", at, first)
    log.seq, log.link, log.commits = first + count - 1, link, log.commits + 1
    log.durable = durable if log.durable < durable < first else log.durable
    return end

def read_opening(log, data, magic, size):
    """What STORE and a segment's header have in common. Says whether it is worth reading on."""
    if data[:8] != magic:
        return log.found("magic", f"does not begin with {magic.decode()}", 0)
    if len(data) >= 12 and u32(data, 8) != FORMAT:
        return log.found("format", f"format {u32(data, 8)}, not {FORMAT}", 8)
    if len(data) < size:
        return log.found("cut", f"{len(data)} bytes where {size} are needed", 0)
    if crc32c(data[:12] + bytes(4) + data[16:size]) != u32(data, 12):
        log.found("checksum", f"the checksum of the first {size} bytes is wrong", 12)
    return True

def read_segment(log, data, first, sealed):
    """Step 2: reads a segment into the log; `first` is the seq that its name says."""
    if not read_opening(log, data, b"BATPAKSG", SEGMENT_HEADER):
        return
    if data[16:32] != log.store:
        log.found("store", f"a segment of the store {data[16:32].hex()}", 16)
    if u64(data, 32) != first:
        log.found("first", f"first seq {u64(data, 32)} in the header, {first} by the name", 32)
    if first != log.seq + 1:
        log.found("first", f"a segment from seq {first}, where {log.seq + 1} comes next", 32)
        log.missed()
    if data[40:72] != log.link:
        log.found("before", "the link before the segment is not that of the last commit", 40)
    log.seq, log.link = first - 1, data[40:72]
    at, commits = SEGMENT_HEADER, log.commits
    while at is not None and at < len(data) and any(data[at:at + COMMIT_HEADER]):
        at = read_commit(log, data, at)
    if at is None:
        log.notes.append(f"{log.file}: read up to the last finding" + ("; it may be a torn write" * (not sealed)))
    elif sealed and at < len(data):
        log.found("behind", f"{len(data) - at} bytes behind the last commit of a sealed segment", at)
    elif any(data[at:]):
        log.found("behind", "bytes that are not zero behind the end of the commits", at)
    if sealed and log.commits == commits:
        log.found("empty", "a sealed segment without a commit", SEGMENT_HEADER)


# --------------------------------------------------------------------------- a store and its receipts
def load_store(folder):
    """(STORE, LOCK, [(name, bytes) of each segment], notes). LOCK is read before the log: what it says was
    durable by then."""
    folder, segments, notes = Path(folder), [], []
    store = (folder / "STORE").read_bytes()
    lock = (folder / "LOCK").read_bytes() if (folder / "LOCK").is_file() else b""
    for path in sorted((folder / "log").glob("*")):
        if re.fullmatch(r"[0-9]{20}\.seg", path.name):
            segments.append((f"log/{path.name}", path.read_bytes()))
        elif path.suffix != ".tmp":
            notes.append(f"log/{path.name} is no segment by its name, and was not looked at")
    return store, lock, segments, notes

def verify_store(data, lock, segments, notes=(), receipt=None):
    """All of "To verify a store", of what `load_store` gave. Gives the log, with the findings in it."""
    log = Log(b"", b"", file="STORE", notes=list(notes))
    if read_opening(log, data, b"BATPAKST", STORE_BYTES) and len(data) > STORE_BYTES:
        log.found("behind", f"{len(data)} bytes, not {STORE_BYTES}", STORE_BYTES)
    if log.findings:
        return log
    log.store, log.link = data[16:32], hashed("origin", data[16:32])
    for name, segment in segments:
        log.file = name
        read_segment(log, segment, int(name[4:24]), name != segments[-1][0])
    log.file = "log"
    if not segments:
        log.found("empty", "no segment")
    if len(lock) >= 276:
        watermark = u64(lock, 264)
        if crc32c(log.store + lock[256:272]) != u32(lock, 272):
            log.notes.append("LOCK: its checksum is wrong, it says nothing")
        else:
            log.notes.append(f"LOCK: events up to {watermark} were durable")
            if log.seq < watermark:
                log.found("lost", f"ends with event {log.seq}, but by LOCK events up to {watermark} were durable")
    if receipt is not None:
        check_receipt(log, receipt)
    return log

def check_receipt(log, receipt):
    """Step 5: the receipt's event is there, and is what the receipt says."""
    log.file = "receipt"
    if not isinstance(receipt, dict) or type(receipt.get("seq")) is not int:
        return log.found("receipt", "not a receipt: no seq")
    seq = receipt["seq"]
    event = next((event for event in log.events if event["seq"] == seq), None)
    if receipt.get("durability") not in ("durable", "written"):
        log.found("receipt", f"the durability {receipt.get('durability')!r}", event=seq)
    if event is None:
        return log.found("lost", f"no such event; the log ends with event {log.seq}", event=seq)
    expected = event | {"store": log.store.hex(), "id": ulid_text(bytes.fromhex(event["id"])),
                        "kind": f"0x{event['kind']:04X}"}
    del expected["payload"]
    for name, value in expected.items():
        if type(receipt.get(name)) is not type(value) or receipt[name] != value:
            log.found("receipt", f"{name} is {receipt.get(name)!r}, in the log {value!r}", event=seq)


# ---------------------------------------------------------------------------------------- the vectors
# By the name of a vector that is to be refused, the codes that make sense as the first finding. With any
# other code the vector does not test what its name says. A name that is not here may have any code.
REASONS = {
    "headers": {
        "empty": "cut", "cut off": "cut", "a byte behind it": "behind", "not a map": "type", "no seq": "missing",
        "one pair fewer than said": "cut", "indefinite length": "indefinite", "negative key": "key", "key 0": "key",
        "length of the map not shortest": "shortest", "integer not shortest": "shortest", "keys out of order": "order",
        "key twice": "twice", "seq above 2^48-1": "range", "no scope": "missing", "no kind": "missing",
        "empty entity": "size", "entity of 1025 bytes": "size", "entity with a slash": "text", "lane of zero": "zero",
        "scope with two dots": "text", "scope not UTF-8": "utf-8", "zero id": "zero", "zero content hash": "zero",
        "idempotency key of 257 bytes": "size", "extension without a dot": "extension", "kind as text": "type",
        "extension with two dots": "extension", "float not shortest": "float", "correlation is the id": "correlation",
        "later key not deterministic": "shortest order twice indefinite float"},
    "records": {
        "empty": "records", "cut off": "records", "a byte behind it": "behind", "header length too long": "records",
        "border moved": "behind", "payload changed": "content", "payload of another length": "payload-length",
        "content hash changed": "content"},
    "commits": {
        "cut off": "cut", "payload changed": "checksum", "payload changed, checksum right": "content",
        "link changed, checksum right": "link", "durable watermark changed, checksum right": "link",
        "durable watermark not below the first seq": "durable", "first seq changed, checksum right": "seq",
        "one record fewer than there are": "records", "one record more than there are": "records",
        "no record": "count", "length too short": "length", "another link before": "link"},
    "segments": {
        "magic": "magic", "newer format": "format", "header checksum": "checksum", "another store": "store",
        "another first seq": "first", "another link before": "before", "header cut off": "cut",
        "sealed, with zeros behind": "behind", "sealed, cut off": "cut", "first commit gone": "seq",
        "first commit twice": "seq"},
}

def header_vector(_, data, __):
    return {"fields": read_header(data), "hash": hashed("event", data).hex()}

def record_vector(_, data, __):
    header, payload, end = split_record(data, 0, len(data))
    need(end == len(data), "behind", f"{len(data) - end} bytes behind the record")
    for code, sentence in check_payload(read_header(header), payload):
        raise Refusal(code, sentence)
    return {"header": header.hex(), "payload": payload.hex(), "content": hashed("content", payload).hex(),
            "hash": hashed("event", header).hex()}

def log_vector(vector, data, whole, read):
    """Reads a commit or a segment of which only what comes before it is known, or refuses it."""
    first = vector["first"]
    log = Log(bytes.fromhex(whole["store"]), bytes.fromhex(vector["link_before"]), first - 1, first == 1)
    end = read(log, data, 0) if read is read_commit else read(log, data, first, vector["sealed"])
    for code, sentence, _ in log.findings:
        raise Refusal(code, sentence)
    return log, end

def commit_vector(vector, data, whole):
    log, end = log_vector(vector, data, whole, read_commit)
    need(end == len(data), "behind", f"{len(data) - end} bytes behind the commit")
    vector.setdefault("durable", 0)     # a zero is left out
    return {"first": u64(data, 8), "count": u32(data, 16), "durable": u64(data, 20), "link": log.link.hex(),
            "hashes": [event["hash"] for event in log.events]}

def segment_vector(vector, data, whole):
    log, _ = log_vector(vector, data, whole, read_segment)
    return {"last": log.seq, "link": log.link.hex()}

class Vectors:
    """Checks the vectors in a folder, and counts."""
    def __init__(self, folder, verbose):
        self.folder, self.verbose, self.passed, self.failed = Path(folder), verbose, 0, 0

    def load(self, name):
        return json.loads((self.folder / name).read_text("utf-8"))

    def result(self, name, right, sentence=""):
        self.passed, self.failed = self.passed + right, self.failed + (not right)
        if self.verbose or not right:
            print(("ok      " if right else "FAILED  ") + name + (f": {sentence}" if sentence else ""))

    def same(self, name, got, wanted):
        wrong = [f"{key} is {got.get(key)!r}, the vector says {wanted.get(key)!r}" for key in {**wanted, **got}
                 if key not in got or key not in wanted or got[key] != wanted[key]]
        self.result(name, not wrong, "; ".join(wrong))

    def run(self, part, read):
        """`read(vector, bytes, the whole of the JSON)` gives what was read, or refuses it."""
        whole = self.load(f"{part}.json")
        for vector in whole["valid"]:
            name = f"{part}, valid: {vector['name']}"
            try:
                got = read(vector, bytes.fromhex(vector["hex"]), whole)
                self.same(name, got, {key: vector[key] for key in got if key in vector})
            except Refusal as refusal:
                self.result(name, False, f"refused: {refusal.text} [{refusal.code}]")
        for vector in whole["invalid"]:
            name, codes = f"{part}, not valid: {vector['name']}", REASONS[part].get(vector["name"])
            try:
                read(vector, bytes.fromhex(vector["hex"]), whole)
                self.result(name, False, "not refused")
            except Refusal as refusal:
                right = codes is None or refusal.code in codes.split()
                self.result(name, right, f"{refusal.text} [{refusal.code}]" + (
                    "" if right else f", but by its name it should be refused for: {codes}"))

    def store(self):
        wanted, log = self.load("store.json"), verify_store(*load_store(self.folder / "store"))
        self.result("store, verified", not log.findings, "; ".join(told for _, _, told in log.findings))
        self.same("store, as a whole", {"store": log.store.hex(), "link": log.link.hex(), "events": len(log.events)},
                  {"store": wanted["store"], "link": wanted["link"], "events": len(wanted["events"])})
        for got, event in zip(log.events, wanted["events"]):
            self.same(f"store, event {event['seq']}", got, event)
        log.findings = []
        check_receipt(log, wanted["receipt"])
        self.result("store, receipt", not log.findings, "; ".join(told for _, _, told in log.findings))

def check_vectors(folder, verbose):
    vectors = Vectors(folder, verbose)
    vectors.result("checksum of 123456789", crc32c(b"123456789") == 0xE3069283)
    for part, read in (("headers", header_vector), ("records", record_vector), ("commits", commit_vector),
                       ("segments", segment_vector)):
        vectors.run(part, read)
    vectors.store()
    print(f"{vectors.passed} passed, {vectors.failed} failed")
    return 1 if vectors.failed else 0

def check_store(folder, receipt):
    receipt = receipt and json.loads(Path(receipt).read_text("utf-8"))
    store = load_store(folder)
    log = verify_store(*store, receipt)
    for note in log.notes:
        print("note:", note)
    for _, _, told in log.findings:
        print("FOUND", told)
    streams = {(event["entity"], event["lane"]) for event in log.events}
    print(f"store {log.store.hex()}\n{len(store[2])} segments, {log.commits} commits, {len(log.events)} events, "
          f"{len(streams)} streams\nlast seq {log.seq}\nnewest link {log.link.hex()}")
    print(f"{len(log.findings)} findings" if log.findings else "verified" + (", and the receipt" if receipt else ""))
    return 1 if log.findings else 0

def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("vectors", nargs="?", metavar="VECTOR_DIR", default=Path(__file__).resolve().parent)
    options.add_argument("--store", metavar="DIR")
    options.add_argument("--receipt", metavar="FILE")
    options.add_argument("-v", dest="verbose", action="store_true", help="print every vector, with the reason if it is refused")
    chosen = options.parse_args()
    if chosen.receipt and not chosen.store:
        options.error("--receipt needs --store")
    try:
        if chosen.store:
            return check_store(chosen.store, chosen.receipt)
        return check_vectors(chosen.vectors, chosen.verbose)
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"cannot be read: {type(error).__name__}: {error}", file=sys.stderr)
        return 2

if __name__ == "__main__":
    sys.exit(main())
