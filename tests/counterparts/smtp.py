"""An SMTP server (aiosmtpd) that does to a mail what its recipient's address says, and tells what it got.

    smtp.py DIRECTORY CERTIFICATE

DIRECTORY gets `ca.pem`, and private keys to sign with: `rsa.pem` and `ed25519.pem`. CERTIFICATE is `none` (no TLS),
`right`, `wrong` (another name) or `strange` (nobody vouches for it). With TLS it wants `ada` / `correct horse`.

The word before the first dash of the address is what happens the first time a mail comes for it; after that it is
taken. `550-` and `550data-` are always refused; `451data-` and `550data-` are heard to the end first. On standard
output: `port N`, then one JSON object for every mail whose content was heard, whether or not that was said.
"""

import asyncio
import base64
import email
import email.policy
import json
import pathlib
import re
import ssl
import sys

import dkim
import trustme
from aiosmtpd.smtp import SMTP, AuthResult
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

directory, certificate = pathlib.Path(sys.argv[1]), sys.argv[2]


def tell(line):
    print(line, flush=True)


def keys():
    """Writes private keys, and returns what DNS would say of them by selector."""
    published = {}
    for name, key in [("rsa", rsa.generate_private_key(65537, 2048)), ("ed25519", ed25519.Ed25519PrivateKey.generate())]:
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (directory / f"{name}.pem").write_bytes(pem)
        if name == "rsa":
            public = key.public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        else:
            public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        published[name] = f"v=DKIM1; k={name}; p={base64.b64encode(public).decode()}".encode()
    return published


PUBLISHED = keys()


def signature_is_good(content):
    """What dkimpy thinks of the signature; None without one."""
    if b"DKIM-Signature:" not in content:
        return None

    def dns(name, timeout=5):
        return PUBLISHED[name.decode().split(".")[0]]

    return bool(dkim.verify(content, dnsfunc=dns))


def read(content):
    """What a person reads, and may click on."""
    mail = email.message_from_bytes(content, policy=email.policy.default)
    text = mail.get_body(("plain",)).get_content()
    return {"subject": mail["subject"], "links": re.findall(r"https?://\S+", text)}


class Handler:
    def __init__(self):
        self.seen = set()

    def fate(self, address):
        """What happens to this one, this time."""
        fate = address.split("-")[0]
        is_first = address not in self.seen
        self.seen.add(address)
        return fate if is_first or fate in ("550", "550data") else "ok"

    async def handle_RCPT(self, server, session, envelope, address, options):
        envelope.fate = self.fate(address)
        replies = {
            "421": "421 4.3.2 going away",
            "451": f"451 4.7.1 <{address}> come back later",
            "550": f"550 5.1.1 <{address}> is nobody here",
        }
        if envelope.fate in replies:
            return replies[envelope.fate]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        content = envelope.content
        headers = dkim.rfc822_parse(content)[0]
        headers = {name.lower().decode(): value.strip().decode() for name, value in headers}
        tell(
            json.dumps(
                {
                    "to": envelope.rcpt_tos[0],
                    "fate": envelope.fate,
                    "message_id": headers["message-id"],
                    **read(content),
                    "signature": signature_is_good(content),
                    "tampered": signature_is_good(content.replace(b"text/html", b"text/htm_")),
                    "login": session.auth_data is not None,
                    "tls": session.ssl is not None,
                }
            )
        )
        if envelope.fate == "451data":
            return "451 4.3.0 not now, after all"
        if envelope.fate == "550data":
            return "550 5.7.1 nobody wants that"
        if envelope.fate == "drop":
            server.transport.abort()
        if envelope.fate in ("stall", "hold"):
            await asyncio.sleep(3600)
        return "250 OK"


def login(server, session, envelope, mechanism, data):
    is_good = (data.login, data.password) == (b"ada", b"correct horse")
    return AuthResult(success=is_good, handled=is_good, auth_data=data if is_good else None)


async def main():
    ours, strangers = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(str(directory / "ca.pem"))
    issued = {"right": (ours, "localhost"), "wrong": (ours, "elsewhere.example"), "strange": (strangers, "localhost")}
    options = {}
    if certificate in issued:
        authority, name = issued[certificate]
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(name).configure_cert(context)
        options = {"tls_context": context, "require_starttls": True, "authenticator": login, "auth_required": True}
    handler = Handler()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(handler, hostname="localhost", loop=loop, **options), "127.0.0.1", 0
    )
    tell(f"port {server.sockets[0].getsockname()[1]}")
    await server.serve_forever()


asyncio.run(main())
