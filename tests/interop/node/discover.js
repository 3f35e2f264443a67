'use strict'
// Joins a channel by discovery-channel: node discover.js ID [PORT] [OPTIONS as JSON]
//
// Prints "ready" when it has joined, then "HOST:PORT SOURCE" for each peer. With a
// PORT, announces it. Uses only the LAN unless OPTIONS change that.

const discovery = require('discovery-channel')

const [id, port, options] = process.argv.slice(2)
const channel = discovery({ dht: false, ...JSON.parse(options || '{}') })

channel.on('peer', (_, peer, source) => {
  console.log(`${peer.host}:${peer.port} ${source}`)
})
channel.join(id, Number(port) || undefined)
// multicast-dns sends nothing before its socket is bound.
setImmediate(() => console.log('ready'))
