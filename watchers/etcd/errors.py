"""The errors of a store. Each text has what happened and what the user can do."""

import ssl

import aiohttp

from watchers.engine import in_words
from watchers.etcd.access import Access
from watchers.etcd.wire import Failure, decode
from watchers.wire import MalformedError

CANCELED, INVALID, LATE, NOT_FOUND, DENIED, EXHAUSTED = 1, 3, 4, 5, 7, 8
UNMET, INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 9, 13, 14, 16
"""gRPC's codes."""
_LONGEST = 300
"""Most characters that a text takes from an answer."""


class StoreError(Exception):
    """A question to the store failed."""


class StoreGoneError(StoreError):
    """A member is out of reach, too slow or without a leader: another try may succeed."""


class StoreRefusedError(StoreError):
    """The store refuses relinkd: a setting or a right is wrong."""


class MemberRefusedError(StoreRefusedError):
    """A member is no etcd that relinkd can use as it is set; another member may be one."""


class LeaseGoneError(StoreError):
    """The store has no such lease."""


class CompactedError(StoreError):
    """The store has dropped the changes since that revision: read all keys again."""


class TokenError(StoreError):
    """The store does not take the token (any more): a new one is needed."""


class NoUsersError(StoreError):
    """The store asks nobody for a name."""


def broken(member: str, error: BaseException, access: Access) -> StoreError:
    """Return the error for a connection that could not be made, or broke."""
    if isinstance(error, TimeoutError):
        return StoreGoneError(f"{member}: no answer in time")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return StoreGoneError(f"{member}: no such host")
    cause: object = error
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
    if isinstance(cause, ConnectionRefusedError):
        return StoreGoneError(f"{member}: nothing listens there")
    return _broken_tls(member, error, cause, access) or StoreGoneError(
        f"{member}: {in_words(error)}"
    )


def _broken_tls(
    member: str, error: BaseException, cause: object, access: Access
) -> StoreError | None:
    """Return what is wrong with TLS, or with its absence; None if that is not the problem."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        which = f"that {access.ca} signed" if access.ca else "that this machine trusts"
        return MemberRefusedError(
            f"{member}: {in_words(error)}: its certificate is none {which} for this name; set "
            "--fleet-ca"
        )
    # A refusal comes with the first answer: aiohttp then keeps only OpenSSL's text.
    if "ALERT" in str(error) and "CERTIFICATE" in str(error):
        return MemberRefusedError(
            f"{member} wants a certificate of relinkd that it trusts: set --fleet-cert and "
            "--fleet-key"
        )
    # etcd closes a connection whose first bytes are not what it expects.
    if access.tls and isinstance(error, aiohttp.ClientConnectorError):
        return StoreGoneError(
            f"{member}: {in_words(error)}; if it does not speak TLS, write etcd:// for etcds://"
        )
    if not access.tls and isinstance(error, aiohttp.ServerDisconnectedError):
        return StoreGoneError(
            f"{member} closed the connection; if it speaks TLS, write etcds:// for etcd://"
        )
    return None


def no_etcd(member: str, body: bytes) -> MemberRefusedError:
    """Return the error for a server that does not answer as etcd does."""
    if b"HTTPS server" in body:
        return MemberRefusedError(f"{member} speaks TLS: write etcds:// for etcd://")
    return MemberRefusedError(f"{member} is not etcd")


def explain(member: str, path: str, body: bytes, access: Access) -> StoreError:
    """Return the error that a member answered."""
    try:
        found = decode(body, Failure)
    except MalformedError:
        if b"HTTPS server" in body:
            return no_etcd(member, body)
        return MemberRefusedError(
            f"{member} has no {path}: start etcd with --enable-grpc-gateway=true, which is its"
            " default"
        )
    return failure(member, found, access)


def failure(member: str, found: Failure, access: Access) -> StoreError:
    """Return the error of a code and a message."""
    code = found.code or found.grpc_code
    said = (found.message or str(found.error))[:_LONGEST].removeprefix("etcdserver: ")
    match code:
        case c if c == UNAUTHENTICATED or "auth store is old" in said:
            return TokenError(f"{member}: {said}")
        case c if c == UNMET and "authentication is not enabled" in said:
            return NoUsersError(f"{member}: {said}")
        case c if c == INVALID and "user name is empty" in said:
            return StoreRefusedError(
                f"{member} asks for a user: set --fleet-user and --fleet-password-file"
            )
        case c if c == INVALID and "authentication failed" in said:
            return StoreRefusedError(
                f"{member} does not let user {access.user} in with this password: {said}"
            )
        case c if c == DENIED:
            who = f"user {access.user}"
            return StoreRefusedError(
                f"{member}: {who} may not use {access.prefix}/; give its role the right: etcdctl"
                f" role grant-permission ROLE readwrite --prefix=true {access.prefix}/"
            )
        case c if c == NOT_FOUND and "lease" in said:
            return LeaseGoneError(f"{member}: {said}")
        case c if c == EXHAUSTED and "space" in said:
            return StoreRefusedError(
                f"{member}: {said}: the store takes no more writes; compact and defragment it, and"
                " disarm its alarm (etcdctl alarm disarm)"
            )
        case c if c in (CANCELED, LATE, EXHAUSTED, INTERNAL, UNAVAILABLE):
            return StoreGoneError(f"{member}: {said}")
        case _:
            return StoreError(f"{member}: {said} (code {code})")
