#!/bin/sh
# No spelling of a plus sign in a URL finds the file `a+b` on every static file server:
# sirv needs it as it is, and does not find what RFC 3986 says is the same URL.
#
# Packages: sirv-cli 3.0.1, http-server 14.1.1 (npm), Node 20, CPython 3.11.
#
# Expected: a client may percent-encode a character of a path although it need not (RFC
# 3986, section 2.4), as urllib.parse.quote does with `+`, `&` and `,`; the server
# decodes it, so `/a+b` and `/a%2Bb` are the same file. S3, where a plus sign in a path
# means a space, finds only the second one.
#
# What happens: sirv decodes paths with decodeURI, which leaves the encoded forms of
# ; , / ? : @ & = + $ # as they are, and looks for a file called `a%2Bb`. Spaces and
# letters outside ASCII are found, so a client notices with the first such name only. It
# answers 404, as if the file were missing. http.server and http-server find both.
#
# Output seen:
#   sirv-cli /a+b 200, /a%2Bb 404, /c%20d 200, /e&f 200, /e%26f 404
#   http-server /a+b 200, /a%2Bb 200, /c%20d 200, /e&f 200, /e%26f 200
#   http.server /a+b 200, /a%2Bb 200, /c%20d 200, /e&f 200, /e%26f 200
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
npm install --prefix "$work" --no-audit --no-fund --silent 'sirv-cli@3.0.1' \
    'http-server@14.1.1' >&2 ||
    { echo "could not install the packages" >&2; exit 2; }
mkdir "$work/files"
for name in a+b 'c d' 'e&f'; do echo x >"$work/files/$name"; done

cat >"$work/ask.py" <<'PYTHON'
import socket, subprocess, sys, time, urllib.error, urllib.request

work = sys.argv[1]
with socket.create_server(("127.0.0.1", 0)) as free:
    port = str(free.getsockname()[1])
files, bin = f"{work}/files", f"{work}/node_modules/.bin"
commands = {
    "sirv-cli": [f"{bin}/sirv", files, "--host", "127.0.0.1", "--port", port],
    "http-server": [f"{bin}/http-server", files, "-a", "127.0.0.1", "-p", port],
    "http.server": [sys.executable, "-m", "http.server", "--bind", "127.0.0.1",
                    "--directory", files, port],
}
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
for name, command in commands.items():
    with subprocess.Popen(command, **quiet) as server:
        try:
            for _ in range(200):
                try:
                    socket.create_connection(("127.0.0.1", int(port))).close()
                    break
                except ConnectionError:
                    time.sleep(0.1)
            found = []
            for path in ("/a+b", "/a%2Bb", "/c%20d", "/e&f", "/e%26f"):
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as it:
                        found.append(f"{path} {it.status}")
                except urllib.error.HTTPError as error:
                    found.append(f"{path} {error.code}")
            print(name, ", ".join(found))
        finally:
            server.terminate()
PYTHON
env -u http_proxy -u HTTP_PROXY python3 "$work/ask.py" "$work" >"$work/seen"
cat "$work/seen"
sed -n 's/^#   \([a-z-]*.* 200,.*\)/\1/p' "$0" >"$work/expected"
cmp -s "$work/seen" "$work/expected" || { echo "changed" >&2; exit 1; }
