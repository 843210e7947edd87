#!/usr/bin/env bash
# What plain `openssl req -x509` makes is a fine server certificate for OpenSSL, Node.js and Python, and none for rustls.
#
# Version: uv 0.13.8 from PyPI (a client on rustls and webpki); Python's ssl, Node.js 20 and OpenSSL 3.0 of the machine.
# Guess:   a self-signed certificate that a client is told to trust (its own CA file) works with every client or with none;
#          and a name that stands only in the subject (CN) has been dead for years (RFC 6125, RFC 9525).
# Happens: - `openssl req -x509` sets basicConstraints CA:TRUE. rustls refuses such a certificate as a server's (CaUsedAsEndEntity),
#            the others accept it. -addext basicConstraints=critical,CA:FALSE makes one that all accept, as its own CA even.
#          - Without subjectAltName rustls knows no name in it. OpenSSL, Python and Node.js still fall back to the CN.
#          So a broker that was tried with mosquitto_sub, paho-mqtt or mqtt.js is refused by the first client in Rust.
# Source:  RFC 5280, section 4.2.1.9; RFC 9525, section 2 (a CN is no name of a server);
#          https://github.com/rustls/webpki/issues/205 and https://github.com/briansmith/webpki/issues/114;
#          X509_check_host(3) of OpenSSL (the CN counts if subjectAltName has no name)
# Seen:    plain, with subjectAltName: openssl ok, python ok, node ok, rustls CaUsedAsEndEntity
#          CA:FALSE, CN alone: openssl ok, python ok, node ok, rustls not valid for name
#          CA:FALSE, with subjectAltName: openssl ok, python ok, node ok, rustls ok
set -euo pipefail
tmp=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$tmp"' EXIT
check() { # WHAT EXPECTED SEEN
    echo "$1: $3"
    [ "$2" = "$3" ] || { echo "the behaviour changed; expected: $2" >&2; exit 1; }
}

python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check uv==0.13.8

cat >"$tmp/server.py" <<'PY'
# A package index with nothing in it, over TLS: any answer at all shows that the handshake was accepted.
import http.server, ssl, sys

class Index(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(404)

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
PY
cat >"$tmp/client.py" <<'PY'
import socket, ssl, sys

context = ssl.create_default_context(cafile=sys.argv[1])
context.wrap_socket(socket.create_connection(("127.0.0.1", int(sys.argv[2]))), server_hostname="localhost")
PY
cat >"$tmp/client.cjs" <<'JS'
const [ca, port] = process.argv.slice(2)
require('tls').connect({ host: '127.0.0.1', servername: 'localhost', port, ca: require('fs').readFileSync(ca) }, () => process.exit(0))
JS

verdicts() { # OPTIONS of openssl req...
    local cert=$tmp/cert.pem port server seen
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost \
        -keyout "$tmp/key.pem" -out "$cert" "$@" 2>/dev/null
    : >"$tmp/port"
    python3 "$tmp/server.py" "$cert" "$tmp/key.pem" >"$tmp/port" 2>/dev/null &
    server=$!
    for _ in {1..50}; do port=$(cat "$tmp/port"); [ -n "$port" ] && break; sleep 0.1; done
    openssl s_client -connect 127.0.0.1:"$port" -servername localhost -CAfile "$cert" -verify_hostname localhost \
        -verify_return_error </dev/null >/dev/null 2>&1 && seen="openssl ok" || seen="openssl no"
    python3 "$tmp/client.py" "$cert" "$port" 2>/dev/null && seen+=", python ok" || seen+=", python no"
    node "$tmp/client.cjs" "$cert" "$port" 2>/dev/null && seen+=", node ok" || seen+=", node no"
    SSL_CERT_FILE=$cert timeout 30 "$tmp/venv/bin/uv" --no-cache pip install --python "$tmp/venv/bin/python" --dry-run \
        --index-url "https://localhost:$port/" no-such-package >"$tmp/uv" 2>&1 || true
    kill $server
    # Without a fault of the certificate uv gets the index's 404.
    echo "$seen, rustls $(grep -o -m1 -e CaUsedAsEndEntity -e 'not valid for name' -e 'not found in the package registry' "$tmp/uv" |
        sed 's/not found.*/ok/')"
}

others="openssl ok, python ok, node ok"
name=(-addext subjectAltName=DNS:localhost) no_ca=(-addext "basicConstraints=critical,CA:FALSE")
check "plain, with subjectAltName" "$others, rustls CaUsedAsEndEntity" "$(verdicts "${name[@]}")"
check "CA:FALSE, CN alone" "$others, rustls not valid for name" "$(verdicts "${no_ca[@]}")"
check "CA:FALSE, with subjectAltName" "$others, rustls ok" "$(verdicts "${name[@]}" "${no_ca[@]}")"
