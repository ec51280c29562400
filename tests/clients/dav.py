"""A CalDAV client (the library `caldav`): makes a calendar, puts an event into it, finds it again.

    dav.py '{"url": "https://127.0.0.1:1", "user": …, "ca": FILE, "name": "work"}'
"""

import datetime
import json
import sys


import caldav

WANTED = json.loads(sys.argv[1])
client = caldav.DAVClient(
    url=f"{WANTED['url']}/dav/principals/user/{WANTED['user']}/",
    username=WANTED["user"],
    password="secret",
    ssl_verify_cert=WANTED["ca"],
)
principal = client.principal()
calendar = principal.make_calendar(name=WANTED["name"], cal_id=WANTED["name"])
begin = datetime.datetime(2026, 5, 4, 10, 0, tzinfo=datetime.timezone.utc)
calendar.save_event(
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:one@test\r\nDTSTAMP:20260101T000000Z\r\n"
    "DTSTART:20260504T100000Z\r\nDTEND:20260504T110000Z\r\nSUMMARY:a meeting\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)
found = calendar.search(start=begin, end=begin + datetime.timedelta(days=1), event=True)
print(json.dumps({"calendars": sorted(str(c.name) for c in principal.calendars()), "events": len(found)}))
