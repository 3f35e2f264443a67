'use strict'
// client.js ID INDEX: asks the first server found on the channel ID for one chunk.

const assert = require('assert')
const lib = require('./lib')

const { values: options, positionals } = lib.parse()
const [id, index] = positionals // as it came from the command line: a string
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
