"""A JMAP client (the library `jmapc`): reads the session, the mailboxes and how many messages the INBOX has, and makes a mailbox.

    jmap.py '{"host": "127.0.0.1:1", "user": …, "ca": FILE, "make": "Archive"}'
"""

import json
import os
import sys

WANTED = json.loads(sys.argv[1])
os.environ["REQUESTS_CA_BUNDLE"] = WANTED["ca"]

import jmapc
from jmapc.methods import EmailQuery, EmailQueryResponse, MailboxGet, MailboxGetResponse, MailboxSet

client = jmapc.Client.create_with_password(host=WANTED["host"], user=WANTED["user"], password="secret")
# Cyrus names its API by a path, which the library does not complete.
if client.jmap_session.api_url.startswith("/"):
    client.jmap_session.api_url = f"https://{WANTED['host']}{client.jmap_session.api_url}"
boxes = client.request(MailboxGet(ids=None))
assert isinstance(boxes, MailboxGetResponse), boxes
inbox = next(box for box in boxes.data if box.role == "inbox")
found = client.request(EmailQuery(filter=jmapc.EmailQueryFilterCondition(in_mailbox=inbox.id)))
assert isinstance(found, EmailQueryResponse), found
if "make" in WANTED:
    client.request(MailboxSet(create={"new": jmapc.Mailbox(name=WANTED["make"])}))
    boxes = client.request(MailboxGet(ids=None))
print(
    json.dumps(
        {
            "user": client.jmap_session.username,
            "api": client.jmap_session.api_url,
            "mailboxes": sorted(box.name for box in boxes.data),
            "inbox": len(found.ids),
        }
    )
)
