"""Secrets in headers and addresses of HTTP: Authorization, Cookie, Bearer, signatures of signed addresses."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode

from hf_monitor.run.secret_names import looks_random
from hf_monitor.run.secret_shapes import MASK

__all__ = ["mask_headers"]

_AUTHORIZATION = re.compile(
    r"""(?P<head>(?:Authorization|authorization|AUTHORIZATION)\\?["']?\s{0,2}[:=,]\s{0,2}\\?["']?"""
    r"""(?:[A-Za-z][A-Za-z0-9-]{1,19})(?:[ ]|%20))[^\s"'\\][^"'\r\n]*"""
)
_COOKIE = re.compile(
    r"""(?P<head>(?:Cookie|cookie|COOKIE)\\?["']?\s{0,2}[:,]\s{0,2}\\?["']?)[A-Za-z0-9_.$-]{1,80}=[^"'\r\n]{4,}"""
)
_BEARER = re.compile(r"(?P<head>\b[Bb](?:earer|asic)(?: |%20|\+))(?P<value>[A-Za-z0-9._~+/=-]{8,})")
_DIGIT = re.compile(r"[0-9]")
# Signed addresses; the Hub's storage hands them out, and they stand in error messages.
_URL_SIGNATURE = re.compile(
    r"(?P<head>[?&](?:X-(?:Amz|Goog)-(?:Signature|Credential|Security-Token)|[Ss]ignature|sig)=)[^\s&'\"<>]{8,}"
)


def mask_headers(text: str) -> str:
    """Mask what HTTP headers and signed addresses carry."""
    if "://" in text and "=" in text:
        text = _URL_SIGNATURE.sub(rf"\g<head>{MASK}", text)
    if "uthorization" in text or "UTHORIZATION" in text:
        text = _AUTHORIZATION.sub(rf"\g<head>{MASK}", text)
    if "ookie" in text or "OOKIE" in text:
        text = _COOKIE.sub(rf"\g<head>{MASK}", text)
    if "earer" in text or "asic" in text:
        text = _BEARER.sub(_mask_bearer, text)
    return text


def _mask_bearer(match: re.Match[str]) -> str:
    head, value = match["head"], match["value"]
    # "bearer certificates" and "basic training" are prose
    if head[1:5] == "asic":
        return head + MASK if _is_user_and_password(value) else match[0]
    return head + MASK if looks_random(value) or _DIGIT.search(value) or len(value) >= 20 else match[0]


def _is_user_and_password(value: str) -> bool:
    try:
        return b":" in b64decode(value + "=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        return looks_random(value) and len(value) >= 20
