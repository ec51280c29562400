"""An event stream's client (aiohttp): says every event's server, and when the stream ends.

    events.py '{"url": "https://…/events", "user": "alice@example.org", "ca": FILE, "again": true}'

Ends when its input ends. With "again" it connects anew, as a browser does.
"""

import asyncio
import json
import ssl
import sys

import aiohttp

WANTED = json.loads(sys.argv[1])


def say(**what):
    print(json.dumps(what), flush=True)


async def run():
    context = ssl.create_default_context(cafile=WANTED["ca"]) if "ca" in WANTED else None
    auth = aiohttp.BasicAuth(WANTED["user"], "secret") if WANTED.get("user") else None
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(auth=auth, timeout=timeout) as session:
        while True:
            try:
                async with session.get(WANTED["url"], ssl=context) as answer:
                    server = None
                    async for line in answer.content:
                        if line.startswith(b"data: "):
                            now = line.split()[1].decode()
                            if now != server:
                                server = now
                                say(opened=server)
                    say(ended=answer.status)
            except aiohttp.ClientError as error:
                say(ended=0, why=repr(error))
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
