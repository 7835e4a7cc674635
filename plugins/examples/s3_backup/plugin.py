"""Backups to S3: multipart, signed (AWS Signature Version 4), checked afterwards.

The endpoint is such as ``https://s3.eu-central-1.amazonaws.com``; what it names lies below a path
(``endpoint/bucket/key``).

An archive may have 10,000 parts of 8 MB: 80 GB. What lies in the bucket is what the service hands
over: encrypted where BACKUP_PASSPHRASE or BACKUP_AGE_RECIPIENTS is set, and only there.
"""

import asyncio
import hashlib
import hmac
import logging
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from bot.core.plugin_manager import BackupPlugin

log = logging.getLogger(__name__)  # its lines are in ``mltb plugins logs``

PART = 8 * 1024 * 1024  # bytes; the host sends no more in one request, S3 takes no less than 5 MB
TRIES = 4
NOTHING = hashlib.sha256(b"").hexdigest()


class S3Backup(BackupPlugin):
    """Backups to S3"""

    async def execute(self, source_path, backup_name):
        bucket = Bucket(self.http, self.get_config())
        key = self.get_config()["prefix"] + backup_name
        size, total = 0, hashlib.sha256()
        with self.open_archive() as archive:  # a pipe: once, from its beginning to its end
            part = archive.read(PART)
            if len(part) < PART:
                size, total = len(part), hashlib.sha256(part)
                self._check(size, total)
                await bucket.put(key, part)
            else:
                upload = await bucket.begin(key)
                try:
                    tags = []
                    while part:
                        size += len(part)
                        total.update(part)
                        tags.append(await bucket.put_part(key, upload, len(tags) + 1, part))
                        part = archive.read(PART)
                    self._check(size, total)
                    await bucket.complete(key, upload, tags)
                except BaseException:
                    await bucket.abort(key, upload)  # parts cost money until somebody says so
                    raise
        stored = await bucket.size(key)
        if stored != size:
            raise RuntimeError(f"{key} has {stored} bytes in the bucket, and {size} here")
        log.info("%s: %d bytes are in the bucket", key, size)
        return True

    def _check(self, size, total):
        """Before it counts: whether this was the whole archive."""
        if size != self.archive.size or self.archive.sha256 not in (None, total.hexdigest()):
            raise RuntimeError(f"{self.archive.name} did not come as a whole: {size} bytes")


class Bucket:
    """A bucket, by path (``endpoint/bucket/key``)."""

    def __init__(self, http, config):
        self._http = http
        self._config = config
        self._endpoint = config["endpoint"].rstrip("/")

    async def put(self, key, body):
        await self._send("PUT", key, body=body)

    async def begin(self, key):
        answer = await self._send("POST", key, {"uploads": ""})
        return text_of(answer, "UploadId")

    async def put_part(self, key, upload, number, body):
        query = {"partNumber": str(number), "uploadId": upload}
        answer = await self._send("PUT", key, query, body)
        return answer.headers["etag"]

    async def complete(self, key, upload, tags):
        root = ET.Element("CompleteMultipartUpload")
        for number, tag in enumerate(tags, 1):
            part = ET.SubElement(root, "Part")
            ET.SubElement(part, "PartNumber").text = str(number)
            ET.SubElement(part, "ETag").text = tag
        answer = await self._send("POST", key, {"uploadId": upload}, ET.tostring(root))
        text_of(answer, "ETag")  # it may say 200 first, and fail after that

    async def abort(self, key, upload):
        try:
            await self._send("DELETE", key, {"uploadId": upload})
        except Exception as error:  # noqa: BLE001 - what failed before matters more
            log.warning("parts of %s are left in the bucket: %s", key, error)

    async def size(self, key):
        answer = await self._send("HEAD", key)
        return int(answer.headers["content-length"])

    async def _send(self, method, key, query=None, body=b""):
        """Send a request, again where that may help; the parts of an upload may come twice."""
        for attempt in range(TRIES):
            failure = None
            try:
                answer = await self._once(method, key, query or {}, body)
            except Exception as error:  # noqa: BLE001 - what went wrong on the way
                failure = str(error)
            else:
                if answer.status < 300:
                    return answer
                failure = f"the bucket answered {answer.status}: {answer.text[:300]}"
                if answer.status < 500 and answer.status != 429:
                    break
            if attempt + 1 < TRIES:
                await asyncio.sleep(2**attempt)
        raise RuntimeError(f"{method} {key}: {failure}")

    async def _once(self, method, key, query, body):
        path = "/" + quote(f"{self._config['bucket']}/{key}", safe="/-_.~")
        words = "&".join(f"{each}={quote(query[each], safe='-_.~')}" for each in sorted(query))
        headers = signed(
            method,
            host_of(self._endpoint),
            path,
            words,
            body,
            access_key=self._config["access_key"],
            secret_key=self._config["secret_key"],
            region=self._config["region"],
            now=datetime.now(UTC),
        )
        url = f"{self._endpoint}{path}" + (f"?{words}" if words else "")
        return await self._http.request(method, url, headers=headers, body=body, timeout=120)


def signed(method, host, path, query, body, *, access_key, secret_key, region, now):
    """The headers of a signed request; see "Signature Version 4 signing process" of AWS."""
    digest = hashlib.sha256(body).hexdigest() if body else NOTHING
    moment, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": moment}
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{digest}"
    scope = f"{day}/{region}/s3/aws4_request"
    text = "\n".join(
        ["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(request.encode()).hexdigest()]
    )
    key = f"AWS4{secret_key}".encode()
    for word in (day, region, "s3", "aws4_request"):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    del headers["host"]  # the host of the plugin sends that one
    headers["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={access_key}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return headers


def host_of(endpoint):
    """As it is in the Host header: without a port that is the usual one."""
    parts = urlsplit(endpoint)
    usual = {"http": 80, "https": 443}[parts.scheme]
    return parts.hostname if parts.port in (None, usual) else f"{parts.hostname}:{parts.port}"


def text_of(answer, name):
    """The text of an element of an XML answer, in whatever namespace."""
    for each in ET.fromstring(answer.body).iter():  # noqa: S314 - the sandbox has its limits
        if each.tag.rpartition("}")[2] == name and each.text:
            return each.text
    raise RuntimeError(f"the bucket answered without {name}: {answer.text[:300]}")
