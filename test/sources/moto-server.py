"""
moto's server, and a door beside it: `POST /penstock-fill/<bucket>` stores many objects at once.

moto answers some 250 requests a second, so that 20,000 objects take it over a minute to be put, and two seconds this
way. The objects are made by moto's own `put_object` and `set_metadata`, as its handler of PUT makes them
(moto 5.2.5, s3/responses.py); what a migration then asks is answered by moto alone.

The body: a line of JSON, [[key, {header: value}, bytes], ...], then all bytes one after the other. The answer: the ETags.
"""

import json
import sys

from moto import server
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.s3.utils import metadata_from_headers

DOOR = "/penstock-fill/"


def with_door(application):
    def call(environ, start_response):
        if environ["REQUEST_METHOD"] != "POST" or not environ["PATH_INFO"].startswith(DOOR):
            return application(environ, start_response)
        bucket = environ["PATH_INFO"][len(DOOR) :]
        etags = fill(bucket, environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        answer = json.dumps(etags).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
        return [answer]

    return call


def fill(bucket, body):
    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    line, _, rest = body.partition(b"\n")
    etags = []
    start = 0
    for key, headers, size in json.loads(line):
        stored = backend.put_object(bucket, key, rest[start : start + size])
        # As the WSGI server spells them.
        stored.set_metadata(metadata_from_headers({name.title(): value for name, value in headers.items()}))
        stored.set_acl(backend.get_bucket(bucket).acl)
        etags.append(stored.etag.strip('"'))
        start += size
    return etags


if __name__ == "__main__":
    run_simple = server.run_simple
    server.run_simple = lambda host, port, application, **options: run_simple(
        host, port, with_door(application), **options
    )
    server.main(sys.argv[1:])
