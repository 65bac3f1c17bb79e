"""Stands in for MongoDB and DynamoDB where neither can be installed.

    python stand_ins.py mongodb|dynamodb

Prints the port of 127.0.0.1 that it listens on, and runs until its standard input ends.

For MongoDB it speaks the wire protocol (OP_MSG) itself, with pymongo's BSON, over mongomock, which
keeps everything in memory: the commands that the tests need and no others, without sessions and
transactions. For DynamoDB it starts moto's server.
"""

import asyncio
import struct
import sys

HEADER = struct.Struct("<iiii")
OP_MSG = 2013
OP_QUERY = 2004
OP_REPLY = 1
# What a server says that the driver of 2026 still speaks to: MongoDB 7.
HELLO = {
    "isWritablePrimary": True,
    "ismaster": True,
    "helloOk": True,
    "maxBsonObjectSize": 16 * 1024 * 1024,
    "maxMessageSizeBytes": 48_000_000,
    "maxWriteBatchSize": 100_000,
    "minWireVersion": 0,
    "maxWireVersion": 21,
    "readOnly": False,
    "ok": 1.0,
}


class Mongo:
    """The commands, over a database in memory."""

    def __init__(self):
        import mongomock

        self.client = mongomock.MongoClient()
        self.cursors = {}

    def run(self, command):
        name = next(iter(command))
        handler = getattr(self, f"do_{name.lower()}", None)
        if handler is None:
            return {"ok": 0.0, "errmsg": f"no such command: {name}", "code": 59, "codeName": "CommandNotFound"}
        database = self.client[command.get("$db", "admin")]
        try:
            return {"ok": 1.0, **handler(database, command)}
        except Exception as error:  # whatever it is, the driver shall hear of it
            return {"ok": 0.0, "errmsg": str(error), "code": getattr(error, "code", None) or 8}

    def do_hello(self, _database, _command):
        return HELLO

    do_ismaster = do_hello

    def do_ping(self, _database, _command):
        return {}

    do_endsessions = do_ping

    def do_createindexes(self, database, command):
        for index in command["indexes"]:
            database[command["createIndexes"]].create_index(list(index["key"].items()), name=index["name"])
        return {"numIndexesBefore": 1, "numIndexesAfter": 2}

    def do_insert(self, database, command):
        database[command["insert"]].insert_many(command["documents"])
        return {"n": len(command["documents"])}

    def do_update(self, database, command):
        changed, upserted = 0, []
        for place, update in enumerate(command["updates"]):
            collection = database[command["update"]]
            is_update = next(iter(update["u"]), "").startswith("$")
            change = collection.update_many if is_update and update.get("multi") else (
                collection.update_one if is_update else collection.replace_one)
            result = change(update["q"], update["u"], upsert=update.get("upsert", False))
            changed += result.matched_count
            if result.upserted_id is not None:
                changed += 1
                upserted.append({"index": place, "_id": result.upserted_id})
        return {"n": changed, "nModified": changed - len(upserted), **({"upserted": upserted} if upserted else {})}

    def do_find(self, database, command):
        found = database[command["find"]].find(command.get("filter", {}), command.get("projection") or None)
        if command.get("sort"):
            found = found.sort(list(command["sort"].items()))
        found = found.skip(command.get("skip", 0)).limit(abs(command.get("limit", 0)))
        return self.batch(f"{database.name}.{command['find']}", list(found), command.get("batchSize", 101), "firstBatch")

    def do_getmore(self, database, command):
        rest = self.cursors.pop(command["getMore"])
        return self.batch(f"{database.name}.{command['collection']}", rest, command.get("batchSize", 101), "nextBatch")

    def batch(self, namespace, found, size, name):
        now, later = found[:size], found[size:]
        number = 0
        if later:
            number = 1 + max(self.cursors, default=0)
            self.cursors[number] = later
        from bson.int64 import Int64

        return {"cursor": {"id": Int64(number), "ns": namespace, name: now}}

    def do_killcursors(self, _database, command):
        for number in command["cursors"]:
            self.cursors.pop(number, None)
        return {"cursorsKilled": command["cursors"]}

    def do_delete(self, database, command):
        removed = 0
        for delete in command["deletes"]:
            collection = database[command["delete"]]
            remove = collection.delete_one if delete.get("limit") == 1 else collection.delete_many
            removed += remove(delete["q"]).deleted_count
        return {"n": removed}


def command_of(body):
    """The command of an OP_MSG: the document of section 0, with the lists of sections 1 in it."""
    import bson

    at, command, lists = 4, {}, {}
    while at < len(body):
        kind, at = body[at], at + 1
        (size,) = struct.unpack_from("<i", body, at)
        if kind == 0:
            command = bson.decode(body[at : at + size])
        else:
            end = body.index(b"\0", at + 4)
            lists[body[at + 4 : end].decode()] = bson.decode_all(body[end + 1 : at + size])
        at += size
    return {**command, **lists}


async def converse(mongo, reader, writer):
    import bson

    try:
        while True:
            size, request, _, kind = HEADER.unpack(await reader.readexactly(HEADER.size))
            body = await reader.readexactly(size - HEADER.size)
            if kind == OP_MSG:
                answer = struct.pack("<i", 0) + b"\0" + bson.encode(mongo.run(command_of(body)))
                kind = OP_MSG
            elif kind == OP_QUERY:
                # Only the first greeting comes this way: what is asked stands after the name and two numbers.
                command = bson.decode(body[body.index(b"\0", 4) + 9 :])
                answer = struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(mongo.run({**command, "$db": "admin"}))
                kind = OP_REPLY
            else:
                return
            writer.write(HEADER.pack(HEADER.size + len(answer), 0, request, kind) + answer)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def mongodb():
    mongo = Mongo()
    server = await asyncio.start_server(lambda reader, writer: converse(mongo, reader, writer), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def dynamodb():
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    sys.stdin.read()
    server.stop()


if sys.argv[1] == "mongodb":
    asyncio.run(mongodb())
else:
    dynamodb()
