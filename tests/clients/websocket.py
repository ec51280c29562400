"""A WebSocket client (the library `websockets`): echoes a number every 20 ms, and says what happens, a line each.

    websocket.py '{"url": "wss://…/ws", "user": "alice@example.org", "ca": FILE, "again": true}'

Ends when its input ends. With "again" it connects anew whenever it was disconnected.
"""

import asyncio
import base64
import json
import ssl
import sys

import websockets

WANTED = json.loads(sys.argv[1])


def say(**what):
    print(json.dumps(what), flush=True)


def tls():
    if not WANTED["url"].startswith("wss"):
        return None
    context = ssl.create_default_context(cafile=WANTED["ca"])
    context.check_hostname = False
    return context


async def session():
    credential = base64.b64encode(f"{WANTED['user']}:secret".encode()).decode()
    async with websockets.connect(
        WANTED["url"],
        ssl=tls(),
        additional_headers={"Authorization": f"Basic {credential}"},
        subprotocols=["echo"],
        open_timeout=60,
        compression=None,
    ) as socket:
        greeting = await socket.recv()
        say(opened=greeting.split(" ")[0], user=greeting.partition(" ")[2], subprotocol=socket.subprotocol)
        number = 0
        while True:
            number += 1
            for message in (str(number), b"\0" * (number * 100)):
                await socket.send(message)
                assert await socket.recv() == message
            if number == 3:
                say(echoed=number)
            await asyncio.sleep(0.02)


async def run():
    while True:
        try:
            await session()
        except websockets.exceptions.InvalidStatus as refused:
            say(refused=refused.response.status_code)
        except websockets.exceptions.ConnectionClosed as closed:
            say(closed=closed.rcvd.code if closed.rcvd else 1006)
        except (OSError, EOFError, websockets.exceptions.WebSocketException) as error:
            say(failed=repr(error))
        if not WANTED.get("again"):
            return
        await asyncio.sleep(0.05)


async def main():
    work = asyncio.ensure_future(run())
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await asyncio.wait([work, ended], return_when=asyncio.FIRST_COMPLETED)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


asyncio.run(main())
sys.stdout.flush()
