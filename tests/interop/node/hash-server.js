'use strict'
// hash-server.js FILE [CHUNK]: serves FILE on the channel named by its chunks' hashes.
//
// --bare         omit chunkSize and fileSize in the handshake
// --log          print "served INDEX" to stderr for each chunk sent
// --flip         flip one bit in every chunk
// --stop-after N answer N requests, then none, without closing connections

const chunkStore = require('fs-chunk-store')
const fs = require('fs')
const lib = require('./lib')

const { values: options, positionals } = lib.parse({
  bare: { type: 'boolean' },
  log: { type: 'boolean' },
  flip: { type: 'boolean' },
  'stop-after': { type: 'string', default: 'Infinity' }
})
const [file, chunk = '1024'] = positionals
const chunkSize = Number(chunk)
const fileSize = fs.statSync(file).size
const hashes = lib.hashes(file, chunkSize)
const store = chunkStore(chunkSize, { path: file, length: fileSize })
const handshake = { type: 'handshake', hashes }
if (!options.bare) Object.assign(handshake, { chunkSize, fileSize })
let answers = Number(options['stop-after'])

console.log(lib.id(hashes))
lib.serve(lib.id(hashes), options, function (peer) {
  peer.write(handshake)
  peer.on('data', function (message) {
    if (message.type !== 'request') return
    store.get(message.index, function (err, data) {
      if (err) throw err
      if (--answers < 0) return
      if (options.log) console.error('served ' + message.index)
      if (options.flip) data[data.length >> 1] ^= 1
      peer.write({ type: 'response', index: message.index, data })
    })
  })
})
