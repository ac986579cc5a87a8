"""A mail server that takes letters over TLS only, from who knows the password: STARTTLS on one port, TLS from the first
byte on another. Arguments: address, the two ports, certificate, key, and the file that letters are added to."""

import asyncio
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

host, starttls_port, wrapped_port, certificate, key, letters = sys.argv[1:]


def authenticate(server, session, envelope, mechanism, data):
    return AuthResult(success=data.login == b"ops" and data.password == b"M41L-PASSWORD", auth_data=data)


class Handler:
    def __init__(self, way):
        self.way = way

    async def handle_DATA(self, server, session, envelope):
        secured = session.ssl is not None or self.way == "wrapped"
        with open(letters, "ab") as file:
            file.write(f"way={self.way} secured={secured} user={session.auth_data.login.decode()}\n".encode())
            file.write(envelope.content)
        return "250 taken"


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    common = {"authenticator": authenticate, "auth_required": True}
    loop = asyncio.get_running_loop()
    await loop.create_server(
        lambda: SMTP(Handler("starttls"), tls_context=context, require_starttls=True, **common), host, int(starttls_port)
    )
    await loop.create_server(
        lambda: SMTP(Handler("wrapped"), auth_require_tls=False, **common), host, int(wrapped_port), ssl=context
    )
    await asyncio.Event().wait()


asyncio.run(main())
