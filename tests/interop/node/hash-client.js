'use strict'
// hash-client.js ID OUT: fetches a whole file from all servers at the same time.
//
// The first message of a server must be its handshake and all others chunks. Another
// message, or a chunk that does not match its hash, ends the program.

const assert = require('assert')
const chunkStore = require('fs-chunk-store')
const fs = require('fs')
const lib = require('./lib')

const WINDOW = 8 // requests in flight at each server

const { values: options, positionals } = lib.parse()
const [id, out] = positionals
const servers = new Map() // host:port -> number of chunks received
const idle = new Map() // host:port -> function that sends more requests
let store = null
let hashes, todo, left

const channel = lib.channel(options)
channel.on('peer', function (_, address) {
  const name = address.host + ':' + address.port
  if (servers.has(name)) return // discovery reports a server repeatedly
  servers.set(name, 0)
  fetch(name, lib.connect(address.port, address.host, options))
})
channel.join(id)

function begin (handshake) {
  assert.strictEqual(handshake.type, 'handshake')
  assert.strictEqual(lib.id(handshake.hashes), id)
  if (store) return
  hashes = handshake.hashes
  todo = [...hashes.keys()]
  left = hashes.length
  store = chunkStore(handshake.chunkSize, { path: out, length: handshake.fileSize })
  if (left > 0) return
  fs.writeFileSync(out, '') // nothing to wait for
  finish()
}

function fetch (name, peer) {
  const asked = new Set()
  peer.once('data', function (handshake) {
    begin(handshake)
    peer.on('data', onchunk)
    idle.set(name, ask)
    ask()
  })
  peer.on('close', function () {
    idle.delete(name)
    if (store) todo.push(...asked)
    for (const again of idle.values()) again()
  })

  function ask () {
    while (asked.size < WINDOW && todo.length > 0) {
      const index = todo.shift()
      asked.add(index)
      peer.write({ type: 'request', index })
    }
  }

  function onchunk ({ type, index, data }) {
    assert.strictEqual(type, 'response')
    assert(asked.delete(index), 'a chunk that was not asked for: ' + index)
    assert.strictEqual(lib.sha256(data), hashes[index])
    servers.set(name, servers.get(name) + 1)
    store.put(index, data, function (err) {
      if (err) throw err
      if (--left === 0) finish()
    })
    ask()
  }
}

function finish () {
  for (const [name, chunks] of servers) console.log('from ' + name + ' ' + chunks)
  process.exit(0)
}
