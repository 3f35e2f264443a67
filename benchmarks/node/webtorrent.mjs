// webtorrent as a source and as a downloader, without trackers or discovery.
//
// node webtorrent.mjs seed TORRENT FOLDER PORT
// node webtorrent.mjs get TORRENT FOLDER PORT HOST:PORT...
//
// `seed` prints `seeding` when all is checked; `get` ends when everything is written.
// Version 1, since version 2 is slower at this and wants a native module for WebRTC.

import { readFileSync } from 'node:fs'
import WebTorrent from 'webtorrent'

const [command, torrent, folder, port, ...peers] = process.argv.slice(2)
const client = new WebTorrent({
  torrentPort: Number(port),
  dht: false,
  lsd: false,
  natPmp: false,
  natUpnp: false,
  tracker: false,
  utp: false,
  webSeeds: false
})

function fail (error) {
  console.error(error)
  process.exit(1)
}

client.on('error', fail)
client.add(readFileSync(torrent), { path: folder }, function (added) {
  added.on('error', fail)
  if (added.done) finish()
  else added.on('done', finish)
  for (const peer of peers) added.addPeer(peer)
})

function finish () {
  if (command === 'seed') console.log('seeding')
  // Closing waits for what is not yet written.
  else client.destroy(() => process.exit(0))
}
