"""POSTs without end: each has an id of its own, is sent once, and is never repeated by this client.

    posts.py '{"host": …, "port": …, "ca": FILE, "user": …, "workers": 4, "wait": 0.05, "name": "a"}'

With `"method": "GET"` it only asks who answers.

Each worker keeps its connection while it can. Ends when its input ends, and then says for each id which server
answered, or how it failed.
"""

import base64
import http.client
import json
import ssl
import sys
import threading

WANTED = json.loads(sys.argv[1])
ENDED = threading.Event()
ANSWERED, FAILED = {}, {}
CREDENTIAL = base64.b64encode(f"{WANTED['user']}:secret".encode()).decode()


def connect():
    context = ssl.create_default_context(cafile=WANTED["ca"])
    context.check_hostname = False
    return http.client.HTTPSConnection(WANTED["host"], WANTED["port"], timeout=60, context=context)


def work(worker):
    connection = connect()
    number = 0
    while not ENDED.is_set():
        number += 1
        identity = f"{WANTED.get('name', '')}{worker}-{number}"
        try:
            headers = {"Authorization": f"Basic {CREDENTIAL}"}
            if WANTED.get("method") == "GET":
                connection.request("GET", f"/wait?seconds={WANTED['wait']}", headers=headers)
            else:
                connection.request("POST", f"/add?wait={WANTED['wait']}", body=identity, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status == 200:
                ANSWERED[identity] = json.loads(body)["server"]
            else:
                FAILED[identity] = f"{answer.status} {answer.reason}"
            if answer.will_close:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            FAILED[identity] = repr(error)
            connection.close()
            connection = connect()


threads = [threading.Thread(target=work, args=(worker,)) for worker in range(WANTED["workers"])]
for thread in threads:
    thread.start()
print(json.dumps({"started": True}), flush=True)
sys.stdin.read()
ENDED.set()
for thread in threads:
    thread.join()
print(json.dumps({"answered": ANSWERED, "failed": FAILED}), flush=True)
