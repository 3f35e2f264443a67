#!/bin/sh
# dns-packet encodes a link-local address with its zone as a different address.
#
# Packages: dns-packet 5.6.1 (npm), Node 20.
#
# Expected: an address that Node itself hands out, with its zone as in "fe80::1%eth0"
# (socket.remoteAddress, dns.lookup, rinfo.address of a multicast DNS packet), is either
# encoded without its zone, which has no place in an AAAA record, or refused. Node's
# own net.isIPv6() accepts the form, which is that of RFC 4007, section 11:
# https://www.rfc-editor.org/rfc/rfc4007#section-11
#
# What happens: the parser does not stop at "%" but reads the zone's characters as more
# digits of the last group. The name of the interface thus decides which address the
# record carries, and two hosts with the same interface name and different last groups
# announce the same one. The record decodes without an error.
#
# Output seen:
#   fe80::1 -> fe80::1
#   fe80::1%eth0 -> fe80::fe10
#   fe80::2%eth0 -> fe80::fe10
#   fe80::1%wlan0 -> fe80::5b70
#   fe80::1%2 -> fe80::52
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
npm install --prefix "$work" --no-audit --no-fund --silent 'dns-packet@5.6.1' >&2 ||
    { echo "could not install the packages" >&2; exit 2; }
cat > "$work/main.mjs" <<'JAVASCRIPT'
import packet from "dns-packet";
import net from "node:net";

const expected = {
  "fe80::1": "fe80::1",
  "fe80::1%eth0": "fe80::fe10",
  "fe80::2%eth0": "fe80::fe10",
  "fe80::1%wlan0": "fe80::5b70",
  "fe80::1%2": "fe80::52",
};
for (const [data, address] of Object.entries(expected)) {
  if (!net.isIPv6(data)) throw new Error(`${data} is not an address`);
  const bytes = packet.encode({ type: "response", answers: [{ name: "a.local", type: "AAAA", ttl: 1, data }] });
  const decoded = packet.decode(bytes).answers[0].data;
  console.log(`${data} -> ${decoded}`);
  if (decoded !== address) {
    console.error("the behaviour has changed");
    process.exitCode = 1;
  }
}
JAVASCRIPT
node "$work/main.mjs"
