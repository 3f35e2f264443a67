'use strict'
// client.js ID INDEX: fetches one chunk from the first server of the channel ID.

const assert = require('assert')
const lib = require('./lib')

const { values: options, positionals } = lib.parse()
const [id, index] = positionals // a string, as on the command line
const channel = lib.channel(options)

channel.once('peer', function (_, address) {
  const peer = lib.connect(address.port, address.host, options)
  peer.on('data', function (message) {
    assert.strictEqual(message.type, 'response')
    assert.strictEqual(message.index, index)
    process.stdout.write(message.data, () => process.exit(0))
  })
  peer.write({ type: 'request', index })
  console.error('asked ' + address.host + ':' + address.port)
})
channel.join(id)
