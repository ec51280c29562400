"""A webmail of the tests on aiohttp: who asked for what is in its journal, a line of JSON each.

    web.py '{"name": "legacy", "journal": FILE, "plain": "127.0.0.1:1", "tls": "127.0.0.1:2", "cert": …, "key": …}'

Basic authentication; every user has the password "secret". Without a credential the user is nobody (""), which
only /private refuses. What it answers names the server.
"""

import asyncio
import base64
import hashlib
import json
import ssl
import sys
import time

from aiohttp import WSMsgType, web

SETUP = json.loads(sys.argv[1])
NAME = SETUP["name"]
JOURNAL = open(SETUP["journal"], "a", buffering=1)
COUNTER = iter(range(1 << 62))


def note(event, request, **more):
    JOURNAL.write(
        json.dumps(
            {
                "event": event,
                "at": time.time_ns() // 1000,
                "number": request["number"],
                "peer": request.transport.get_extra_info("peername")[0] if request.transport else "",
                "port": request.transport.get_extra_info("peername")[1] if request.transport else 0,
                "user": request["user"],
                "method": request.method,
                "target": request.raw_path,
                "headers": [[name.decode(), value.decode("latin1")] for name, value in request.raw_headers],
                **more,
            }
        )
        + "\n"
    )


def user_of(request):
    scheme, _, credential = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return request.cookies.get("session", "") if "session" in request.cookies else ""
    user, _, password = base64.b64decode(credential).decode("utf-8", "replace").partition(":")
    return user if password == "secret" else None


@web.middleware
async def journal(request, handler):
    request["number"] = next(COUNTER)
    user = user_of(request)
    request["user"] = user or ""
    if user is None or (user == "" and request.path == "/private"):
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="webmail"'}, text="who are you?")
    note("request", request)
    try:
        response = await handler(request)
        note("answered", request, status=response.status)
        return response
    except web.HTTPException as answer:
        note("answered", request, status=answer.status)
        raise
    except asyncio.CancelledError:
        note("cancelled", request)
        raise
    except Exception as error:
        note("failed", request, error=repr(error))
        raise


async def whoami(request):
    return web.json_response({"server": NAME, "user": request["user"]})


async def echo(request):
    body = await request.read()
    note("body", request, length=len(body), sha256=hashlib.sha256(body).hexdigest())
    return web.Response(body=body, headers={"X-Server": NAME, "X-Length": str(len(body))})


async def add(request):
    """Executes once for each time that it is called; takes a moment."""
    body = (await request.read()).decode()
    note("executed", request, id=body)
    await asyncio.sleep(float(request.query.get("wait", "0")))
    return web.json_response({"server": NAME, "id": body})


async def wait(request):
    await asyncio.sleep(float(request.query.get("seconds", "1")))
    return web.json_response({"server": NAME, "user": request["user"]})


async def download(request):
    """So many bytes, chunked, in pieces."""
    response = web.StreamResponse(headers={"X-Server": NAME})
    response.enable_chunked_encoding()
    await response.prepare(request)
    left = int(request.query["bytes"])
    while left:
        piece = min(left, 65536)
        await response.write(b"x" * piece)
        left -= piece
    await response.write_eof()
    return response


async def events(request):
    """An event stream; `count` ends it."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await response.prepare(request)
    count = int(request.query.get("count", "0"))
    number = 0
    try:
        while not count or number < count:
            number += 1
            await response.write(f"event: tick\ndata: {NAME} {number}\n\n".encode())
            await asyncio.sleep(float(request.query.get("every", "0.05")))
        await response.write_eof()
    finally:
        note("stream ended", request, sent=number)
    return response


async def websocket(request):
    socket = web.WebSocketResponse(protocols=("echo",))
    await socket.prepare(request)
    note("opened", request)
    await socket.send_str(f"{NAME} {request['user']}")
    last = time.time_ns() // 1000
    try:
        async for message in socket:
            last = time.time_ns() // 1000
            if message.type == WSMsgType.TEXT:
                await socket.send_str(message.data)
            elif message.type == WSMsgType.BINARY:
                await socket.send_bytes(message.data)
    finally:
        note("stream ended", request, last=last)
    return socket


async def login(request):
    """The form of a cookie-based webmail."""
    form = await request.post()
    answer = web.json_response({"server": NAME, "user": form.get("user", "")})
    answer.set_cookie("session", form.get("user", ""))
    answer.set_cookie("backend", NAME)
    return answer


PAGE = """<!doctype html><title>webmail</title><body><script>
async function run() {
  const said = [];
  const auth = {headers: {Authorization: 'Basic ' + btoa(new URLSearchParams(location.search).get('user') + ':secret')}};
  said.push('fetch ' + (await (await fetch('/whoami', auth)).json()).server);
  const several = await Promise.all([...Array(20)].map((_, n) => fetch('/echo?' + n,
      {method: 'POST', body: 'piece ' + n, ...auth}).then(answer => answer.text())));
  said.push('posts ' + several.every((text, n) => text === 'piece ' + n));
  said.push('socket ' + await new Promise((done, failed) => {
    const socket = new WebSocket(location.origin.replace('http', 'ws') + '/ws', 'echo');
    const heard = [];
    socket.onopen = () => socket.send('hello');
    socket.onmessage = event => { heard.push(event.data); if (heard.length == 2) { socket.close(); done(heard[1]); } };
    socket.onerror = () => failed(new Error('the socket failed'));
  }));
  said.push('events ' + await new Promise((done, failed) => {
    const stream = new EventSource('/events?count=3');
    let count = 0;
    stream.addEventListener('tick', () => { if (++count == 3) { stream.close(); done(count); } });
    stream.onerror = () => failed(new Error('the stream failed'));
  }));
  said.push('protocol ' + performance.getEntriesByType('resource')[0].nextHopProtocol);
  return said.join('; ');
}
run().then(said => said, error => 'failed: ' + error)
  .then(said => fetch('/result', {method: 'POST', body: said}));
</script>"""


async def result(request):
    """What the page's script came to."""
    note("result", request, id=await request.text())
    return web.Response()


async def page(_request):
    return web.Response(text=PAGE, content_type="text/html")


def address(text):
    host, _, port = text.rpartition(":")
    return host, int(port)


async def main():
    app = web.Application(middlewares=[journal], client_max_size=1 << 30)
    app.router.add_route("*", "/whoami", whoami)
    app.router.add_route("*", "/private", whoami)
    app.router.add_route("*", "/auth/token", echo)
    app.router.add_route("*", "/echo", echo)
    app.router.add_route("*", "/echo/{rest:.*}", echo)
    app.router.add_route("*", "/add", add)
    app.router.add_route("*", "/wait", wait)
    app.router.add_get("/download", download)
    app.router.add_get("/events", events)
    app.router.add_get("/ws", websocket)
    app.router.add_post("/login", login)
    app.router.add_post("/result", result)
    app.router.add_get("/page", page)
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=SETUP.get("keepalive", 75))
    await runner.setup()
    await web.TCPSite(runner, *address(SETUP["plain"])).start()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(SETUP["cert"], SETUP["key"])
    await web.TCPSite(runner, *address(SETUP["tls"]), ssl_context=tls).start()
    await asyncio.Event().wait()


asyncio.run(main())
