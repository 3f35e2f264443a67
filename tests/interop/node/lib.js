'use strict'
// Functions of the programs of the p2p workshop's chunk exercises.
//
// They trust their peers like the originals: malformed messages and indexes out of range
// throw exceptions that end the program. A peer that disconnects is not an error.
//
// Options of every program: --nodelay (or NODELAY=1), --no-dns, and
// --dht '{"bootstrap":["127.0.0.1:PORT"]}', without which no DHT is used.

const crypto = require('crypto')
const discovery = require('discovery-channel')
const fs = require('fs')
const msgpack = require('msgpack5-stream')
const net = require('net')
const { parseArgs } = require('util')

const COMMON = {
  nodelay: { type: 'boolean', default: Boolean(process.env.NODELAY) },
  'no-dns': { type: 'boolean', default: false },
  dht: { type: 'string', default: 'false' }
}

exports.parse = function (extra) {
  const options = { ...COMMON, ...extra }
  return parseArgs({ options, allowPositionals: true })
}

exports.channel = function (options) {
  return discovery({
    dht: JSON.parse(options.dht),
    dns: options['no-dns'] ? false : undefined
  })
}

// Announces a server under `id` and calls `onpeer` with each connection's messages.
exports.serve = function (id, options, onpeer) {
  const server = net.createServer(socket => onpeer(messages(socket, options)))
  server.listen(0, () => {
    const port = server.address().port
    const channel = exports.channel(options)
    channel.join(id, port, () => console.log('listening ' + port))
  })
}

exports.connect = function (port, host, options) {
  return messages(net.connect(port, host), options)
}

function messages (socket, options) {
  if (options.nodelay) socket.setNoDelay(true)
  const stream = msgpack(socket)
  stream.on('error', () => stream.destroy())
  return stream
}

exports.sha256 = function (data) {
  return crypto.createHash('sha256').update(data).digest('hex')
}

exports.hashes = function (file, chunkSize) {
  const all = []
  const chunk = Buffer.alloc(chunkSize)
  const fd = fs.openSync(file, 'r')
  for (;;) {
    const length = fs.readSync(fd, chunk, 0, chunkSize, all.length * chunkSize)
    if (length === 0) break
    all.push(exports.sha256(chunk.subarray(0, length)))
  }
  fs.closeSync(fd)
  return all
}

exports.id = function (hashes) {
  return exports.sha256(hashes.join('\n'))
}
