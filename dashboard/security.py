"""Who may talk to the dashboard: host and origin checks, the token, and the headers of every response."""

from __future__ import annotations

import hashlib
import hmac
from ipaddress import ip_address
from urllib.parse import urlencode, urlsplit

from flask import Flask, Response, make_response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from ..db.errors import UsageError

COOKIE = "trackside_session"

# Style needs 'unsafe-inline' because Mantine and Plotly set style elements; scripts do without.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; manifest-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'; object-src 'none'"
)

SIGN_IN = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>trackside</title><style>body{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:18vh auto;padding:0 1rem}
input,button{font:inherit;padding:.45rem .7rem;border:1px solid #888;border-radius:.4rem}
@media(prefers-color-scheme:dark){body{background:#14171c;color:#dfe3ea}input,button{background:#1d2127;color:inherit}}
</style><h1>trackside</h1><p>This dashboard asks for the token it was started with.</p>
<form method="get"><label>Token <input type="password" name="token" autofocus required autocomplete="current-password">
</label> <button>Open</button></form></html>"""


def is_loopback(host: str) -> bool:
    """Whether an address or name reaches this machine only."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_binding(host: str, token: str | None) -> None:
    """Refuse to serve other machines without a token.

    Raises:
        UsageError: if `host` is reachable from elsewhere and there is no token.
    """
    if not is_loopback(host) and not token:
        raise UsageError(
            f"Serving on {host} lets other machines in: give a token with --token or TRACKSIDE_TOKEN, "
            "or keep the host at 127.0.0.1."
        )


def protect(server: Flask, *, host: str, token: str | None, script_hashes: list[str]) -> None:
    """Put the checks in front of every route of `server`, and strict headers on every response.

    Args:
        server: the Flask application.
        host: address it will listen on; a loopback address also has the Host header checked, which stops a foreign
            page from reading the dashboard through a name that resolves to 127.0.0.1.
        token: what a visitor must show, or None.
        script_hashes: Content-Security-Policy sources of the inline scripts the page needs.
    """
    policy = CONTENT_SECURITY_POLICY.format(scripts=" ".join(script_hashes))

    @server.before_request
    def check() -> AnyResponse | None:
        if is_loopback(host) and not is_loopback(_hostname(request.host)):
            return _refuse(
                403, "This dashboard answers to localhost and 127.0.0.1 only: open it by one of those names."
            )
        origin = request.headers.get("Origin")
        if request.method not in ("GET", "HEAD") and origin is not None and urlsplit(origin).netloc != request.host:
            return _refuse(403, "This request came from another site: open the dashboard itself.")
        return _check_token(token) if token else None

    @server.after_request
    def headers(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = policy
        response.headers["X-Frame-Options"] = "DENY"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"
        # Pop-ups of ours may talk back: Perfetto is handed a trace that way. Others that open us still may not.
        response.headers["Cross-Origin-Opener-Policy"] = "same-origin-allow-popups"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        return response


def _check_token(token: str) -> AnyResponse | None:
    """None where the visitor may pass; a redirect that sets the cookie where the URL held the token; else a refusal."""
    session = hmac.new(token.encode(), b"trackside dashboard session", hashlib.sha256).hexdigest()
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and _equal(bearer.strip(), token):
        return None
    if _equal(request.cookies.get(COOKIE, ""), session):
        return None
    if request.method == "GET" and _equal(request.args.get("token", ""), token):
        # The token leaves the address bar: it must not end up in history, bookmarks or a Referer.
        rest = [(key, value) for key, value in request.args.items(multi=True) if key != "token"]
        response = redirect(request.path + ("?" + urlencode(rest) if rest else ""))
        # Lax, not Strict: with Strict a link opened from a mail would land on the sign-in page for ever.
        response.set_cookie(COOKIE, session, httponly=True, samesite="Lax", secure=request.is_secure)
        return response
    if request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
        return make_response(SIGN_IN, 401)
    return _refuse(401, "This dashboard asks for the token it was started with: open it with ?token=…")


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


def _hostname(host: str) -> str:
    return urlsplit(f"//{host}").hostname or ""


def _refuse(status: int, sentence: str) -> AnyResponse:
    return Response(sentence + "\n", status, mimetype="text/plain")
