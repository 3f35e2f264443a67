'use strict'
// server.js FILE ID [CHUNK]: serves the chunks of FILE on the channel ID.

const chunkStore = require('fs-chunk-store')
const fs = require('fs')
const lib = require('./lib')

const { values: options, positionals } = lib.parse()
const [file, id, chunk = '1024'] = positionals
const store = chunkStore(Number(chunk), { path: file, length: fs.statSync(file).size })

lib.serve(id, options, function (peer) {
  peer.on('data', function (message) {
    if (message.type !== 'request') return
    store.get(message.index, function (err, data) {
      if (err) throw err
      peer.write({ type: 'response', index: message.index, data })
    })
  })
})
