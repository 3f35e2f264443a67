'use strict'
// find.js ID: prints `peer HOST:PORT` for every peer found on the channel ID.

const lib = require('./lib')

const { values: options, positionals } = lib.parse()
const channel = lib.channel(options)

channel.on('peer', function (_, peer) {
  console.log('peer ' + peer.host + ':' + peer.port)
})
channel.join(positionals[0])
