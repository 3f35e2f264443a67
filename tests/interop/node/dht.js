'use strict'
// dht.js COUNT: a DHT of COUNT bittorrent-dht nodes on 127.0.0.1, until killed.
//
// Prints `bootstrap PORT` when the nodes have found each other.

const dht = require('bittorrent-dht')

const count = Number(process.argv[2] || 20)
const first = dht({ bootstrap: false })

first.listen(0, '127.0.0.1', function () {
  const bootstrap = '127.0.0.1:' + first.address().port
  let missing = count - 1
  for (let i = 1; i < count; i++) {
    const node = dht({ bootstrap: [bootstrap] })
    node.once('ready', function () {
      if (--missing === 0) console.log('bootstrap ' + first.address().port)
    })
    node.listen(0, '127.0.0.1')
  }
})
