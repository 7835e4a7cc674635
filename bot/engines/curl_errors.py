"""What libcurl's result codes mean here. Source of the codes: libcurl-errors(3)."""

from __future__ import annotations

import pycurl

from bot.errors import (
    Corrupt,
    InternalFailure,
    InvalidInput,
    MltbError,
    NetworkFailed,
    NoSpace,
    PolicyRefused,
    Refused,
    SourceNotFound,
    TransferError,
    Unauthorised,
    Unsupported,
)

_TRUST_HINT = "the certificate must be valid for that name; HTTP_CA_FILE adds an authority to trust"
_KEY_HINT = (
    "add the host to the file that SFTP_KNOWN_HOSTS names, after a look at its fingerprint: "
    "ssh-keyscan -p PORT HOST >> FILE"
)

_KINDS: dict[int, type[TransferError]] = {
    pycurl.E_UNSUPPORTED_PROTOCOL: Unsupported,
    pycurl.E_FTP_ACCEPT_FAILED: NetworkFailed,
    pycurl.E_FTP_COULDNT_RETR_FILE: SourceNotFound,
    pycurl.E_REMOTE_FILE_NOT_FOUND: SourceNotFound,
    pycurl.E_REMOTE_ACCESS_DENIED: Unauthorised,
    pycurl.E_LOGIN_DENIED: Unauthorised,
    pycurl.E_FTP_WEIRD_SERVER_REPLY: Refused,
    pycurl.E_BAD_DOWNLOAD_RESUME: Refused,
    pycurl.E_FTP_COULDNT_USE_REST: Refused,
    pycurl.E_RANGE_ERROR: Refused,
    pycurl.E_QUOTE_ERROR: Refused,
    pycurl.E_PEER_FAILED_VERIFICATION: PolicyRefused,
    pycurl.E_SSL_ISSUER_ERROR: PolicyRefused,
    pycurl.E_SSL_CACERT_BADFILE: InternalFailure,
    pycurl.E_USE_SSL_FAILED: Unsupported,
    pycurl.E_OUT_OF_MEMORY: InternalFailure,
    pycurl.E_BAD_FUNCTION_ARGUMENT: InternalFailure,
    pycurl.E_REMOTE_DISK_FULL: NoSpace,
    pycurl.E_FILESIZE_EXCEEDED: Corrupt,
    pycurl.E_BAD_CONTENT_ENCODING: Corrupt,
}

#: The codes (``details["curl"]``) of a server that gives no part of a file.
NO_PARTS = frozenset(
    {pycurl.E_FTP_COULDNT_USE_REST, pycurl.E_BAD_DOWNLOAD_RESUME, pycurl.E_RANGE_ERROR}
)

_WORDS: dict[int, str] = {
    pycurl.E_COULDNT_RESOLVE_HOST: "the name can't be resolved",
    pycurl.E_COULDNT_CONNECT: "no connection",
    pycurl.E_OPERATION_TIMEDOUT: "no answer in time",
    pycurl.E_PARTIAL_FILE: "the connection ended before the file did",
    pycurl.E_GOT_NOTHING: "the connection ended without an answer",
    pycurl.E_RECV_ERROR: "the connection broke",
    pycurl.E_SEND_ERROR: "the connection broke",
    pycurl.E_SSL_CONNECT_ERROR: "no TLS connection",
    pycurl.E_FTP_COULDNT_RETR_FILE: "the server does not give the file",
    pycurl.E_REMOTE_FILE_NOT_FOUND: "there is no such file",
    pycurl.E_LOGIN_DENIED: "the user name or the password is wrong",
    pycurl.E_REMOTE_ACCESS_DENIED: "access is denied",
    pycurl.E_UNSUPPORTED_PROTOCOL: "the protocol is not supported",
}


def transfer_error(code: int, text: str, host: str, scheme: str) -> MltbError:
    """The error for libcurl's ``code``, with libcurl's own ``text``, met while talking to ``host``.

    Never holds a URL: those may carry a password.
    """
    said = text.strip().rstrip(".") or pycurl.easy_strerror(code)
    if code == pycurl.E_URL_MALFORMAT:
        return InvalidInput(f"the URL is malformed: {said}", hint="scheme://host/path is meant")
    if code == pycurl.E_PEER_FAILED_VERIFICATION and scheme == "sftp":
        return PolicyRefused(
            f"the SSH key of {host} is not one of its known keys: {said}",
            hint=_KEY_HINT,
        )
    kind = _KINDS.get(code, NetworkFailed)
    if kind is PolicyRefused:
        return PolicyRefused(f"the certificate of {host} does not verify: {said}", hint=_TRUST_HINT)
    words = _WORDS.get(code)
    return kind(f"{host}: {words}: {said}" if words else f"{host}: {said}", curl=code)
