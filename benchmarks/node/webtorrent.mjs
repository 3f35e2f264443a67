// webtorrent as a source and as a downloader, without trackers or discovery.
//
// node webtorrent.mjs seed TORRENT FOLDER PORT
// node webtorrent.mjs get TORRENT FOLDER PORT HOST:PORT...
//
// `seed` prints `seeding` when the file is verified; `get` ends when the file is written.
// Version 1 of webtorrent: version 2 is slower here and needs a native module for WebRTC.

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
  // Closing waits until everything is written.
  else client.destroy(() => process.exit(0))
}
