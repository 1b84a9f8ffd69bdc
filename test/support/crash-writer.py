"""
Writes over libnbd until the server dies, and checks afterwards that nothing acknowledged is missing.

  crash-writer.py write URI FOLDER SEED
  crash-writer.py check URI FOLDER

Three connections write, trim, zero and flush, each in an area of its own. A change is noted in the
area's journal before it is sent. Before any FLUSH the number of answered changes of every area is
noted, and after its answer they count as promised: a FLUSH covers what was answered on all
connections (doc/proto.md of NBD, NBD_FLAG_CAN_MULTI_CONN).

`check` asks of each area for a number of changes, at least the promised and at most the sent, that
leaves exactly the bytes that are there; the first change beyond that number may have been done in
part, since it was never answered. What it found is the state from which the next `write` goes on.
"""
import json
import random
import sys
import threading

import nbd

BLOCK = 4096
AREA_BLOCKS = 4096
AREAS = 3
CHANGES_MAX = 100_000


def connect(uri):
    handle = nbd.NBD()
    handle.connect_uri(uri)
    return handle


def content(seed, area, number, block):
    """One block's bytes, different for every change."""
    stamp = b"%d %d %d %d\n" % (seed, area, number, block)
    return (stamp * (BLOCK // len(stamp) + 1))[:BLOCK]


def change_of(seed, area, number):
    """What change `number` of an area does: kind, first block, block count. A function of its arguments."""
    source = random.Random(f"{seed} {area} {number}")
    kind = source.choices(["write", "fua", "zero", "trim"], [80, 6, 8, 6])[0]
    count = source.choice([1, 1, 1, 2, 8, 32] if kind in ("write", "fua") else [1, 8, 64, 512])
    return kind, source.randrange(AREA_BLOCKS - count), count


def send(handle, seed, area, number):
    kind, first, count = change_of(seed, area, number)
    offset = (area * AREA_BLOCKS + first) * BLOCK
    if kind == "zero":
        handle.zero(count * BLOCK, offset)
    elif kind == "trim":
        handle.trim(count * BLOCK, offset)
    else:
        data = b"".join(content(seed, area, number, block) for block in range(first, first + count))
        handle.pwrite(data, offset, nbd.CMD_FLAG_FUA if kind == "fua" else 0)
    return kind == "fua"


class Writer:
    def __init__(self, uri, seed):
        self.uri = uri
        self.seed = seed
        self.lock = threading.Lock()
        self.sent = [0] * AREAS
        self.answered = [0] * AREAS
        self.promised = [0] * AREAS

    def run(self, area):
        # A connection that fails for any other reason than the server's death shows in `check`.
        try:
            self.write_area(area)
        except nbd.Error as error:
            print(f"area {area} ended: {error}", file=sys.stderr)

    def write_area(self, area):
        handle = connect(self.uri)
        pace = random.Random(f"{self.seed} {area}")
        while self.sent[area] < CHANGES_MAX:
            number = self.sent[area]
            self.sent[area] += 1
            is_durable = send(handle, self.seed, area, number)
            self.answered[area] = number + 1
            if is_durable:
                # FUA promises its own change; the prefix rule makes that all changes before it, too.
                self.promise(area, number + 1)
            if pace.random() < 0.05:
                seen = list(self.answered)
                handle.flush()
                for other, count in enumerate(seen):
                    self.promise(other, count)

    def promise(self, area, count):
        with self.lock:
            self.promised[area] = max(self.promised[area], count)
        if area == 0 and count % 50 == 0:
            print("progress", flush=True)


def write(uri, folder, seed):
    writer = Writer(uri, seed)
    threads = [threading.Thread(target=writer.run, args=(area,)) for area in range(AREAS)]
    print("started", flush=True)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open(f"{folder}/promises", "w") as file:
        json.dump({"seed": seed, "sent": writer.sent, "promised": writer.promised}, file)
    print(json.dumps({"sent": writer.sent, "promised": writer.promised}))


def apply(image, seed, area, number, blocks=None):
    """Changes `image`, a list of blocks; returns what was there before."""
    kind, first, count = change_of(seed, area, number)
    before = image[first : first + count]
    for block in range(first, first + count):
        image[block] = content(seed, area, number, block) if kind in ("write", "fua") else None
    return first, before


def read_area(handle, area):
    blocks = []
    for first in range(0, AREA_BLOCKS, 256):
        data = bytes(handle.pread(256 * BLOCK, (area * AREA_BLOCKS + first) * BLOCK))
        for start in range(0, len(data), BLOCK):
            block = data[start : start + BLOCK]
            blocks.append(None if block == bytes(BLOCK) else block)
    return blocks


def load_area(folder, area):
    try:
        with open(f"{folder}/area-{area}", "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return [None] * AREA_BLOCKS
    blocks = [data[start : start + BLOCK] for start in range(0, len(data), BLOCK)]
    return [None if block == bytes(BLOCK) else block for block in blocks]


def find_prefix(image, found, seed, area, promised, sent):
    """The number of changes whose outcome `found` is, or None. Counts differing blocks instead of comparing all."""
    for number in range(promised):
        apply(image, seed, area, number)
    different = {block for block in range(AREA_BLOCKS) if image[block] != found[block]}
    for number in range(promised, sent + 1):
        if not different:
            return number
        if number == sent:
            return None
        first, before = apply(image, seed, area, number)
        changed = range(first, first + len(before))
        partly = all(found[block] in (image[block], before[block - first]) for block in changed)
        if partly and all(block in changed for block in different):
            return number
        for block in changed:
            if image[block] == found[block]:
                different.discard(block)
            else:
                different.add(block)
    return None


def check(uri, folder):
    with open(f"{folder}/promises") as file:
        noted = json.load(file)
    handle = connect(uri)
    kept = []
    for area in range(AREAS):
        found = read_area(handle, area)
        image = load_area(folder, area)
        promised, sent = noted["promised"][area], noted["sent"][area]
        prefix = find_prefix(image, found, noted["seed"], area, promised, sent)
        if prefix is None:
            sys.exit(f"area {area}: no prefix of {sent} changes, {promised} of them promised, gives what is there")
        kept.append(prefix)
        with open(f"{folder}/area-{area}", "wb") as file:
            file.write(b"".join(block or bytes(BLOCK) for block in found))
    print(json.dumps({"promised": noted["promised"], "kept": kept, "sent": noted["sent"]}))


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        check(sys.argv[2], sys.argv[3])
